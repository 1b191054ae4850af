"""Which samples of a class a match sees."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdd.data.real import batch_of_pass, sample_class
from jaxdd.synthetic.sets import present
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


def choose_images(key: Key, synthetic: Synthetic, size: int | None) -> Synthetic:
    """At most `size` random images of every class; see `choose_rows`."""
    keys = jax.random.split(key, synthetic.images.shape[0])
    rows = Batch(synthetic.images, synthetic.labels)
    chosen = jax.vmap(lambda k, b: choose_rows(k, b, size))(keys, rows)
    return synthetic._replace(images=chosen.images, labels=chosen.labels)
