"""A picture file as pixels, upright, and what comes with them."""

import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt
from PIL import Image as PillowImage

from pigdm_jax.pictures import deep, profiles
from pigdm_jax.pictures.metadata import (
    Metadata,
    is_adobe_rgb,
    metadata_of,
    orientation,
    upright,
)
from pigdm_jax.pictures.opening import File, RefusedError, explained, opened

GREYS = ("1", "L", "LA", "La", "I;16", "I;16B", "I;16L")
COLOURS = ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "YCbCr", "CMYK")
EXTRA_SAMPLES = 338  # the tag of TIFF files
UNKNOWN = ("a channel of unknown meaning is not kept",)
# Chunks that a PNG file may have behind its pixels, and that may say how it is turned.
LATE = (b"eXIf", b"iTXt", b"tEXt", b"zTXt")


class Decoded(NamedTuple):
    """A picture file.

    Attributes:
      pixels: of 8 or 16 bits, with one channel (grey) or three.
      alpha: of as many bits; None if the file has none.
      profile: of its colours; None for sRGB.
      metadata: all else.
      remarks: what is not as in the file, for the user to read.
    """

    pixels: UInt[np.ndarray, "H W c"]
    alpha: UInt[np.ndarray, "H W"] | None
    profile: bytes | None
    metadata: Metadata
    remarks: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        height, width, _ = self.pixels.shape
        return height, width

    @property
    def bits(self) -> int:
        """Bits a channel, 8 or 16."""
        return 8 * self.pixels.dtype.itemsize

    @property
    def grey(self) -> bool:
        """Whether the file has no colour."""
        return self.pixels.shape[-1] == 1


class Header(NamedTuple):
    """What is known of a picture file before its pixels are.

    Attributes:
      size: height and width, upright.
      bits: a channel, 8 or 16.
      profiled: whether it has a colour profile that is converted to sRGB and back.
      grey: whether it has no colour.
    """

    size: tuple[int, int]
    bits: int
    profiled: bool
    grey: bool


def read_header(path: str | Path) -> Header:
    """Read the header of a picture file.

    Raises:
      ValueError: if the file is missing, is no picture, or is of a kind that
        `decode` refuses.
    """
    with opened(path) as (picture, file), explained(path):
        bits = deep.bits_of(file, picture)
        _check_mode(picture)
        # For a PNG file without EXIF, `getexif` would decode all pixels.
        early = picture.format != "PNG" or "exif" in picture.info or _late(file)
        turned = early and orientation(picture) >= 5
        width, height = picture.size
        # Of a TIFF file Pillow gives the size when it is turned.
        if turned and picture.format != "TIFF":
            width, height = height, width
        channels = 4 if picture.mode == "CMYK" else 1 if _is_grey(picture) else 3
        profile = _profile(picture)
        profiled = profile is not None and profiles.way(profile, channels) == "both"
        return Header((height, width), bits, profiled, channels == 1)


def _late(file: File) -> bool:
    """Whether a PNG file has chunks of LATE; reads no pixels."""
    place = file.tell()  # Pillow goes on from here
    file.seek(8)
    found = False
    while not found and len(head := file.read(8)) == 8:
        found = head[4:] in LATE
        file.seek(int.from_bytes(head[:4]) + 4, io.SEEK_CUR)
    file.seek(place)
    return found


def decode(path: str | Path, content: bytes | None = None) -> Decoded:
    """Decode a picture file.

    Args:
      path: of the file.
      content: of the file, if it is not to be opened.

    Raises:
      ValueError: if it is missing, cannot be decoded or is of a kind that is refused
        (several pictures, raw data, more than 16 bits), in one sentence.
    """
    with opened(path, content) as (picture, file), explained(path):
        bits = deep.bits_of(file, picture)
        _check_mode(picture)
        if picture.format != "TIFF":  # whose metadata are lost when it is decoded
            picture.load()
        metadata, turn = metadata_of(picture), orientation(picture)
        if bits == 16:
            channels = _deep_channels(file, picture)
        else:
            picture.load()
            channels = _channels(picture)
            # Pillow turns TIFF files.
            turn = orientation(picture)
    pixels, alpha, profile, remarks = channels
    if profile is not None and profiles.way(profile, pixels.shape[-1]) == "none":
        remarks = (*remarks, "its colour profile cannot be used and is not kept")
        profile = None
    if alpha is not None:
        alpha = upright(alpha, turn)
    remarks = (*remarks, *metadata.remarks)
    return Decoded(upright(pixels, turn), alpha, profile, metadata, remarks)


