"""Gradient matching between all classes at once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from jaxdd import augment as augmentations
from jaxdd.fields import option
from jaxdd.modifiers.masks import Masking
from jaxdd.objectives.compose import switch
from jaxdd.objectives.gradient import GradientMatching, masked_distance
from jaxdd.objectives.parts import Parts
from jaxdd.objectives.set_lifts import per_set
from jaxdd.primitives.distances import DISTANCES, Distance
from jaxdd.primitives.evidence import known_gradient
from jaxdd.primitives.gradients import batch_gradient, inner_gradient
from jaxdd.primitives.losses import mean_loss
from jaxdd.types import (
    Array,
    Batch,
    Evidence,
    Key,
    Learner,
    Network,
    Objective,
    Samples,
    Scalar,
    SetMatch,
    Synthetic,
)


def contrastive_match(
    network: Network,
    distance: Distance,
    augment: Callable[..., tuple[Array, ...]],
    microbatch: int | None = None,
    mask: Masking | None = None,
) -> SetMatch:
    """One distance between class-averaged gradients.

    Lee et al., "Dataset Condensation with Contrastive Signals" (DCC), ICML 2022, eq.
    (6): the sum over classes is taken inside the distance, so that the set is matched
    where classes differ. The real gradient is the mean of the classes' gradients, the
    synthetic one that of the mean loss of the whole set; every class has its own
    Siamese draw, shared by its real and its synthetic images.

    Args:
        network: whose loss is differentiated, in evaluation mode.
        distance: (real gradient, synthetic gradient, mask or None) -> [].
        augment: Siamese, (key, *batches of images) -> tuple of images.
        microbatch: samples per chunk of both gradients.
        mask: the entries of the gradient that are matched; None for all.

    Returns:
        The match of all classes.

    Example:
        >>> import jaxdd, numpy as np
        >>> images = np.ones((6, 8, 8, 1), np.float32)
        >>> real = jaxdd.real_data(images, np.arange(6) % 3, 3)
        >>> network = jaxdd.make_network("mlp", (8, 8, 1), 3, width=4)
        >>> key = jax.random.key(0)
        >>> learner = jaxdd.Learner(*network.init(key))
        >>> start = jaxdd.initial_set(key, "real", real, ipc=1)
        >>> match = contrastive_match(
        ...     network, jaxdd.DISTANCES["mse"], jaxdd.siamese(()))
        >>> fetch = lambda key, k: jaxdd.data.real.sample_class(key, real, k, 2)
        >>> round(float(match(key, start, fetch, learner)[0]), 6)
        0.0
    """
    loss = mean_loss(network)
    real_gradient = batch_gradient(loss, microbatch)
    synthetic_gradient = inner_gradient(loss, microbatch)

    def match(
        key: Key, synthetic: Synthetic, real: Samples, learner: Learner
    ) -> tuple[Scalar, Evidence]:
        classes = synthetic.images.shape[0]

        def add(total, xs):
            index, images = xs
            key_sample, key_match = jax.random.split(jax.random.fold_in(key, index))
            batch = real(key_sample, index)
            real_images, augmented = augment(key_match, batch.images, images)
            part = real_gradient(
                learner.params, Batch(real_images, batch.labels), learner.stats
            )
            return jax.tree.map(lambda t, g: t + g / classes, total, part), augmented

        # One class after the other, so that memory holds the sum and not K gradients.
        zeros = jax.tree.map(jnp.zeros_like, learner.params)
        xs = jnp.arange(classes), synthetic.images
        target, augmented = jax.lax.scan(add, zeros, xs)
        target = jax.lax.stop_gradient(target)
        batch = Batch(
            augmented.reshape(-1, *augmented.shape[2:]),
            synthetic.labels.reshape(-1, synthetic.labels.shape[-1]),
        )
        gradient = synthetic_gradient(learner.params, batch, learner.stats)
        value = masked_distance(distance, mask, target, gradient)
        return value, Evidence(batch, known_gradient(gradient))

    return match


@dataclass(frozen=True)
class ContrastiveMatching(GradientMatching):
    """Gradients of all classes are matched at once (DCC, DSAC).

    As long as neither warm-up is over, classes are matched one by one.

    Attributes:
        warmup_networks: the first networks that match class by class.
        warmup_matches: of each network, the first matches that do.
    """

    name: ClassVar[str] = "contrastive"
    subject: ClassVar[str] = "matching all classes at once"

    warmup_networks: int = option(
        0,
        "number of networks, from the first on, whose matches are class by class "
        "before all classes are matched at once (DCC)",
        at_least=0,
    )
    warmup_matches: int = option(
        0,
        "number of matches of a network that are class by class before all "
        "classes are matched at once (DCC)",
        at_least=0,
    )

    def make(self, network: Network, parts: Parts) -> Objective:
        """The objective."""
        match = contrastive_match(
            network,
            DISTANCES[self.distance],
            augmentations.siamese(augmentations.pipeline(self.augmentation)),
            parts.microbatch,
            self.masking(parts.mask),
        )
        together = per_set(match, self.samples(), parts.terms, parts.remember)

        def warm(step):
            network_index, match_index = step // parts.matches, step % parts.matches
            return (network_index >= self.warmup_networks) | (
                match_index >= self.warmup_matches
            )

        return switch(warm, super().make(network, parts), together)
