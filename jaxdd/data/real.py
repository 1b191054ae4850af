"""Real samples on the device: class tables and class-wise sampling."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdd.data.checks import (
    as_array,
    as_labels,
    check_finite,
    check_labels,
    check_rank,
)
from jaxdd.data.streaming.host import HostImages
from jaxdd.data.streaming.rows import Rows
from jaxdd.errors import UserError
from jaxdd.primitives.trees import aligned
from jaxdd.types import Array, Batch, Key, RealData


def class_table(
    labels: np.ndarray, num_classes: int, scores: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Sample indices of each class, sorted from easy to hard if there are scores.

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
    table = np.zeros((num_classes, max(1, int(counts.max()))), np.int32)
    for row, member in zip(table, members, strict=True):
        row[: len(member)] = member
    return table, counts


def real_data(
    images: Any,
    labels: Any,
    num_classes: int,
    scale: Any = None,
    shift: Any = None,
    scores: Any = None,
) -> RealData:
    """Put a split on the device with every sample in play.

    Args:
        images: [M, H, W, C], [M, L, C] or [M, F], uint8 or preprocessed floats of any
            range; or `Rows` of a file, which stay there.
        labels: [M] int, numbered from 0.
        num_classes: K, at least 2; a class may be without samples.
        scale, shift: [C], so that `images * scale + shift` is preprocessed; None for
            images that are preprocessed already.
        scores: [M], larger is harder: sorts each class from easy to hard.

    Raises:
        UserError: there is no sample; a rank is wrong; the numbers of images, labels
            and scores, or of channels and scales, differ; a label is outside [0, K); or
            a value is not a finite real number. Traced values are not checked.

    Example:
        >>> images = np.zeros((6, 8, 8, 1), np.uint8)
        >>> real = real_data(images, np.array([0, 1, 2, 0, 1, 0]), 3)
        >>> real.counts.tolist()
        [3, 2, 1]
    """
    if not isinstance(images, Rows):
        images = _finite("images of the real data", images)
    check_rank("real data", images.shape)
    labels = as_labels("labels of the real data", labels)
    check_labels("real data", labels, len(images), num_classes)
    if scores is not None:
        scores = _finite("scores", scores)
        if scores.shape != labels.shape:
            raise UserError(
                f"the scores have shape {scores.shape} beside {len(labels)} images: "
                "give one score per image"
            )
    table, counts = class_table(labels, num_classes, scores)
    channels = images.shape[-1]
    scale = _finite("scale", np.ones(channels) if scale is None else scale)
    shift = _finite("shift", np.zeros(channels) if shift is None else shift)
    for name, values in (("scale", scale), ("shift", shift)):
        if values.shape != (channels,):
            raise UserError(
                f"the {name} has shape {values.shape} beside images of {channels} "
                "channels: give one number per channel"
            )
    return RealData(
        HostImages(images) if isinstance(images, Rows) else jnp.asarray(images),
        jnp.asarray(labels, jnp.int32),
        jnp.asarray(table),
        jnp.asarray(counts),
        jnp.asarray(scale, jnp.float32),
        jnp.asarray(shift, jnp.float32),
    )


def _finite(where: str, values: Any) -> Any:
    """An array of finite real numbers; an array on a device stays there.

    Raises:
        UserError: a value is not a finite real number.
    """
    if isinstance(values, jax.core.Tracer):
        return values
    array = values if isinstance(values, jax.Array) else as_array(where, values)
    check_finite(where, array)
    return array


def take(real: RealData, indices: Array) -> Batch:
    """Preprocessed images and one-hot labels of the samples at `indices` [B]."""
    images = real.images[indices].astype(real.scale.dtype)
    images = images * aligned(real.scale, images) + aligned(real.shift, images)
    labels = jax.nn.one_hot(
        real.labels[indices], real.table.shape[0], dtype=real.scale.dtype
    )
    return Batch(images, labels)


def sample_class(key: Key, real: RealData, class_index: Array, size: int) -> Batch:
    """Draw `size` samples of one class without replacement.

    The draw is a random order of the class's samples in play, repeated cyclically if
    there are fewer than `size`; an empty class gives padding (zero labels).
    """
    row, count = real.table[class_index], real.counts[class_index]
    position = jnp.arange(size) % jnp.maximum(count, 1)
    batch = take(real, _shuffled(key, row, count)[position])
    return batch._replace(labels=jnp.where(count > 0, batch.labels, 0))


def sample_any(key: Key, real: RealData, size: int) -> Batch:
    """Draw `size` of all samples in play without replacement, whatever their class.

    A class is drawn as often as it has samples in play. As in `sample_class`, fewer
    samples than `size` are repeated cyclically, and none at all give padding.

    Returns:
        [size, ...] images, preprocessed, with one-hot labels.

    Example:
        >>> batch = sample_any(key, real, size=4)
        >>> batch.images.shape, float(batch.labels.sum())
        ((4, 8, 8, 1), 4.0)
    """
    columns = jnp.arange(real.table.shape[1])[None]
    in_play = (columns < real.counts[:, None]).ravel()
    count = jnp.sum(real.counts)
    order = jnp.where(in_play, jax.random.uniform(key, in_play.shape), jnp.inf)
    # Only the first of the order are needed, and a class may be far from full.
    first = min(size, order.shape[0])
    chosen = jax.lax.top_k(-order, first)[1]
    position = jnp.arange(size) % jnp.clip(count, 1, first)
    batch = take(real, real.table.ravel()[chosen[position]])
    return batch._replace(labels=jnp.where(count > 0, batch.labels, 0))


def batch_of_pass(
    order: Array, real: RealData, class_index: Array, size: int, index: Array
) -> Batch:
    """The `index`-th batch of one class, in passes without replacement.

    Every pass runs through the samples in play in a new random order, without a rest
    that does not fill a batch. A class with fewer samples is one batch, filled up with
    padding. Source: IDC's official code (its loader of one class).

    Args:
        order: [] uint32, seed of all orders of a run.
        real: the samples, with at least one of this class in play.
        class_index: [] the class.
        size: number of samples in a batch.
        index: [] int32, number of batches of this class so far.

    Returns:
        [size, ...] images, preprocessed, with one-hot labels.

    Example:
        >>> images = np.arange(12, dtype=np.float32).reshape(12, 1, 1, 1)
        >>> real = real_data(images, np.arange(12) // 6, 2)
        >>> seed, of_class = jnp.uint32(0), jnp.int32(0)
        >>> batches = [batch_of_pass(seed, real, of_class, 3, jnp.int32(i)).images
        ...            for i in range(2)]
        >>> sorted(jnp.stack(batches).ravel().tolist())
        [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    """
    row, count = real.table[class_index], real.counts[class_index]
    filled = jnp.minimum(count, size)
    per_pass = jnp.maximum(count // jnp.maximum(filled, 1), 1)
    key = jax.random.fold_in(jax.random.key(order), class_index)
    shuffled = _shuffled(jax.random.fold_in(key, index // per_pass), row, count)
    position = index % per_pass * filled + jnp.arange(size)
    batch = take(real, shuffled[position % jnp.maximum(count, 1)])
    is_sample = jnp.arange(size)[:, None] < filled
    return batch._replace(labels=jnp.where(is_sample, batch.labels, 0))


def _shuffled(key: Key, row: Array, count: Array) -> Array:
    """The first `count` entries of a row in random order, followed by the others."""
    order = jax.random.uniform(key, row.shape)
    order = jnp.where(jnp.arange(row.shape[0]) < count, order, jnp.inf)
    return row[jnp.argsort(order)]


def sample_classes(key: Key, real: RealData, size: int) -> Batch:
    """Draw `size` samples of every class, [K, size, ...] each."""
    classes = jnp.arange(real.table.shape[0])
    keys = jax.random.split(key, classes.shape[0])
    return jax.vmap(lambda k, c: sample_class(k, real, c, size))(keys, classes)
