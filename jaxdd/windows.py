"""Which real samples are in play: class tables and class-wise sampling."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxdd.types import Array, Batch, Key, RealData


def class_table(
    labels: np.ndarray, num_classes: int, scores: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Sample indices of each class, easy to hard where scores are given.

    Args:
        labels: [M] int.
        num_classes: K.
        scores: [M], larger is harder; None keeps the dataset's order.

    Returns:
        table [K, m] int32, padded on the right with index 0, and counts [K] int32.
    """
    order = (
        np.arange(len(labels)) if scores is None else np.argsort(scores, kind="stable")
    )
    members = [order[labels[order] == k] for k in range(num_classes)]
    counts = np.array([len(m) for m in members], np.int32)
    table = np.zeros((num_classes, max(1, counts.max())), np.int32)
    for row, member in zip(table, members, strict=True):
        row[: len(member)] = member
    return table, counts


def real_data(
    images: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    scale: np.ndarray | None = None,
    shift: np.ndarray | None = None,
) -> RealData:
    """Put a split on the device with every sample in play.

    Args:
        images: [M, H, W, C] uint8 or float32.
        labels: [M] int.
        num_classes: K.
        scale, shift: [C], so that `images * scale + shift` is preprocessed; by default
            the images already are.

    Example:
        >>> images = np.zeros((6, 8, 8, 1), np.uint8)
        >>> real = real_data(images, np.array([0, 1, 2, 0, 1, 0]), 3)
        >>> real.counts.tolist()
        [3, 2, 1]
    """
    table, counts = class_table(labels, num_classes)
    channels = images.shape[-1]
    scale = np.ones(channels) if scale is None else scale
    shift = np.zeros(channels) if shift is None else shift
    return RealData(
        jnp.asarray(images),
        jnp.asarray(labels, jnp.int32),
        jnp.asarray(table),
        jnp.asarray(counts),
        jnp.asarray(scale, jnp.float32),
        jnp.asarray(shift, jnp.float32),
    )


def take(real: RealData, indices: Array) -> Batch:
    """Preprocessed images and one-hot labels of the given samples, [B, ...]."""
    images = real.images[indices].astype(real.scale.dtype) * real.scale + real.shift
    labels = jax.nn.one_hot(
        real.labels[indices], real.table.shape[0], dtype=real.scale.dtype
    )
    return Batch(images, labels)


def sample_class(key: Key, real: RealData, class_index: Array, size: int) -> Batch:
    """Draw `size` samples of one class without replacement.

    The draw is a fresh random order of the class's samples in play, taken cyclically
    when there are fewer than `size`; a class with none gives padding (zero labels).
    """
    row, count = real.table[class_index], real.counts[class_index]
    order = jax.random.uniform(key, row.shape)
    order = jnp.argsort(jnp.where(jnp.arange(row.shape[0]) < count, order, jnp.inf))
    position = jnp.arange(size) % jnp.maximum(count, 1)
    batch = take(real, row[order[position]])
    return batch._replace(labels=jnp.where(count > 0, batch.labels, 0))


def sample_classes(key: Key, real: RealData, size: int) -> Batch:
    """Draw `size` samples of every class, [K, size, ...] each."""
    classes = jnp.arange(real.table.shape[0])
    keys = jax.random.split(key, classes.shape[0])
    return jax.vmap(lambda k, c: sample_class(k, real, c, size))(keys, classes)
