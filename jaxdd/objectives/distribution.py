"""Distribution matching, class by class or with all classes in one batch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jaxdd import augment as augmentations
from jaxdd.errors import UserError, quoted
from jaxdd.fields import option
from jaxdd.modifiers.masks import Masking
from jaxdd.nets import has_batch_statistics
from jaxdd.objectives.lifts import per_class, per_set
from jaxdd.objectives.parts import Parts, SampleMatching, features_of
from jaxdd.primitives.evidence import later_gradient
from jaxdd.primitives.trees import apply_mask
from jaxdd.synthetic.sets import fill, flatten
from jaxdd.types import (
    Array,
    Batch,
    ClassMatch,
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

FEATURES = ("last", "all")


def feature_match(
    network: Network,
    augment: Callable[..., tuple[Array, ...]],
    features: str = "last",
    mask: Masking | None = None,
) -> ClassMatch:
    """Squared distance between the mean features of one class.

    Zhao, Bilen, "Dataset Condensation with Distribution Matching", WACV 2023, eq. (4):
    summed over features, with a Siamese augmentation.

    Args:
        network: the network of the features, in evaluation mode; networks with batch
            norm need `joint_feature_match`.
        augment: Siamese, (key, *batches of images) -> tuple of images.
        features: "last", the penultimate features (DM), or "all", the features of every
            block (ours), which a mask needs.
        mask: the features that are matched (PAD's FIEM; blocks count as layers, shallow
            to deep), from their squared difference; None for all of them.

    Raises:
        UserError: an unknown choice of features, or a mask on the last ones only.

    Example:
        >>> match = feature_match(network, jaxdd.siamese(()))
        >>> float(match(key, batch, batch, learner)[0])
        0.0
    """

    first = first_block(features, mask)

    def mean_features(learner: Learner, batch: Batch) -> dict[str, Array]:
        outputs, _ = network.apply(learner.params, learner.stats, batch.images, False)
        weights = jnp.sum(batch.labels, axis=-1)
        mass = jnp.sum(weights)
        return {
            f"block{i}": weights @ x / jnp.where(mass > 0, mass, 1)
            for i, x in enumerate(outputs.features[first:])
        }

    def match(
        key: Key, synthetic: Batch, real: Batch, learner: Learner
    ) -> tuple[Scalar, Evidence]:
        real_images, images = augment(key, real.images, synthetic.images)
        real = Batch(real_images, real.labels)
        synthetic = Batch(images, synthetic.labels)
        target = jax.lax.stop_gradient(mean_features(learner, real))
        value = _distance(mean_features(learner, synthetic), target, mask)
        return value, Evidence(synthetic, later_gradient(network, learner, synthetic))

    return match


def joint_feature_match(
    network: Network,
    augment: Callable[..., tuple[Array, ...]],
    features: str = "last",
    mask: Masking | None = None,
) -> SetMatch:
    """The same distances, summed over classes, for networks with batch norm.

    As in DM's official code, the real images of all classes are one batch in training
    mode, normalised by its own statistics, and the synthetic ones are another: the mean
    features of a class depend on the other classes, so that a match of one class alone
    is another loss. Every class has its own Siamese draw. Padding is replaced by copies
    of other images (ours), since it would be part of the statistics.

    Args:
        network: the network of the features, in training mode.
        augment, features, mask: as in `feature_match`.

    Returns:
        The match of all classes.

    Raises:
        UserError: as in `feature_match`.

    Example:
        >>> import jax, jaxdd, numpy as np
        >>> images = np.ones((6, 8, 8, 1), np.float32)
        >>> real = jaxdd.real_data(images, np.arange(6) % 3, 3)
        >>> network = jaxdd.make_network("convnet_bn", (8, 8, 1), 3, width=4, depth=1)
        >>> key = jax.random.key(0)
        >>> learner = jaxdd.Learner(*network.init(key))
        >>> start = jaxdd.initial_set(key, "real", real, ipc=1)
        >>> match = joint_feature_match(network, jaxdd.siamese(()))
        >>> fetch = lambda key, k: jaxdd.data.real.sample_class(key, real, k, 2)
        >>> round(float(match(key, start, fetch, learner)[0]), 6)
        0.0
    """
    first = first_block(features, mask)

    def mean_features(learner: Learner, batch: Batch) -> dict[str, Array]:
        """The mean features of every class, [K, F] by block, of images [K, n, ...]."""
        classes, count = batch.labels.shape[:2]
        images = fill(jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batch))
        outputs, _ = network.apply(learner.params, learner.stats, images, True)
        weights = jnp.sum(batch.labels, axis=-1)
        mass = jnp.sum(weights, axis=-1, keepdims=True)
        return {
            f"block{i}": jnp.einsum(
                "kn,knf->kf", weights, x.reshape(classes, count, -1)
            )
            / jnp.where(mass > 0, mass, 1)
            for i, x in enumerate(outputs.features[first:])
        }

    def match(
        key: Key,
        synthetic: Synthetic,
        real: Samples,
        learner: Learner,
    ) -> tuple[Scalar, Evidence]:
        def draw(xs):
            index, images = xs
            key_sample, key_match = jax.random.split(jax.random.fold_in(key, index))
            batch = real(key_sample, index)
            real_images, augmented = augment(key_match, batch.images, images)
            return batch._replace(images=real_images), augmented

        # One class after the other, so that of an augmentation's operations only the
        # chosen one is computed.
        xs = jnp.arange(synthetic.images.shape[0]), synthetic.images
        real_batch, augmented = jax.lax.map(draw, xs)
        batch = Batch(augmented, synthetic.labels)
        target = jax.lax.stop_gradient(mean_features(learner, real_batch))
        each = jax.vmap(lambda a, b: _distance(a, b, mask))
        value = jnp.sum(each(mean_features(learner, batch), target))
        flat = flatten(synthetic._replace(images=augmented))
        return value, Evidence(flat, later_gradient(network, learner, flat))

    return match


def first_block(features: str, mask: Masking | None) -> int:
    """Index of the first block that is matched, after a check of both arguments."""
    if features not in FEATURES:
        raise UserError(
            f"unknown features {quoted(features)}: choose one of {', '.join(FEATURES)}"
        )
    if mask is not None and features == "last":
        raise UserError(
            "a mask chooses among the features of all blocks: add --features=all"
        )
    return 0 if features == "all" else -1


def _distance(
    features: dict[str, Array], target: dict[str, Array], mask: Masking | None
) -> Scalar:
    """Squared distance of one class's mean features, where the mask keeps them."""
    squares = jax.tree.map(lambda a, b: (a - b) ** 2, features, target)
    if mask is not None:
        squares = apply_mask(mask(squares), squares)
    return jnp.sum(jnp.stack([jnp.sum(x) for x in squares.values()]))


@dataclass(frozen=True)
class FeatureMatching(SampleMatching):
    """Mean features of each class are matched (DM), see `feature_match`.

    Attributes:
        features: which are matched: those of the "last" block, or of "all" blocks.
    """

    name: ClassVar[str] = "distribution"
    subject: ClassVar[str] = "matching features"

    features: str = option(
        "last",
        "blocks of the network whose features are matched: the last one (last), "
        "or all of them (all)",
        choices=FEATURES,
    )

    def make(self, network: Network, parts: Parts) -> Objective:
        """The objective."""
        siamese = augmentations.siamese(augmentations.pipeline(self.augmentation))
        arguments = network, siamese, self.features, parts.mask
        if has_batch_statistics(network):
            # Classes share the statistics of one batch: none can be matched alone.
            joint = joint_feature_match(*arguments)
            return per_set(joint, self.samples(), parts.terms, parts.remember)
        match = feature_match(*arguments)
        return per_class(match, self.samples(), parts.terms, parts.remember)

    def matched(self, network: Network, image_shape: tuple[int, ...]) -> Any:
        """The shapes of what is compared: features of the blocks."""
        return features_of(network, image_shape)