def _check_mode(picture: PillowImage.Image) -> None:
    """Refuse colours that are neither grey nor RGB nor ink.

    Raises:
      RefusedError: if they are.
    """
    if picture.mode not in (*GREYS, *COLOURS):
        raise RefusedError(
            f"has colours of the kind {picture.mode}; save it as grey or RGB, of 8 or "
            "16 bits"
        )


def _profile(picture: PillowImage.Image) -> bytes | None:
    """The profile that a file embeds, or that a camera's EXIF names."""
    embedded = picture.info.get("icc_profile")
    if embedded or (picture.format == "PNG" and "exif" not in picture.info):
        return embedded or None
    colours = picture.mode.startswith("RGB")
    return profiles.adobe_rgb() if colours and is_adobe_rgb(picture) else None


def _is_grey(picture: PillowImage.Image) -> bool:
    """Whether a picture has no colour: by its mode or palette."""
    if picture.mode not in ("P", "PA"):
        return picture.mode in GREYS
    palette = np.reshape(picture.getpalette("RGB") or [], (-1, 3))
    return not np.ptp(palette, axis=-1).any()


class _Channels(NamedTuple):
    """Pixels, not yet upright, and the profile that is left to convert."""

    pixels: UInt[np.ndarray, "H W c"]
    alpha: UInt[np.ndarray, "H W"] | None
    profile: bytes | None
    remarks: tuple[str, ...] = ()


def _channels(picture: PillowImage.Image) -> _Channels:
    """Of a decoded picture of 8 bits."""
    profile = _profile(picture)
    if picture.mode == "CMYK":
        return _from_ink(np.asarray(picture), None, profile)
    grey = _is_grey(picture)
    extra = getattr(picture, "tag_v2", {}).get(EXTRA_SAMPLES, ())
    remarks = UNKNOWN * (0 in extra or len(extra) > 1)
    if picture.has_transparency_data:
        whole = np.asarray(picture.convert("LA" if grey else "RGBA"))
        pixels, alpha = whole[..., :-1], whole[..., -1]
    else:
        pixels, alpha = np.asarray(picture.convert("L" if grey else "RGB")), None
        if grey:
            pixels = pixels[..., None]
    return _Channels(pixels, alpha, profile, remarks)


def _deep_channels(file: File, picture: PillowImage.Image) -> _Channels:
    """Of a picture of 16 bits, whose header has been read."""
    profile = _profile(picture)
    if picture.format == "TIFF":
        tiff = deep.read_tiff(file)
        alpha = None if tiff.alpha is None else tiff.alpha[..., 0]
        if tiff.colours.shape[-1] == 4:
            return _from_ink(tiff.colours, alpha, profile)
        return _Channels(tiff.colours, alpha, profile, UNKNOWN * tiff.left_out)
    if picture.format != "PNG":
        picture.load()
        pixels = np.asarray(picture).astype(np.uint16)[..., None]
        return _Channels(pixels, None, profile)
    pixels = deep.read_png(file)
    if pixels.shape[-1] in (2, 4):
        return _Channels(pixels[..., :-1], pixels[..., -1], profile)
    if "transparency" not in picture.info:
        return _Channels(pixels, None, profile)
    # One colour that is transparent.
    clear = (pixels == picture.info["transparency"]).all(axis=-1)
    return _Channels(pixels, np.where(clear, 0, 65535).astype(np.uint16), profile)


def _from_ink(pixels: Any, alpha: Any, profile: bytes | None) -> _Channels:
    if profile is not None and profiles.way(profile, 4) == "none":
        profile = None
    how = (
        f"by its profile, {profiles.name(profile)}" if profile else "without a profile"
    )
    remark = f"its CMYK colours are converted to sRGB {how}, and written so"
    return _Channels(profiles.cmyk_to_rgb(pixels, profile), alpha, None, (remark,))
