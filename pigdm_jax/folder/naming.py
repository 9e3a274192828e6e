"""Names of the restorations of a folder's pictures."""

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath

from pigdm_jax.pictures.outputs import folded


def name_outputs(names: Sequence[PurePath]) -> list[str]:
    """A .png file for each picture, with "/": a.jpg becomes a.png.

    Where two names would be the same, or differ in case alone, they keep their suffix:
    a.jpg and a.png become a.jpg.png and a.png.png. Names that differ in case alone
    themselves still collide; `check_outputs` refuses them.

    Args:
      names: of the pictures, relative to their folder.
    """
    whole: set[PurePath] = set()
    while True:
        outputs = [_png(name, name in whole) for name in names]
        counts = Counter(map(folded, outputs))
        alike = {
            name
            for name, output in zip(names, outputs, strict=True)
            if counts[folded(output)] > 1
        }
        if alike <= whole:
            return outputs
        whole |= alike


def _png(path: PurePath, whole: bool) -> str:
    name = f"{path.name}.png" if whole else f"{path.stem}.png"
    return path.with_name(name).as_posix()
