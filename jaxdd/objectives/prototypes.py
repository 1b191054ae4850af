"""The rows of a regression on features: images, their mirror images, their targets."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from jaxdd.augment import augment_both
from jaxdd.modifiers.masks import Masking
from jaxdd.primitives.losses import present
from jaxdd.primitives.trees import apply_mask
from jaxdd.synthetic.labels import centred
from jaxdd.synthetic.sets import flatten, with_mirror_images
from jaxdd.types import (
    Array,
    Batch,
    Key,
    Learner,
    Network,
    Scalar,
    Synthetic,
)

# Features of some blocks, [N, F] each, and weights of their rows, 0 for padding.
Seen: TypeAlias = tuple[tuple[Array, ...], Array]


class Prototypes(NamedTuple):
    """The rows that a regression predicts from."""

    images: Array  # [N, H, W, C]
    targets: Array  # [N, K], zero for padding
    weights: Array  # [N], 1 for an image and 0 for padding; no gradient


def prototypes(batch: Batch, flip: bool, as_targets: bool) -> Prototypes:
    """The rows of a set.

    Args:
        batch: the set, flattened.
        flip: whether the mirror images follow, with the same targets.
        as_targets: whether labels are targets already; probabilities are centred.

    Example:
        >>> prototypes(batch, flip=True, as_targets=False).images.shape
        (24, 8, 8, 1)
    """
    images, labels = with_mirror_images(batch) if flip else batch
    targets = labels if as_targets else centred(labels)
    return Prototypes(images, targets, row_weights(labels))


def features_of_blocks(
    network: Network, learner: Learner, images: Array
) -> tuple[Array, ...]:
    """[N, F] for every block of the network at a learner, in evaluation mode."""
    return network.apply(learner.params, learner.stats, images, False)[0].features


def row_weights(labels: Array) -> Array:
    """[N], 1 for an image and 0 for padding, of labels [N, K]; no gradient."""
    return jax.lax.stop_gradient(present(labels)).astype(labels.dtype)


def weighted_mean(values: Array, weights: Array) -> Scalar:
    """The mean of [N] values over rows that are no padding; 0 where all are."""
    return jnp.sum(values * weights) / jnp.maximum(jnp.sum(weights), 1)


def margin_loss(labels: Array, least: float) -> Scalar:
    """How much the largest label lacks of `least` above the second, on average.

    FRePo's and RCIG's official code has the mean of -min(largest - second, least): this
    is the same plus `least`, so that it is never negative (ours).

    Args:
        labels: [N, K]; rows of zeros are padding.
        least: the margin from which on a row costs nothing.

    Example:
        >>> float(margin_loss(jnp.array([[0.5, 0.25, 0.0], [2.0, 0.0, 0.0]]), 0.75))
        0.25
    """
    largest = jax.lax.top_k(labels, 2)[0]
    missing = jnp.maximum(least - (largest[:, 0] - largest[:, 1]), 0)
    return weighted_mean(missing, row_weights(labels))


def augmented(
    key: Key, augment: Callable[..., Any], real: Batch, synthetic: Synthetic
) -> tuple[Batch, Batch]:
    """Real samples and the flattened set, both augmented alike."""
    return augment_both(key, augment, real, flatten(synthetic))


class Selection(NamedTuple):
    """Which features enter a kernel.

    Attributes:
        first: index of the first block: 0 for those of all blocks, -1 for the last.
        mask: which of them are kept, from their errors; None for all.
    """

    first: int
    mask: Masking | None

    def kept(self, own: Seen, real: Seen) -> Any:
        """The 0/1 tree of the mask, None without one.

        The error of a feature is the squared difference between its means over the
        images of the set and over real samples (ours).

        Args:
            own: features of the set, [N, F] by block, and the weights of its rows.
            real: the same of real samples.
        """
        if self.mask is None:
            return None
        means = [
            {f"block{i}": w @ x / jnp.maximum(jnp.sum(w), 1) for i, x in enumerate(xs)}
            for xs, w in ((blocks[self.first :], w) for blocks, w in (own, real))
        ]
        errors = jax.tree.map(lambda a, b: (a - b) ** 2, *means)
        return jax.lax.stop_gradient(self.mask(errors))

    def features(self, blocks: tuple[Array, ...], kept: Any) -> Array:
        """[N, F], the features that are kept, side by side.

        Args:
            blocks: [N, F] for every block of the network.
            kept: the tree of the mask, None for all features.
        """
        blocks = blocks[self.first :]
        if kept is not None:
            named = {f"block{i}": x for i, x in enumerate(blocks)}
            columns = jax.tree.map(lambda m: m[None], kept)
            blocks = tuple(apply_mask(columns, named).values())
        return blocks[0] if len(blocks) == 1 else jnp.concatenate(blocks, axis=1)
