"""Guidances by their names on the command line."""

from typing import TYPE_CHECKING

from pigdm_jax.core.lazy import LazyMapping
from pigdm_jax.core.text_form import parse_object

if TYPE_CHECKING:
    import pigdm_jax.guidance.base

GUIDANCES: LazyMapping[type["pigdm_jax.guidance.base.Guidance"]] = LazyMapping(
    {
        "pseudoinverse": "pigdm_jax.guidance.pseudoinverse:Pseudoinverse",
        "reconstruction": "pigdm_jax.guidance.reconstruction:Reconstruction",
        "calibrated": "pigdm_jax.guidance.moment:Calibrated",
        "moment": "pigdm_jax.guidance.moment:Moment",
    }
)
"""By their names on the command line; each class is imported when it is looked up."""


def parse(text: str) -> "pigdm_jax.guidance.base.Guidance":
    """The guidance that a text names.

    Args:
      text: NAME or NAME:KEY=VALUE,KEY=VALUE.

    Raises:
      ValueError: if the name or a parameter is unknown, or a value is out of range.

    Examples:
      >>> import pigdm_jax as pj
      >>> pj.guidance.parse("moment:products=5")
      Moment(products=5, scale=1.0, clip=False)
    """
    return parse_object(text, "guidance", GUIDANCES)
