"""Synthetic sets as one batch, and their union with earlier segments."""

import jax
import jax.numpy as jnp

from jaxdd.primitives.losses import present
from jaxdd.types import Array, Batch, Key, Synthetic


def flatten(synthetic: Synthetic) -> Batch:
    """A distilled set as one batch of N = K * n images, class by class.

    Example:
        >>> start = jaxdd.initial_set(key, "real", real, ipc=1)
        >>> flatten(start).images.shape
        (3, 8, 8, 1)
    """
    images, labels = synthetic.images, synthetic.labels
    return Batch(
        images.reshape(-1, *images.shape[2:]), labels.reshape(-1, labels.shape[-1])
    )


def with_mirror_images(batch: Batch) -> Batch:
    """A batch [N, H, W, C], followed by the mirror images of all, with their labels."""
    images, labels = batch.images, batch.labels
    return Batch(
        jnp.concatenate([images, images[:, :, ::-1]]),
        jnp.concatenate([labels, labels]),
    )


def union(earlier: Synthetic | None, new: Synthetic) -> Synthetic:
    """Earlier images, without a gradient, followed by the new images of each class."""
    if earlier is None:
        return new
    images, labels = jax.lax.stop_gradient((earlier.images, earlier.labels))
    return new._replace(
        images=jnp.concatenate([images, new.images], axis=1),
        labels=jnp.concatenate([labels, new.labels], axis=1),
    )


def choose_rows(key: Key, batch: Batch, size: int | None) -> Batch:
    """At most `size` random rows of a batch, images before padding.

    Args:
        key: consumed, unless all rows are taken.
        batch: [B, ...].
        size: the number of rows; None for all of them.
    """
    if size is None or batch.labels.shape[0] <= size:
        return batch
    order = jax.random.uniform(key, batch.labels.shape[:1])
    is_image = jax.lax.stop_gradient(present(batch.labels))
    chosen = jnp.argsort(jnp.where(is_image, order, jnp.inf))[:size]
    return Batch(batch.images[chosen], batch.labels[chosen])


def fill(batch: Batch) -> Array:
    """The images of a batch, with copies of them in place of padding.

    Batch norm in training sees every row, so the batch must not have padding (ours). A
    batch of padding only is returned unchanged.

    Example:
        >>> images = jnp.arange(4.0).reshape(4, 1, 1, 1)
        >>> labels = jnp.array([[0.0], [1], [1], [0]])
        >>> fill(Batch(images, labels)).ravel().tolist()
        [1.0, 1.0, 2.0, 2.0]
    """
    is_image = jax.lax.stop_gradient(present(batch.labels))
    count = jnp.maximum(jnp.sum(is_image), 1)
    order = jnp.argsort(~is_image)  # images first: padding takes them in turn
    copied = order[(jnp.cumsum(~is_image) - 1) % count]
    return batch.images[jnp.where(is_image, jnp.arange(is_image.shape[0]), copied)]
