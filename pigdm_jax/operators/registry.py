"""The operators that can be written in text, by name.

To add one, write its module with a `Named` and add its line here.
"""

from pigdm_jax.core.lazy import LazyMapping
from pigdm_jax.operators.named import Named

REGISTRY: LazyMapping[Named] = LazyMapping(
    {
        "identity": "pigdm_jax.operators.cropping:IDENTITY",
        "crop": "pigdm_jax.operators.cropping:CROP",
        "inpaint": "pigdm_jax.operators.inpainting:INPAINT",
        "super_resolution": "pigdm_jax.operators.resizing:SUPER_RESOLUTION",
        "blur": "pigdm_jax.operators.blurring:BLUR",
        "uniform_blur": "pigdm_jax.operators.blurring:UNIFORM_BLUR",
        "gaussian_blur": "pigdm_jax.operators.blurring:GAUSSIAN_BLUR",
        "motion_blur": "pigdm_jax.operators.blurring:MOTION_BLUR",
        "grayscale": "pigdm_jax.operators.channels:GRAYSCALE",
        "jpeg": "pigdm_jax.operators.jpeg_codec:JPEG",
        "quantize": "pigdm_jax.operators.quantization:QUANTIZE",
        "low_dynamic_range": "pigdm_jax.operators.quantization:LOW_DYNAMIC_RANGE",
        "walsh_hadamard": "pigdm_jax.operators.transforms:WALSH_HADAMARD",
        "fourier": "pigdm_jax.operators.transforms:FOURIER",
    }
)
"""Each is imported when it is looked up; listing the names imports no JAX."""
