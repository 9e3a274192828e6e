"""Classifier-free guidance: a prior that follows its class label more closely."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Int

from pigdm_jax.core.checks import check_number
from pigdm_jax.core.pytree import pytree_class
from pigdm_jax.core.types import AnyArray, Image, ImageShape, Number
from pigdm_jax.priors.base import Prior, Timestep, check_prior
from pigdm_jax.priors.schedule import Schedule

LARGEST = 1e6  # of the scale, far above any that is useful


@pytree_class
class ClassifierFreePrior(Prior):
    """A prior under classifier-free guidance; made by `classifier_free`.

    Attributes:
      prior: the prior with labels.
      scale: the strength.
      label: class index as an array.
    """

    prior: Any
    scale: Any
    label: Any = None

    @property
    def schedule(self) -> Schedule:  # type: ignore[override]
        """The schedule of the inner prior."""
        return self.prior.schedule

    @property
    def image_shape(self) -> ImageShape | None:  # type: ignore[override]
        """(height, width, channels) of its images; None for any size."""
        return self.prior.image_shape

    @property
    def multiple(self) -> int:  # type: ignore[override]
        """Height and width must be multiples of this."""
        return self.prior.multiple

    @property
    def smallest(self) -> int:  # type: ignore[override]
        """Smallest height and width."""
        return self.prior.smallest

    @property
    def trained_size(self) -> int | None:  # type: ignore[override]
        """The trained size of the inner prior."""
        return self.prior.trained_size

    @property
    def learned(self) -> bool:  # type: ignore[override]
        """Whether the inner prior is a trained network."""
        return self.prior.learned

    @property
    def sees(self) -> str | None:  # type: ignore[override]
        """The image that the inner prior takes besides x_t."""
        return self.prior.sees

    @property
    def seen(self) -> Image | None:  # type: ignore[override]
        """That image, if it is set."""
        return self.prior.seen

    @property
    def null_label(self) -> int | None:  # type: ignore[override]
        """The label that means no class."""
        return self.prior.null_label

    def memory(self, image_shape: ImageShape) -> int:
        """Least number of bytes that one evaluation, with both labels, takes."""
        return 2 * self.prior.memory(image_shape)

    def rematerialised(self) -> "ClassifierFreePrior":
        """This prior, but recomputing activations in the backward pass if it can."""
        return dataclasses.replace(self, prior=self.prior.rematerialised())

    def condition(
        self, *, label: Int[AnyArray, ""] | int | None = None, image: Any = None
    ) -> "ClassifierFreePrior":
        """This prior with another class label, or an image besides x_t.

        Raises:
          ValueError: if the inner prior takes no such condition.
        """
        inside = self.prior.condition(label=label, image=image)
        label = self.label if label is None else jnp.asarray(label, jnp.int32)
        return dataclasses.replace(self, prior=inside, label=label)

    def __call__(self, x_t: Image, t: Timestep) -> Image:
        """The noise eps in x_t; one evaluation of a batch of two."""

        def evaluate(label: Int[AnyArray, ""]) -> Image:
            return self.prior.condition(label=label)(x_t, t)

        labels = jnp.stack([jnp.int32(self.null_label), jnp.asarray(self.label)])
        without, with_label = jax.vmap(evaluate)(labels)
        return without + self.scale * (with_label - without)


def classifier_free(prior: Prior, scale: Number) -> ClassifierFreePrior:
    """A prior whose predictions depend more strongly on its class label.

    Its noise is eps = eps_null + scale (eps_label - eps_null), where eps_null is the
    prediction with the null label. Each evaluation is one of the prior with a batch of
    two: it takes about twice the time and memory, and counts once among a sampler's
    `evaluations`.

    Args:
      prior: a prior with a null label: a network that was trained both with and without
        labels. Its label is set there or by `condition`.
      scale: at least 0, a leaf of the pytree: 1 is the prior itself, 0 the prior
        without a label, and more follows the label more closely.

    Raises:
      TypeError: if `prior` is no prior.
      ValueError: if it has no null label, or `scale` is negative or not finite.

    Reference: Ho and Salimans 2022, "Classifier-free diffusion guidance".

    Examples:
      >>> import jax, jax.numpy as jnp, pigdm_jax as pj
      >>> config = pj.PixelTransformerConfig(
      ...     image_size=8,
      ...     patch_size=4,
      ...     hidden_size=8,
      ...     depth=1,
      ...     num_heads=2,
      ...     mlp_size=20,
      ...     bottleneck_dim=4,
      ...     num_classes=10,
      ... )
      >>> network = pj.PixelTransformer(config)
      >>> x_t = jnp.zeros((8, 8, 3))
      >>> params = network.init(jax.random.key(0), x_t[None], jnp.ones(1))["params"]
      >>> prior = pj.network_prior(
      ...     network, params, "linear", label=7, predicts="x0", flow=True
      ... )
      >>> pj.classifier_free(prior, 3.0)(x_t, 500).shape
      (8, 8, 3)
    """
    check_prior(prior)
    if prior.null_label is None:
        raise ValueError(
            "classifier-free guidance needs a prior with a null label, that is one "
            "trained both with and without class labels; this one has none"
        )
    check_number("scale", scale, 0, LARGEST)
    label = prior.null_label if prior.label is None else prior.label
    return ClassifierFreePrior(prior, scale, jnp.asarray(label, jnp.int32))
