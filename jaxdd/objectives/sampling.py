"""Which samples of a class a match sees, and which a step of a student."""

from collections.abc import Callable
from typing import NamedTuple

import jax

from jaxdd.data.real import batch_of_pass, sample_class
from jaxdd.primitives.unroll import Prepare
from jaxdd.synthetic.sets import choose_rows, fill
from jaxdd.types import Array, Batch, Inputs, Key, Synthetic


class Sampling(NamedTuple):
    """How many samples of a class a match sees.

    Attributes:
        real: real samples per class and step.
        synthetic: images per class and step, drawn at random; None for all of them.
    """

    real: int
    synthetic: int | None = None

    def draw(self, key: Key, inputs: Inputs, class_index: Array, step: Array) -> Batch:
        """The real samples of one class for a step.

        Args:
            key: consumed, unless the inputs have an order.
            inputs: with an order, the samples are the next ones of a pass over the
                class: every step takes one batch of every class, so the step is their
                number so far.
            class_index: [] int32.
            step: [] int32.

        Returns:
            [B, ...] images with one-hot labels.
        """
        if inputs.order is None:
            return sample_class(key, inputs.real, class_index, self.real)
        return batch_of_pass(inputs.order, inputs.real, class_index, self.real, step)


def choose_images(key: Key, synthetic: Synthetic, size: int | None) -> Synthetic:
    """At most `size` random images of every class; see `choose_rows`."""
    keys = jax.random.split(key, synthetic.images.shape[0])
    rows = Batch(synthetic.images, synthetic.labels)
    chosen = jax.vmap(lambda k, b: choose_rows(k, b, size))(keys, rows)
    return synthetic._replace(images=chosen.images, labels=chosen.labels)


def class_minibatch(
    key: Key, data: Batch, classes: int | None, images: int | None
) -> Batch:
    """Random images of random classes, of each class the same number.

    Args:
        key: consumed, unless everything is taken.
        data: [K, n, ...]; padding comes last in what is drawn of a class.
        classes: distinct classes; None or at least K for all.
        images: distinct images of a class; None or at least n for all.

    Returns:
        One batch, class by class. Source: RaT-BPTT's official code.

    Example:
        >>> labels = jnp.eye(3)[:, None].repeat(2, axis=1)
        >>> data = Batch(jnp.zeros((3, 2, 4, 4, 1)), labels)
        >>> batch = class_minibatch(jax.random.key(0), data, classes=2, images=1)
        >>> batch.labels.sum(), batch.images.shape
        (Array(2., dtype=float32), (2, 4, 4, 1))
    """
    key_classes, key_rows = jax.random.split(key)
    count = data.labels.shape[0]
    if classes is not None and classes < count:
        chosen = jax.random.permutation(key_classes, count)[:classes]
        data = jax.tree.map(lambda x: x[chosen], data)
    keys = jax.random.split(key_rows, data.labels.shape[0])
    data = jax.vmap(lambda k, rows: choose_rows(k, rows, images))(keys, data)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), data)


def minibatch_of_step(
    augment: Callable[[Key, Array], Array],
    classes: int | None = None,
    images: int | None = None,
    filled: bool = False,
) -> Prepare:
    """The minibatch of every step of a student, a random one of its own.

    Args:
        augment: (key, images) -> images.
        classes, images: as in `class_minibatch`.
        filled: whether copies of images take the place of padding, which batch norm
            would see.

    Returns:
        (set [K, n, ...], (key of the training, step)) -> batch, augmented.
    """

    def prepare(data: Batch, context) -> Batch:
        key, count = context
        key_choice, key_augment = jax.random.split(jax.random.fold_in(key, count))
        batch = class_minibatch(key_choice, data, classes, images)
        chosen = fill(batch) if filled else batch.images
        return batch._replace(images=augment(key_augment, chosen))

    return prepare
