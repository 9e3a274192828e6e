"""Colour profiles (ICC): to sRGB, in which priors are trained, and back.

Values are not clipped: a colour outside of sRGB has values outside of [0, 1], and is
itself again after the way back.
"""

import functools
import io
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt
from PIL import ImageCms

from pigdm_jax.core.types import AnyArray

Values = Float[AnyArray, "H W _"]
Way = Literal["none", "same", "both", "one"]

SPACES = {b"RGB ": "rgb", b"GRAY": "gray", b"CMYK": "cmyk"}
WHITE = (0.3127, 0.3290, 1.0)  # D65
# Profiles that move no value by more than a level of 8 bits are sRGB's own.
ALIKE = 1 / 255
# lcms is right to about this.
ACCURACY = 5e-5
RELATIVE_COLORIMETRIC = 1


def name(profile: bytes) -> str:
    """What a profile calls itself."""
    try:
        return ImageCms.getProfileDescription(io.BytesIO(profile)).strip() or "unnamed"
    except ImageCms.PyCMSError:
        return "unnamed"


def is_grey(profile: bytes) -> bool:
    """Whether a profile is for files without colour."""
    return profile[16:20] == b"GRAY"


@functools.lru_cache(32)
def way(profile: bytes, channels: int) -> Way:
    """What can be done with a profile.

    Args:
      profile: from a file.
      channels: of the file's colours: 1, 3 or 4.

    Returns:
      "none" if it cannot be used, "same" if it is sRGB, "one" if it can be converted to
      sRGB and not back, "both" otherwise.
    """
    space = SPACES.get(profile[16:20])
    if space not in {1: ("gray", "rgb"), 3: ("rgb",), 4: ("cmyk",)}[channels]:
        return "none"
    steps = np.linspace(0, 1, 9, dtype=np.float32)
    if channels == 1:
        grid = steps[None, :, None]
    else:
        axes = np.meshgrid(*[steps] * channels, indexing="ij")
        grid = np.stack(axes, -1).reshape(1, -1, channels)
    try:
        converted = to_srgb(grid, profile)
    except Exception:  # lcms has no errors of its own to catch
        return "none"
    if channels == 4:
        return "one"
    if np.abs(converted - grid).max() < ALIKE:
        return "same"
    try:
        again = from_srgb(converted, profile)
    except Exception:
        return "one"
    return "both" if np.abs(again - grid).max() < ALIKE else "one"


def to_srgb(values: Values, profile: bytes) -> Float[np.ndarray, "H W 3"]:
    """Values in [0, 1] of a profile, in sRGB.

    Args:
      values: of 1, 3 or 4 channels; grey is repeated for a profile of colours.
      profile: for which `way` is not "none".
    """
    space = SPACES[profile[16:20]]
    if space == "rgb" and values.shape[-1] == 1:
        values = np.repeat(values, 3, axis=-1)
    linear = _transformed(values, profile, space, _linear_srgb(), "rgb")
    encoded = _encode(linear)
    for end in (0, 1):
        encoded = np.where(np.abs(encoded - end) < ACCURACY, np.float32(end), encoded)
    return encoded


def from_srgb(image: Values, profile: bytes) -> Float[np.ndarray, "H W _"]:
    """SRGB values, beyond [0, 1] too, in a profile; 1 channel for a profile of greys.

    Args:
      image: of 3 channels.
      profile: for which `way` is "both".
    """
    space = SPACES[profile[16:20]]
    linear = _decode(np.asarray(image, np.float32))
    return _transformed(linear, _linear_srgb(), "rgb", profile, space)


def _transformed(
    values: Values, profile: bytes, space: str, other: bytes, other_space: str
) -> Float[np.ndarray, "H W _"]:
    """Values of one profile as those of another, by lcms in float32."""
    import imagecodecs

    values = np.ascontiguousarray(values, np.float32)
    if space == "cmyk":
        values = 100 * values  # lcms measures ink in percent
    result = imagecodecs.cms_transform(
        values[..., 0] if space == "gray" else values,
        profile,
        other,
        colorspace=space,
        outcolorspace=other_space,
        outdtype=np.float32,
        intent=RELATIVE_COLORIMETRIC,
    )
    return result[..., None] if other_space == "gray" else result


@functools.cache
def _linear_srgb() -> bytes:
    import imagecodecs

    return imagecodecs.cms_profile(
        "rgb",
        whitepoint=WHITE,
        primaries=[0.64, 0.33, 1, 0.3, 0.6, 1, 0.15, 0.06, 1],
        gamma=1.0,
    )


@functools.cache
def srgb() -> bytes:
    """The profile of sRGB."""
    return _undated(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())


@functools.cache
def adobe_rgb() -> bytes:
    """The profile of Adobe RGB (1998)."""
    import imagecodecs

    return _undated(imagecodecs.cms_profile("adobergb"))


def _undated(profile: bytes) -> bytes:
    """A profile without the time when it was made, so that files are the same."""
    return profile[:24] + bytes(12) + profile[36:]


def _encode(linear: Values) -> Float[np.ndarray, "H W _"]:
    """Light as sRGB values, by IEC 61966-2-1; odd, for colours outside of sRGB."""
    size = np.abs(linear)
    curve = 1.055 * np.maximum(size, 0.0031308) ** (1 / 2.4) - 0.055
    return np.copysign(np.where(size <= 0.0031308, 12.92 * size, curve), linear)


def _decode(encoded: Values) -> Float[np.ndarray, "H W _"]:
    """The inverse of `_encode`."""
    size = np.abs(encoded)
    curve = ((size + 0.055) / 1.055) ** 2.4
    return np.copysign(np.where(size <= 0.04045, size / 12.92, curve), encoded)


def cmyk_to_rgb(
    ink: UInt[np.ndarray, "H W 4"], profile: bytes | None
) -> UInt[np.ndarray, "H W 3"]:
    """Ink in sRGB.

    Args:
      ink: 0 for none, the largest number for all.
      profile: for which `way` is not "none"; None for plain mixing.
    """
    most = np.iinfo(ink.dtype).max
    values = ink.astype(np.float32) / np.float32(most)
    if profile is not None:
        colours = to_srgb(values, profile)
    else:
        colours = (1 - values[..., :3]) * (1 - values[..., 3:])
    return np.rint(np.clip(colours, 0, 1) * most).astype(ink.dtype)
