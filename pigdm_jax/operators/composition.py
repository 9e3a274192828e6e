"""Operators one after another."""

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
    """Several operators in a row; made by `chain`."""

    parts: tuple[Operator, ...]
    image_shape: ImageShape = static_field()
    linear: bool = static_field()

    def apply(self, x: Image) -> Measurement:
        """The first part of the image, the second of that, and so on."""
        for part in self.parts:
            x = part.apply(x)
        return x

    @property
    def tight(self) -> float | None:
        """The product of the parts' constants, if each has one."""
        constants = [part.tight for part in self.parts]
        return None if None in constants else math.prod(constants)

    @property
    def spectrum(self) -> Spectrum | None:
        """That of the later parts, where the first is tight."""
        first, rest = self.parts[0], self.parts[1:]
        if not self.linear or first.tight is None or not rest:
            return first.spectrum if self.linear and not rest else None
        later = Chain(rest, rest[0].image_shape, True).spectrum
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
        """The later parts', times the first's constant, where that one is tight."""
        first, rest = self.parts[0], self.parts[1:]
        if not self.linear or not rest:
            return first.gram if self.linear else None
        if first.tight is None:
            return None
        gram = Chain(rest, rest[0].image_shape, True).gram
        return None if gram is None else jax.tree.map(lambda g: first.tight * g, gram)

    @property
    def differentiable(self) -> bool:
        """Whether all parts are."""
        return all(part.differentiable for part in self.parts)

    def pinv(self, y: Measurement, damping: Damping = 0.0) -> Image:
        """The exact (damped) pseudoinverse if linear, else the parts' in reverse.

        (B A)+ is A+ B+ where A A^T = c I, and then a damping of B A is that of B
        divided by c; other linear chains are solved by conjugate gradients.
        """
        if not self.linear:
            refuse_damping(damping)
            for part in reversed(self.parts):
                y = part.pinv(y)
            return y
        first, rest = self.parts[0], self.parts[1:]
        if not rest:
            return first.pinv(y, damping)
        if first.tight is not None:
            rest = Chain(rest, rest[0].image_shape, True)
            return first.pinv(rest.pinv(y, damping / first.tight))
        return pinv_by_conjugate_gradients(self.apply, self.image_shape, y, damping)

    def from_picture(self, picture: Image) -> Measurement:
        """What the last part makes of a picture."""
        return self.parts[-1].from_picture(picture)

    def to_picture(self, y: Measurement) -> Image:
        """How the last part shows its measurement."""
        return self.parts[-1].to_picture(y)


def chain(*operators: Operator) -> Operator:
    """Measure with the first operator, measure that with the second, and so on.

    A chain of linear operators is linear, with its exact damped pseudoinverse. A
    chain with a non-linear part has the paper's (section 5.3): the parts'
    pseudoinverses in reverse order, and takes no noise level.

    Args:
      *operators: one or more; each one's images are the measurements of the one
        before.

    Raises:
      ValueError: if there is none, or two neighbours do not fit.
    """
    if not operators:
        raise ValueError("a chain needs at least one operator")
    parts: list[Operator] = []
    for operator in operators:
        if parts and parts[-1].measurement_shape != operator.image_shape:
            raise ValueError(
                f"{type(operator).__name__} takes images of shape "
                f"{operator.image_shape}, but what comes before it in the chain gives "
                f"{parts[-1].measurement_shape}"
            )
        parts.extend(operator.parts if isinstance(operator, Chain) else [operator])
    parts = _merge_separable(parts)
    if len(parts) == 1:
        return parts[0]
    linear = all(part.linear for part in parts)
    return Chain(tuple(parts), parts[0].image_shape, linear)


def _merge_separable(parts: list[Operator]) -> list[Operator]:
    """Neighbours that are separable become one, whose pseudoinverse is closed-form."""
    merged = [parts[0]]
    for part in parts[1:]:
        both = None
        if isinstance(merged[-1], Separable) and isinstance(part, Separable):
            both = product(merged[-1], part)
        merged[-1:] = [merged[-1], part] if both is None else [both]
    return merged
