"""Writing pictures, in the format of the file's suffix."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt
from PIL import Image as PillowImage
from PIL import PngImagePlugin

from pigdm_jax.core.arrays import check_image
from pigdm_jax.core.paths import check_path
from pigdm_jax.core.types import Image
from pigdm_jax.pictures import deep, profiles
from pigdm_jax.pictures.formats import PNG, TIFF, WEBP, Format, format_of
from pigdm_jax.pictures.kept import NOTHING_KEPT, Kept
from pigdm_jax.pictures.levels import from_levels, to_levels
from pigdm_jax.pictures.metadata import XMP_KEY, Metadata, exif_for, fitting


def write_picture(path: str | Path, image: Image | PillowImage.Image) -> None:
    """Write an image in [-1, 1], or a Pillow one, atomically, with 8 bits a channel.

    The suffix gives the format: .png, .tif, .tiff and .webp, which are lossless, .jpg
    and .jpeg, of quality 95 and 4:4:4. The file is complete or absent, also after a
    power loss: it is synced to disk under a temporary name and then renamed.

    Raises:
      TypeError: if the path is neither a str nor an `os.PathLike`.
      ValueError: if the file cannot be written, its suffix is none of these, or the
        image is not finite or has pixels from 0 to 255.
    """
    check_path(path)
    if not isinstance(image, PillowImage.Image):
        check_image("image", image)
        write_restored(Path(path), image, NOTHING_KEPT)
        return
    path = Path(path)
    form = format_of(path)
    with _temporary(path) as place:
        image.save(place, form.name, **form.options)


def write_restored(path: Path, image: Image, kept: Kept) -> None:
    """Write a restoration, atomically, with what it keeps of the picture's file.

    Args:
      path: of the file; its suffix gives the format.
      image: in [-1, 1], or beyond if `kept.converted`, of one channel or three.
      kept: from the picture's file.

    Raises:
      ValueError: if the file cannot be written, or its suffix is unknown.
    """
    form = format_of(path)
    colours = np.shape(image)[-1] == 3 and not kept.grey
    if kept.profile is not None and colours == profiles.is_grey(kept.profile):
        kept = kept._replace(profile=None, converted=False)
    pixels = levels_of(image, kept, form)
    with _temporary(path) as place:
        options = {**form.options} | _extras(form, kept, pixels.shape)
        if form is TIFF:
            deep.write_tiff(place, pixels, options)
        elif pixels.dtype == np.uint16:
            deep.write_png(place, pixels, options)
        else:
            flat = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
            PillowImage.fromarray(flat).save(place, form.name, **options)


def levels_of(image: Image, kept: Kept, form: Format) -> UInt[np.ndarray, "H W c"]:
    """The pixels of a file, alpha included.

    Args:
      image: as for `write_restored`.
      kept: from the picture's file.
      form: of the file.
    """
    image = np.asarray(image)
    if kept.converted and kept.profile is not None:
        image = 2 * profiles.from_srgb((image + 1) / 2, kept.profile) - 1
    if kept.grey and image.shape[-1] == 3:
        image = image.mean(axis=-1, keepdims=True)
    bits = min(kept.bits, form.bits)
    if kept.alpha is None:
        return to_levels(image, bits)
    alpha = _resized(kept.alpha, image.shape[:2])
    if not form.alpha:
        return to_levels(image * alpha + 1 - alpha, bits)
    return np.concatenate([to_levels(image, bits), to_levels(2 * alpha - 1, bits)], -1)


def _resized(
    alpha: UInt[np.ndarray, "H W"], size: tuple[int, ...]
) -> Float[np.ndarray, "h w 1"]:
    """An alpha channel of another size, from 0 to 1, with an axis of channels."""
    values = (from_levels(alpha) + 1) / 2
    if values.shape != size:
        height, width = size
        picture = PillowImage.fromarray(values)
        values = np.asarray(
            picture.resize((width, height), PillowImage.Resampling.BICUBIC)
        )
    return np.clip(values, 0, 1)[..., None]


def remarks_on(path: Path, kept: Kept) -> tuple[str, ...]:
    """What becomes of bits and alpha in a file, for the user to read."""
    form, remarks = format_of(path), []
    if kept.bits > form.bits:
        remarks.append(f"{form.name} has {form.bits} bits a channel, not {kept.bits}")
    if kept.alpha is not None:
        remarks.append(
            "its alpha channel is kept, in the size of the output"
            if form.alpha
            else f"{form.name} has no alpha channel: its own is blended with white"
        )
    if fitting(kept.metadata, form.metadata) != kept.metadata:
        remarks.append(
            f"its metadata are longer than {form.name} allows and not all kept"
        )
    return tuple(remarks)


def _extras(form: Format, kept: Kept, shape: tuple[int, ...]) -> dict[str, Any]:
    """What a file holds besides its pixels, as options for Pillow."""
    metadata, found = fitting(kept.metadata, form.metadata), dict[str, Any]()
    if kept.profile is not None:
        found["icc_profile"] = kept.profile
    if metadata.dpi is not None and form is not WEBP:
        found["dpi"] = metadata.dpi
    found |= _texts(form, metadata)
    more = {deep.XMP: metadata.xmp} if form is TIFF and metadata.xmp else None
    exif = exif_for(metadata, shape[1], shape[0], more)
    if exif is not None:
        found["exif"] = exif
    return found


def _texts(form: Format, metadata: Metadata) -> dict[str, Any]:
    """XMP, and the texts of a PNG file, as options for Pillow."""
    xmp = metadata.xmp or b""
    if form is not PNG:
        return {"xmp": xmp} if xmp and form is not TIFF else {}
    chunks = PngImagePlugin.PngInfo()
    if xmp:
        chunks.add_itxt(XMP_KEY, xmp.decode("utf-8", "replace"))
    for key, text in metadata.texts:
        chunks.add_text(key, text)
    return {"pnginfo": chunks} if xmp or metadata.texts else {}


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """A file beside another, synced to disk and renamed to it in the end."""
    place = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield place
        with open(place, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(place, path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"cannot write {path}: {reason}") from None
    finally:
        place.unlink(missing_ok=True)
