"""What a picture file says besides its pixels: EXIF, XMP, resolution, orientation."""

import re
from typing import Any, NamedTuple

import numpy as np
from PIL import ExifTags, TiffImagePlugin
from PIL import Image as PillowImage

# Tags about the photo. All others in a TIFF file's main directory are about its pixels.
ABOUT = (
    *(270, 271, 272, 282, 283, 296, 305, 306, 315, 316, 18246, 18249, 33432),
    *range(40091, 40096),
)
ORIENTATION = ExifTags.Base.Orientation
WIDTH, HEIGHT = ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight
DIRECTORIES = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
XMP_KEY = "XML:com.adobe.xmp"  # of a PNG file
IPTC, IPTC_TAG = 0x0404, 33723  # in a JPEG and in a TIFF file
XMP_ORIENTATION = (
    rb'\s*tiff:Orientation="[0-9]"',
    rb"<tiff:Orientation>[0-9]</tiff:Orientation>",
)

# For each orientation, what turns the pixels upright.
TURNS: dict[int, Any] = {
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: x[::-1].swapaxes(0, 1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: x[:, ::-1].swapaxes(0, 1),
}


class Metadata(NamedTuple):
    """What is kept of a file's metadata; the picture is upright.

    Attributes:
      exif: as `PillowImage.Exif.tobytes` gives it.
      xmp: XML.
      dpi: pixels an inch, across and down.
      texts: of a PNG file, with their keys.
      remarks: what is not kept, for the user to read.
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    texts: tuple[tuple[str, str], ...] = ()
    remarks: tuple[str, ...] = ()


def orientation(picture: PillowImage.Image) -> int:
    """How the pixels are to be turned, 1 to 8; 1 if EXIF does not say or is broken."""
    try:
        number = picture.getexif().get(ORIENTATION, 1)
    except Exception:  # EXIF that is broken may raise anything
        return 1
    return number if number in TURNS else 1


def is_adobe_rgb(picture: PillowImage.Image) -> bool:
    """Whether EXIF names Adobe RGB, as cameras write it that embed no profile."""
    try:
        exif = picture.getexif()
        space = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.ColorSpace)
        return space == 2 or exif.get_ifd(ExifTags.IFD.Interop).get(1) == "R03"
    except Exception:  # EXIF that is broken may raise anything
        return False


def upright(pixels: np.ndarray, number: int) -> np.ndarray:
    """Pixels turned upright.

    Args:
      pixels: (height, width, ...).
      number: as `orientation` gives it.
    """
    return np.ascontiguousarray(TURNS[number](pixels)) if number in TURNS else pixels


def metadata_of(picture: PillowImage.Image) -> Metadata:
    """The metadata of an opened picture.

    Left out are thumbnails, which would show it as it was, and how it is turned.
    """
    info = picture.info
    xmp = info.get("xmp") or info.get(XMP_KEY) or None
    if isinstance(xmp, str):
        xmp = xmp.encode()
    for pattern in XMP_ORIENTATION:
        xmp = re.sub(pattern, b"", xmp) if xmp else None
    remarks: tuple[str, ...] = ()
    try:
        exif = _about_the_photo(picture.getexif())
        _check_writable(exif)
    except Exception:  # EXIF that is broken may raise anything
        exif, remarks = None, ("its EXIF data are broken and not kept",)
    if IPTC in info.get("photoshop", ()) or IPTC_TAG in getattr(picture, "tag_v2", ()):
        remarks = (*remarks, "its IPTC data are not kept")
    dpi = _resolution(info.get("dpi"))
    return Metadata(exif, xmp, dpi, _texts(picture), remarks)


def _texts(picture: PillowImage.Image) -> tuple[tuple[str, str], ...]:
    """The texts of a PNG file that are neither XMP nor EXIF in disguise."""
    texts: dict[str, str] = getattr(picture, "text", {})
    return tuple(
        (key, str(text))
        for key, text in texts.items()
        if key != XMP_KEY and not key.startswith("Raw profile type")
    )


def _resolution(dpi: Any) -> tuple[float, float] | None:
    try:
        across, down = (float(n) for n in dpi)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (across, down) if 0 < across < 1e6 and 0 < down < 1e6 else None


def _about_the_photo(exif: PillowImage.Exif) -> bytes | None:
    """EXIF without tags that are about the pixels of its file."""
    kept = PillowImage.Exif()
    for tag in ABOUT:
        if tag in exif:
            kept[tag] = exif[tag]
    for directory in DIRECTORIES:
        tags = dict(exif.get_ifd(directory))
        if ExifTags.IFD.Interop in tags:
            tags[ExifTags.IFD.Interop] = dict(exif.get_ifd(ExifTags.IFD.Interop))
        if tags:
            kept.get_ifd(directory).update(tags)
    whole = kept.tobytes()
    return whole if len(kept) or any(map(kept.get_ifd, DIRECTORIES)) else None


def _check_writable(exif: bytes | None) -> None:
    """Fail now, and not when the restoration is written, if EXIF is broken."""
    again = PillowImage.Exif()
    again.load(exif_for(Metadata(exif), 1, 1) or b"")
    for directory in directories_of(again).values():
        directory.tobytes(0)


def directories_of(
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


def exif_for(
    metadata: Metadata, width: int, height: int, more: dict[int, Any] | None = None
) -> bytes | None:
    """EXIF for a picture of another size; None if there is none.

    Args:
      metadata: of the file that was read.
      width: of the picture to write.
      height: of the picture to write.
      more: tags to add.
    """
    exif = PillowImage.Exif()
    if metadata.exif is not None:
        exif.load(metadata.exif)
        tags = exif.get_ifd(ExifTags.IFD.Exif)
        tags.update({t: n for t, n in ((WIDTH, width), (HEIGHT, height)) if t in tags})
    elif not more:
        return None
    for tag, value in (more or {}).items():
        exif[tag] = value
    return exif.tobytes()


def fitting(metadata: Metadata, most: int) -> Metadata:
    """Metadata of which neither EXIF nor XMP has more than so many bytes.

    From EXIF that is longer the camera's own part (MakerNote) is left out.

    Args:
      metadata: of the file that was read.
      most: a format's limit.
    """
    exif, xmp = metadata.exif, metadata.xmp
    if exif is not None and len(exif) > most:
        shorter = PillowImage.Exif()
        shorter.load(exif)
        shorter.get_ifd(ExifTags.IFD.Exif).pop(ExifTags.IFD.MakerNote, None)
        shorter.get_ifd(ExifTags.IFD.GPSInfo)  # loaded on demand
        exif = shorter.tobytes()
    return metadata._replace(
        exif=exif if exif is not None and len(exif) <= most else None,
        xmp=xmp if xmp is not None and len(xmp) <= most else None,
    )
