"""Chains of operators."""

import math

import jax

from pigdm_jax.core.pytree import pytree_class, static_field
from pigdm_jax.operators.base import (
    Damping,
    Image,
    ImageShape,
    Measurement,
    Operator,
    Spectrum,
    refuse_damping,
)
from pigdm_jax.operators.kronecker import Separable, product
from pigdm_jax.operators.solve import pinv_by_conjugate_gradients


@pytree_class
class Chain(Operator):
    """Operators applied one after another; see `chain`."""

    parts: tuple[Operator, ...]
    image_shape: ImageShape = static_field()
    linear: bool = static_field()

    def apply(self, x: Image) -> Measurement:
        """The last part of the ... of the first part of the image."""
        for part in self.parts:
            x = part.apply(x)
        return x

    @property
    def _later(self) -> "Chain":
        """All parts but the first."""
        rest = self.parts[1:]
        return Chain(rest, rest[0].image_shape, self.linear)

    @property
    def tight(self) -> float | None:
        """The product of the parts' constants, if each has one."""
        constants = [part.tight for part in self.parts]
        known = [constant for constant in constants if constant is not None]
        return math.prod(known) if len(known) == len(constants) else None

    @property
    def spectrum(self) -> Spectrum | None:
        """That of the later parts times the first, if the first is tight."""
        first = self.parts[0]
        if not self.linear:
            return None
        if len(self.parts) == 1:
            return first.spectrum
        if first.tight is None:
            return None
        later = self._later.spectrum
        if later is None:
            return None
        root = math.sqrt(first.tight)
        return Spectrum(
            later.values * root,
            lambda x: later.analyse(first.apply(x) / root),
            lambda k: first.pinv(later.synthesise(k)) * root,
        )

    @property
    def gram(self) -> Measurement | None:
        """That of the later parts times the first's constant, if the first is tight."""
        first = self.parts[0]
        if not self.linear:
            return None
        if len(self.parts) == 1:
            return first.gram
        constant = first.tight
        if constant is None:
            return None
        gram = self._later.gram
        return None if gram is None else jax.tree.map(lambda g: constant * g, gram)

    @property
    def differentiable(self) -> bool:
        """Whether every part is."""
        return all(part.differentiable for part in self.parts)

    def pinv(self, y: Measurement, damping: Damping = 0.0) -> Image:
        """The exact (damped) pseudoinverse if linear, else the parts' in reverse order.

        If A A^T = c I, then (B A)+ = A+ B+, and a damping d of B A is a damping d / c
        of B. Other linear chains are inverted by conjugate gradients.
        """
        if not self.linear:
            refuse_damping(damping)
            for part in reversed(self.parts):
                y = part.pinv(y)
            return y
        first = self.parts[0]
        if len(self.parts) == 1:
            return first.pinv(y, damping)
        if first.tight is not None:
            return first.pinv(self._later.pinv(y, damping / first.tight))
        return pinv_by_conjugate_gradients(self.apply, self.image_shape, y, damping)

    def from_picture(self, picture: Image) -> Measurement:
        """The last part's measurement that the picture contains."""
        return self.parts[-1].from_picture(picture)

    def to_picture(self, y: Measurement) -> Image:
        """The last part's picture of the measurement."""
        return self.parts[-1].to_picture(y)


def chain(*operators: Operator) -> Operator:
    """Operators applied one after another, the first to the image.

    A chain of linear operators is linear, with its exact (damped) pseudoinverse. With a
    non-linear part, the pseudoinverse is that of the paper's section 5.3: the parts'
    pseudoinverses in reverse order, without a noise level.

    Args:
      *operators: one or more; the measurement shape of each is the image shape of the
        next.

    Returns:
      The chain; for one operator, or neighbours that combine into one, that operator.

    Raises:
      ValueError: if no operator is given, or the shapes of two neighbours differ.

    Reference: Song et al. 2023, section 5.3.

    Examples:
      >>> from pigdm_jax import operators
      >>> smaller = operators.super_resolution((16, 16, 3), 2)
      >>> operator = operators.chain(smaller, operators.quantize((8, 8, 3), 4))
      >>> operator.image_shape, operator.measurement_shape, operator.linear
      ((16, 16, 3), (8, 8, 3), False)
    """
    if not operators:
        raise ValueError("a chain needs at least one operator")
    parts: list[Operator] = []
    for operator in operators:
        if parts and parts[-1].measurement_shape != operator.image_shape:
            raise ValueError(
                f"{type(operator).__name__} takes images of shape "
                f"{operator.image_shape}, but the operator before it in the chain "
                f"returns {parts[-1].measurement_shape}"
            )
        parts.extend(operator.parts if isinstance(operator, Chain) else [operator])
    parts = _merge_separable(parts)
    if len(parts) == 1:
        return parts[0]
    linear = all(part.linear for part in parts)
    return Chain(tuple(parts), parts[0].image_shape, linear)


def _merge_separable(parts: list[Operator]) -> list[Operator]:
    """Combine neighbours that are separable, so that their product is, too."""
    merged = [parts[0]]
    for part in parts[1:]:
        both = None
        if isinstance(merged[-1], Separable) and isinstance(part, Separable):
            both = product(merged[-1], part)
        merged[-1:] = [merged[-1], part] if both is None else [both]
    return merged
