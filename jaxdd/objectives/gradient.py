"""Gradient matching."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import jax

from jaxdd import augment as augmentations
from jaxdd.augment import augment_both
from jaxdd.fields import option
from jaxdd.modifiers.masks import TENSORS, Masking, kernels_only
from jaxdd.objectives.bases import SampleMatching
from jaxdd.objectives.lifts import per_class
from jaxdd.objectives.parts import Parts
from jaxdd.objectives.shapes import parameters_of
from jaxdd.primitives.distances import DISTANCES, Distance
from jaxdd.primitives.evidence import known_gradient
from jaxdd.primitives.gradients import batch_gradient, inner_gradient
from jaxdd.primitives.losses import mean_loss
from jaxdd.types import (
    Array,
    Batch,
    ClassMatch,
    Evidence,
    Key,
    Learner,
    Network,
    Objective,
    Params,
    Scalar,
)


def gradient_match(
    network: Network,
    distance: Distance,
    augment: Callable[..., tuple[Array, ...]],
    microbatch: int | None = None,
    mask: Masking | None = None,
) -> ClassMatch:
    """Distance between the gradients of real and synthetic samples of one class.

    Zhao, Mopuri, Bilen, ICLR 2021, eq. (9); with an augmentation DSA, Zhao, Bilen, ICML
    2021, eq. (7): one draw is shared by the real and the synthetic batch.

    Args:
        network: whose loss is differentiated, in evaluation mode.
        distance: (real gradient, synthetic gradient, mask or None) -> [].
        augment: Siamese, (key, *batches of images) -> tuple of images.
        microbatch: samples per chunk of both gradients.
        mask: the entries of the gradient that are matched (PAD's FIEM), a function of
            the squared difference of the two gradients; None for all of them.

    Example:
        >>> distance = jaxdd.DISTANCES["mse"]
        >>> match = gradient_match(network, distance, jaxdd.siamese(()))
        >>> float(match(key, batch, batch, learner)[0])
        0.0
    """
    loss = mean_loss(network)
    real_gradient = batch_gradient(loss, microbatch)
    synthetic_gradient = inner_gradient(loss, microbatch)

    def match(
        key: Key, synthetic: Batch, real: Batch, learner: Learner
    ) -> tuple[Scalar, Evidence]:
        real, synthetic = augment_both(key, augment, real, synthetic)
        target = jax.lax.stop_gradient(
            real_gradient(learner.params, real, learner.stats)
        )
        gradient = synthetic_gradient(learner.params, synthetic, learner.stats)
        value = masked_distance(distance, mask, target, gradient)
        return value, Evidence(synthetic, known_gradient(gradient))

    return match


def masked_distance(
    distance: Distance, mask: Masking | None, real: Params, synthetic: Params
) -> Scalar:
    """The distance of two gradients over the entries of a mask, or over all of them."""
    if mask is None:
        return distance(real, synthetic)
    squares = jax.tree.map(lambda a, b: (a - b) ** 2, real, synthetic)
    return distance(real, synthetic, mask(squares))


@dataclass(frozen=True)
class GradientMatching(SampleMatching):
    """Gradients of each class are matched (DC, DSA, IDC), see `gradient_match`.

    Attributes:
        distance: between gradients, a name in `primitives.DISTANCES`.
        tensors: which gradients are matched: "all", or the "kernels" of convolutions.
    """

    name: ClassVar[str] = "gradient"
    subject: ClassVar[str] = "matching gradients"

    distance: str = option(
        "ours",
        f"distance by which gradients are compared: {', '.join(DISTANCES)}",
        choices=DISTANCES,
    )
    tensors: str = option(
        "all",
        "parameters whose gradients are matched: all of them (all), or the "
        "kernels of convolutions (kernels)",
        choices=TENSORS,
    )

    def masking(self, mask: Masking | None) -> Masking | None:
        """What a mask keeps, of the tensors that are matched."""
        return kernels_only(mask) if self.tensors == "kernels" else mask

    def check_run(
        self, network: Network, image_shape: tuple[int, ...], classes: int, images: int
    ) -> None:
        """Refuse a network without the tensors that are matched, see `ChecksRun`."""
        del image_shape, classes, images
        masking = self.masking(None)
        if masking is not None:
            jax.eval_shape(masking, parameters_of(network))

    def make(self, network: Network, parts: Parts) -> Objective:
        """The objective."""
        match = gradient_match(
            network,
            DISTANCES[self.distance],
            augmentations.siamese(augmentations.pipeline(self.augmentation)),
            parts.microbatch,
            self.masking(parts.mask),
        )
        return per_class(match, self.samples(), parts.terms, parts.remember)
