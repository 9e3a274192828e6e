"""What a restored file keeps of its picture's file."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt

from pigdm_jax.pictures import profiles
from pigdm_jax.pictures.decoding import Decoded
from pigdm_jax.pictures.levels import from_levels
from pigdm_jax.pictures.metadata import Metadata

Picture = Float[np.ndarray, "H W C"]


class Kept(NamedTuple):
    """What a file that is written has in common with the one that was read.

    Attributes:
      bits: a channel, 8 or 16.
      grey: whether it has no colour.
      alpha: to be resized.
      profile: of the colours in the file; None for sRGB.
      converted: whether the restoration is in sRGB and has to be converted to the
        profile.
      metadata: all else.
    """

    bits: int = 8
    grey: bool = False
    alpha: UInt[np.ndarray, "H W"] | None = None
    profile: bytes | None = None
    converted: bool = False
    metadata: Metadata = Metadata()


NOTHING_KEPT = Kept()


class Shown(NamedTuple):
    """A picture as it is measured.

    Attributes:
      picture: in [-1, 1], or beyond where its colours are outside of sRGB; always of
        three channels.
      kept: for its restoration.
      remarks: for the user to read.
    """

    picture: Picture
    kept: Kept
    remarks: tuple[str, ...]


def show(decoded: Decoded, *, convert: bool, colour: bool = False) -> Shown:
    """A picture in the colours in which it is restored.

    Args:
      decoded: its file.
      convert: whether its colours are converted to sRGB; else they are taken as they
        are in the file, since the task is about those.
      colour: whether its restoration has colour even if it has none.
    """
    picture, profile, converted = from_levels(decoded.pixels), decoded.profile, False
    grey, remarks = decoded.grey and not colour, list(decoded.remarks)
    if profile is not None:
        picture, profile, converted, remark = _converted(
            picture, profile, convert, back=grey == profiles.is_grey(profile)
        )
        remarks += remark
    if picture.shape[-1] == 1:
        picture = np.repeat(picture, 3, axis=-1)
    kept = Kept(decoded.bits, grey, decoded.alpha, profile, converted, decoded.metadata)
    return Shown(picture, kept, tuple(remarks))


def _converted(
    picture: Picture, profile: bytes, convert: bool, back: bool
) -> tuple[np.ndarray, bytes | None, bool, list[str]]:
    """The picture, the profile to write, whether to convert to it, and remarks.

    Args:
      picture: in the colours of the profile.
      profile: of the file.
      convert: as for `show`.
      back: whether the profile suits the file to write.
    """
    way = profiles.way(profile, picture.shape[-1])
    if way == "same":
        return picture, profile if back else None, False, []
    name = profiles.name(profile)
    if not convert:
        remark = (
            f"its colours stay those of its profile, {name}, since the task is about "
            "the file's own numbers; the profile is kept"
        )
        return picture, profile if back else None, False, [remark]
    picture = 2 * profiles.to_srgb((picture + 1) / 2, profile) - 1
    if way == "one" or not back:
        remark = f"its colours are converted from {name} to sRGB, and written so"
        return picture, None, False, [remark]
    remark = f"its colours are converted from {name} to sRGB, and back in the end"
    return picture, profile, True, [remark]
