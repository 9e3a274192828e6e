"""PNG and TIFF files as Pillow cannot read or write them.

Of 16 bits a channel it keeps 8, and it writes no compressed TIFF file with EXIF.
"""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt, UInt16
from PIL import ExifTags, TiffImagePlugin
from PIL import Image as PillowImage

from pigdm_jax.pictures.metadata import DIRECTORIES
from pigdm_jax.pictures.opening import File, RefusedError

Deep = UInt16[np.ndarray, "H W c"]

BITS_PER_SAMPLE, SAMPLE_FORMAT, XMP = 258, 339, 700
UNSIGNED, UNSAID = 1, 4
ASSOCIATED, UNASSOCIATED = 1, 2
PNG_DEPTH = 24  # the byte of the header
PNG_HEADER = 33  # its bytes, with the signature
# Chunks of a PNG file that hold its pixels.
PNG_PIXELS = (b"IHDR", b"PLTE", b"IDAT", b"IEND")


def bits_of(file: File, picture: PillowImage.Image) -> int:
    """Bits a channel, 8 or 16; those of 10 or 12 count as 16, and fewer than 8 as 8.

    Args:
      file: the file.
      picture: opened from it, perhaps not decoded.

    Raises:
      RefusedError: if there are more, or they are no whole numbers from 0.
    """
    if picture.format == "PNG":
        place = file.tell()  # Pillow goes on from here
        file.seek(PNG_DEPTH)
        depth = file.read(1)[0]
        file.seek(place)
        return 16 if depth == 16 else 8
    if picture.format == "TIFF":
        tags = getattr(picture, "tag_v2", {})
        bits, kinds = tags.get(BITS_PER_SAMPLE, (1,)), tags.get(SAMPLE_FORMAT, (1,))
        if max(bits) > 16 or not {UNSIGNED, UNSAID}.issuperset(kinds):
            raise RefusedError(
                "holds numbers that are not whole, or of more than 16 bits; save it as "
                "a TIFF of 8 or 16 bits"
            )
        return 16 if max(bits) > 8 else 8
    return 16 if picture.mode.startswith("I") else 8


def read_png(file: File) -> Deep:
    """The pixels of a PNG file of 16 bits, of 1 to 4 channels.

    The last of 2 and of 4 is alpha.
    """
    import imagecodecs

    file.seek(0)
    pixels = imagecodecs.png_decode(file.read())
    return pixels if pixels.ndim == 3 else pixels[..., None]


def read_tiff(file: File) -> tuple[Deep, bool, bool]:
    """The pixels of a TIFF file of more than 8 bits.

    Returns:
      Its pixels, of which the last channel may be alpha; whether it is; and whether the
      colours are ink (CMYK).

    Raises:
      RefusedError: if its colours are of another kind than grey, RGB and CMYK, or
        pixels are missing.
    """
    import tifffile
    from tifffile import PHOTOMETRIC

    counts = {
        PHOTOMETRIC.MINISWHITE: 1,
        PHOTOMETRIC.MINISBLACK: 1,
        PHOTOMETRIC.RGB: 3,
        PHOTOMETRIC.SEPARATED: 4,
    }
    file.seek(0)
    with tifffile.TiffFile(file) as tiff:
        page: Any = tiff.pages.first
        if page.photometric not in counts:
            raise RefusedError(
                f"has colours of the kind {page.photometric.name}; save it as grey or "
                "RGB"
            )
        # tifffile takes data that are missing for zeros.
        if not page.dataoffsets or not all((*page.dataoffsets, *page.databytecounts)):
            raise RefusedError("is incomplete")
        pixels = page.asarray()
        bits = int(np.max(page.bitspersample))
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    elif page.planarconfig == 2:
        pixels = np.moveaxis(pixels, 0, -1)
    if bits < 16:
        most = 2**bits - 1
        pixels = np.rint(pixels * (65535 / most)).astype(np.uint16)
    if page.photometric == PHOTOMETRIC.MINISWHITE:
        pixels = 65535 - pixels
    count = counts[page.photometric]
    extra = page.extrasamples[0] if page.extrasamples else 0
    if extra not in (ASSOCIATED, UNASSOCIATED):
        return pixels[..., :count], False, count == 4
    pixels = pixels[..., : count + 1]
    if extra == ASSOCIATED:
        pixels = np.concatenate([_unmixed(pixels), pixels[..., count:]], axis=-1)
    return pixels, True, count == 4


