"""Damaged photos to try the page with; `pictures/README.md` says whose they are."""

from pathlib import Path
from typing import NamedTuple

from pigdm_jax.app.damages import Damage

PICTURES = Path(__file__).parent / "pictures"


class Example(NamedTuple):
    """A photo to try.

    Attributes:
      text: what its button says.
      photo: its file.
      damage: what happened to it.
      mask: the file of its mask, if it needs one.
    """

    text: str
    photo: Path
    damage: Damage
    mask: Path | None = None


EXAMPLES = (
    Example("Small", PICTURES / "small.png", Damage("small", {"factor": 4})),
    Example(
        "Scratched",
        PICTURES / "scratched.png",
        Damage("holes"),
        PICTURES / "scratches.png",
    ),
    Example("JPEG blocks", PICTURES / "blocks.jpg", Damage("jpeg")),
    Example("Noisy", PICTURES / "noisy.png", Damage("noisy")),
)
