"""Priors around another prior."""

import dataclasses
from typing import Any

from jaxtyping import Int

from pigdm_jax.core.types import AnyArray, ImageShape
from pigdm_jax.priors.base import Prior


def _inner(name: str) -> Any:
    """An attribute that is the inner prior's."""
    return property(lambda self: getattr(self.prior, name))


class PriorWrapper(Prior):
    """A prior around another one, whose attributes it has unless it defines its own.

    A subclass is a dataclass with the inner prior in its field `prior`.
    """

    prior: Any

    schedule = _inner("schedule")
    image_shape = _inner("image_shape")
    multiple = _inner("multiple")
    smallest = _inner("smallest")
    trained_size = _inner("trained_size")
    learned = _inner("learned")
    symmetries = _inner("symmetries")
    sees = _inner("sees")
    seen = _inner("seen")
    label = _inner("label")
    null_label = _inner("null_label")

    def memory(self, image_shape: ImageShape) -> int:
        """Least number of bytes that one evaluation takes for such an image."""
        memory: int = self.prior.memory(image_shape)
        return memory

    def rematerialised(self) -> "PriorWrapper":
        """This prior, but recomputing activations in the backward pass if it can."""
        return self._around(self.prior.rematerialised())

    def condition(
        self, *, label: Int[AnyArray, ""] | int | None = None, image: Any = None
    ) -> "PriorWrapper":
        """This prior with another class label, or an image besides x_t.

        Raises:
          ValueError: if the inner prior takes no such condition.
        """
        return self._around(self.prior.condition(label=label, image=image))

    def _around(self, prior: Prior, **changes: Any) -> "PriorWrapper":
        """This wrapper around another prior."""
        return dataclasses.replace(self, prior=prior, **changes)  # type: ignore[type-var]