def _unmixed(pixels: Deep) -> Deep:
    """Colours that were multiplied by alpha, the last channel, without it."""
    colours, alpha = pixels[..., :-1].astype(np.float64), pixels[..., -1:]
    whole = np.minimum(colours * 65535 / np.maximum(alpha, 1), 65535)
    return np.rint(whole).astype(np.uint16)


def write_png(path: Path, pixels: Deep, options: dict[str, Any]) -> None:
    """Write pixels of 1 to 4 channels.

    Args:
      path: of the file.
      pixels: of 1 to 4 channels, of which 2 and 4 are alpha.
      options: for Pillow, which writes everything besides the pixels.
    """
    import imagecodecs

    pixels = np.ascontiguousarray(pixels)
    whole = imagecodecs.png_encode(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    other = io.BytesIO()
    mode = "L" if pixels.shape[-1] < 3 else "RGB"
    PillowImage.new(mode, (1, 1)).save(other, "PNG", **options)
    path.write_bytes(
        whole[:PNG_HEADER] + _other_chunks(other.getvalue()) + whole[PNG_HEADER:]
    )


def _other_chunks(png: bytes) -> bytes:
    """The chunks of a PNG file that do not hold its pixels."""
    chunks, at = b"", 8
    while at < len(png):
        end = at + 12 + int.from_bytes(png[at : at + 4])
        if png[at + 4 : at + 8] not in PNG_PIXELS:
            chunks += png[at:end]
        at = end
    return chunks


def write_tiff(
    path: Path, pixels: UInt[np.ndarray, "H W c"], options: dict[str, Any]
) -> None:
    """Write pixels of 1 to 4 channels, compressed without loss.

    Args:
      path: of the file.
      pixels: of 8 or 16 bits and 1 to 4 channels, of which 2 and 4 have alpha.
      options: as for Pillow: icc_profile, exif and dpi.
    """
    import tifffile

    channels = pixels.shape[-1]
    exif = PillowImage.Exif()
    if options.get("exif"):
        exif.load(options["exif"])
    tifffile.imwrite(
        path,
        pixels[..., 0] if channels == 1 else pixels,
        photometric="minisblack" if channels < 3 else "rgb",
        extrasamples=[UNASSOCIATED] if channels in (2, 4) else None,
        compression="zlib",
        predictor=True,
        iccprofile=options.get("icc_profile"),
        resolution=options.get("dpi"),
        resolutionunit="INCH" if "dpi" in options else None,
        # tifffile refuses tags of directories: they get other numbers, which keep the
        # order, and which are replaced below.
        extratags=[
            *_plain_tags(exif),
            *((tag - 1, "I", 1, 0, True) for tag in _directories(exif)),
        ],
        byteorder="<",
        metadata=None,
        software=False,
    )
    with tifffile.TiffFile(path, mode="r+") as file:
        tags = file.pages.first.tags
        for tag, directory in _directories(exif).items():
            handle = file.filehandle
            end = handle.seek(0, io.SEEK_END)
            end = handle.seek(end + end % 2)
            handle.write(directory.tobytes(end))
            tags[tag - 1].overwrite(end)
            handle.seek(tags[tag - 1].offset)
            handle.write(tag.to_bytes(2, "little"))


def _plain_tags(exif: PillowImage.Exif) -> Iterator[tuple[int, int, int, Any, bool]]:
    """Texts and bytes, as tifffile takes them."""
    for tag, value in exif.items():
        if isinstance(value, str):
            yield tag, 2, 0, value, True
        elif isinstance(value, bytes):
            yield tag, 1, len(value), value, True


def _directories(
    exif: PillowImage.Exif,
) -> dict[int, TiffImagePlugin.ImageFileDirectory_v2]:
    """The directories of tags on the camera and the place."""
    found = {}
    for tag in DIRECTORIES:
        values = exif.get_ifd(tag)
        if values:
            found[tag] = TiffImagePlugin.ImageFileDirectory_v2(b"II*\0\0\0\0\0")
            for key, value in values.items():
                if key == ExifTags.IFD.Interop:
                    value = dict(exif.get_ifd(key))
                found[tag][key] = value
    return {int(tag): directory for tag, directory in found.items()}
