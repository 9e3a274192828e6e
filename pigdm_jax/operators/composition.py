"""Chains of operators."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from pigdm_jax.core.pytree import pytree_class, static_field
from pigdm_jax.core.types import PRNGKey
from pigdm_jax.operators.base import (
    Damping,
    Image,
    ImageShape,
    Measurement,
    Operator,
    Relaxation,
    Spectrum,
    Wider,
    check_operator,
    refuse_damping,
)
from pigdm_jax.operators.kronecker import Separable, product
from pigdm_jax.operators.noising import Noise
from pigdm_jax.operators.relaxation import with_noise_before, with_quantised_image
from pigdm_jax.operators.solve import pinv_by_conjugate_gradients

# Where noise that comes before a linear part does not reach a value.
NEARLY_EXACT = 1e-4


@pytree_class
class AsPicture(Operator):
    """An operator's measurement as a picture, for what comes next in a chain."""

    measured: Operator
    image_shape: ImageShape = static_field()

    linear = False

    def apply(self, x: Image) -> Image:
        """The picture of the measurement."""
        return self.measured.to_picture(self.measured.apply(x))

    def pinv(self, y: Image, damping: Damping = 0.0) -> Image:
        """The pseudoinverse of the measurement that the picture contains."""
        refuse_damping(damping)
        return self.measured.pinv(self.measured.from_picture(y))

    def nearest(self, x: Image, y: Image) -> Image:
        """As of the measurement that the picture contains."""
        return self.measured.nearest(x, self.measured.from_picture(y))

    def relaxed(self, y: Image) -> Relaxation | None:
        """As of the measurement that the picture contains."""
        return self.measured.relaxed(self.measured.from_picture(y))


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
    def wider(self) -> Wider | None:
        """That of the first part, before the others."""
        wider = self.parts[0].wider
        if wider is None:
            return None
        return wider._replace(operator=chain(wider.operator, *self.parts[1:]))

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

    def draw(self, x: Image, key: PRNGKey) -> Measurement:
        """What the parts draw, one after another."""
        for i, part in enumerate(self.parts):
            x = part.draw(x, jax.random.fold_in(key, i))
        return x

    @property
    def draws(self) -> bool:
        """Whether one of the parts is noise."""
        return any(part.draws for part in self.parts)

    def nearest(self, x: Image, y: Measurement) -> Image:
        """Each part's image nearest to what it sees, from the last part to the first.

        If the chain is linear, the projection of x.
        """
        if self.linear:
            return super().nearest(x, y)
        seen = [x]
        for part in self.parts[:-1]:
            seen.append(part.apply(seen[-1]))
        for part, image in zip(reversed(self.parts), reversed(seen), strict=True):
            y = part.nearest(image, y)
        return y

    def relaxed(self, y: Measurement) -> Relaxation | None:
        """The last part's relaxation, after the parts before it.

        The error of parts that quantise earlier, at a measurement that agrees with y,
        counts as noise in the image of the part behind them. None if no part quantises
        or is noise, or one is not linear and does neither.
        """
        last = self.parts[-1]
        if last.linear:
            if not self.draws:
                return None
            exact = jax.tree.map(lambda leaf: jnp.full_like(leaf, NEARLY_EXACT), y)
            relaxation: Relaxation | None = Relaxation(last, y, exact)
        else:
            relaxation = last.relaxed(y)
        image = last.pinv(y)
        for part in reversed(self.parts[:-1]):
            if relaxation is None:
                return None
            before = part.pinv(image)
            if isinstance(part, Noise):
                relaxation = with_noise_before(relaxation, part.std)
            elif part.linear:
                behind = chain(part, relaxation.operator)
                relaxation = relaxation._replace(operator=behind)
            else:
                earlier = part.relaxed(part.apply(before))
                if earlier is None:
                    return None
                relaxation = with_quantised_image(relaxation, earlier)
            image = before
        return relaxation

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
        next. The coefficients of a JPEG file that is not the last are decoded.

    Returns:
      The chain; for one operator, or neighbours that combine into one, that operator.

    Raises:
      TypeError: if a part is no operator.
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
        check_operator("each part of a chain", operator)
        if parts and parts[-1].measurement_shape != operator.image_shape:
            parts[-1] = _shown(parts[-1], operator)
        parts.extend(operator.parts if isinstance(operator, Chain) else [operator])
    parts = _merge_separable(parts)
    if len(parts) == 1:
        return parts[0]
    linear = all(part.linear for part in parts)
    return Chain(tuple(parts), parts[0].image_shape, linear)


def is_image_shape(shape: Any) -> bool:
    """Whether a measurement's shape is that of an image."""
    return (
        isinstance(shape, tuple)
        and len(shape) == 3
        and all(isinstance(n, int) for n in shape)
    )


def shown_shape(operator: Operator) -> Any:
    """The shape of what an operator gives to the next one in a chain."""
    shape = operator.measurement_shape
    if operator.linear or is_image_shape(shape):
        return shape
    return AsPicture(operator, operator.image_shape).measurement_shape


def _shown(operator: Operator, behind: Operator) -> Operator:
    """An operator whose measurement is no image, as one to images.

    Raises:
      ValueError: if its picture is not one that the operator behind it takes.
    """
    shape = shown_shape(operator)
    if shape != behind.image_shape:
        raise ValueError(
            f"{type(behind).__name__} takes images of shape {behind.image_shape}, but "
            f"the operator before it in the chain returns {shape}"
        )
    return AsPicture(operator, operator.image_shape)


def _merge_separable(parts: list[Operator]) -> list[Operator]:
    """Combine neighbours that are separable, so that their product is, too."""
    merged = [parts[0]]
    for part in parts[1:]:
        both = None
        if isinstance(merged[-1], Separable) and isinstance(part, Separable):
            both = product(merged[-1], part)
        merged[-1:] = [merged[-1], part] if both is None else [both]
    return merged
