"""Guidances: how a prior's prediction is pulled towards a measurement.

To add one, write its file and name it in `GUIDANCES`.
"""

from pigdm_jax.core.text_form import parse_object
from pigdm_jax.guidance.base import Denoised, GradientGuidance, Guidance, Guided
from pigdm_jax.guidance.moment import Calibrated, Moment
from pigdm_jax.guidance.pseudoinverse import Pseudoinverse
from pigdm_jax.guidance.reconstruction import Reconstruction

GUIDANCES: dict[str, type[Guidance]] = {
    "pseudoinverse": Pseudoinverse,
    "reconstruction": Reconstruction,
    "calibrated": Calibrated,
    "moment": Moment,
}
"""By the names of the command line."""


def parse(text: str) -> Guidance:
    """The guidance that a text such as "moment:products=5" names.

    Raises:
      ValueError: if a name is unknown, or a parameter is superfluous or out of range.
    """
    return parse_object(text, "guidance", GUIDANCES)


__all__ = [
    "GUIDANCES",
    "Calibrated",
    "Denoised",
    "GradientGuidance",
    "Guidance",
    "Guided",
    "Moment",
    "Pseudoinverse",
    "Reconstruction",
    "parse",
]
