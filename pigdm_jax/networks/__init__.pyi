from .adm.flags import CheckpointFlags
from .adm.unet import UNet, UNetConfig
from .base import (
    Architecture,
    Network,
    Recognised,
    parameter_shapes,
)
from .ddpm.unet import DDPMConfig, DDPMUNet
from .pixel_transformer.transformer import PixelTransformer, PixelTransformerConfig
from .registry import ARCHITECTURES, architecture_of

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "CheckpointFlags",
    "DDPMConfig",
    "DDPMUNet",
    "Network",
    "PixelTransformer",
    "PixelTransformerConfig",
    "Recognised",
    "UNet",
    "UNetConfig",
    "architecture_of",
    "parameter_shapes",
]
