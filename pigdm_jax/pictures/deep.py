"""PNG and TIFF files as Pillow cannot read or write them.

Of 16 bits a channel it keeps 8, and it writes no compressed TIFF file with EXIF.
"""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt, UInt16
from PIL import Image as PillowImage

from pigdm_jax.pictures.metadata import directories_of
from pigdm_jax.pictures.opening import File, RefusedError

Deep = UInt16[np.ndarray, "H W _"]
# Of colour, by the kind that a TIFF file gives.
CHANNELS = {"MINISWHITE": 1, "MINISBLACK": 1, "RGB": 3, "SEPARATED": 4}

BITS_PER_SAMPLE, SAMPLE_FORMAT, XMP = 258, 339, 700
RATINGS = (18246, 18249)
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


class TiffPixels(NamedTuple):
    """The pixels of a TIFF file of more than 8 bits.

    Attributes:
      colours: of 1, 3 or 4 channels; 4 are ink (CMYK).
      alpha: of one; None if the file has none.
      left_out: whether there are other channels.
    """

    colours: Deep
    alpha: Deep | None
    left_out: bool


def read_tiff(file: File) -> TiffPixels:
    """The pixels of a TIFF file of more than 8 bits.

    Raises:
      RefusedError: if its colours are of another kind than grey, RGB and CMYK, or
        pixels are missing.
    """
    import tifffile

    file.seek(0)
    with tifffile.TiffFile(file) as tiff:
        page: Any = tiff.pages.first
        kind = page.photometric.name
        if kind not in CHANNELS:
            raise RefusedError(
                f"has colours of the kind {kind}; save it as grey or RGB"
            )
        # tifffile takes data that are missing for zeros.
        if not page.dataoffsets or not all((*page.dataoffsets, *page.databytecounts)):
            raise RefusedError("is incomplete")
        pixels = _scaled(page.asarray(), int(np.max(page.bitspersample)))
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    elif page.planarconfig == 2:
        pixels = np.moveaxis(pixels, 0, -1)
    count = CHANNELS[kind]
    colours, others = pixels[..., :count], pixels[..., count:]
    if kind == "MINISWHITE":
        colours = 65535 - colours
    extra = page.extrasamples[0] if page.extrasamples else 0
    if extra not in (ASSOCIATED, UNASSOCIATED):
        return TiffPixels(colours, None, others.shape[-1] > 0)
    alpha = others[..., :1]
    if extra == ASSOCIATED:
        colours = _unmixed(colours, alpha)
    return TiffPixels(colours, alpha, others.shape[-1] > 1)


def _scaled(pixels: UInt16[np.ndarray, "*shape"], bits: int) -> np.ndarray:
    """Whole numbers of fewer bits as those of 16."""
    if bits == 16:
        return pixels
    return np.rint(pixels * (65535 / (2**bits - 1))).astype(np.uint16)


def _unmixed(colours: Deep, alpha: Deep) -> Deep:
    """Colours that were multiplied by alpha, without it."""
    whole = colours.astype(np.float64) * 65535 / np.maximum(alpha, 1)
    return np.rint(np.minimum(whole, 65535)).astype(np.uint16)


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
            *((tag - 1, "I", 1, 0, True) for tag in directories_of(exif)),
        ],
        byteorder="<",
        metadata=None,
        software=False,
    )
    _add_directories(path, exif)


def _add_directories(path: Path, exif: PillowImage.Exif) -> None:
    """Write directories of tags behind a TIFF file that has placeholders for them."""
    import tifffile

    with tifffile.TiffFile(path, mode="r+") as file:
        tags, handle = file.pages.first.tags, file.filehandle
        for tag, directory in directories_of(exif).items():
            end = handle.seek(0, io.SEEK_END)
            end = handle.seek(end + end % 2)
            handle.write(directory.tobytes(end))
            tags[tag - 1].overwrite(end)
            handle.seek(tags[tag - 1].offset)
            handle.write(tag.to_bytes(2, "little"))


def _plain_tags(exif: PillowImage.Exif) -> Iterator[tuple[int, int, int, Any, bool]]:
    """Texts, bytes and ratings, as tifffile takes them."""
    for tag, value in exif.items():
        if isinstance(value, str):
            yield tag, 2, 0, value, True
        elif isinstance(value, bytes):
            yield tag, 1, len(value), value, True
        elif tag in RATINGS:
            yield tag, 3, 1, value, True
