"""Guidances by the names of the command line."""

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
"""By the names of the command line."""


def parse(text: str) -> "pigdm_jax.guidance.base.Guidance":
    """The guidance that a text such as "moment:products=5" names.

    Raises:
      ValueError: if a name is unknown, or a parameter is superfluous or out of range.
    """
    return parse_object(text, "guidance", GUIDANCES)
