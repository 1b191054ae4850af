"""What a match is shown of the samples."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdd.data.real import batch_of_pass, sample_class
from jaxdd.synthetic.sets import present
from jaxdd.types import Array, Batch, Inputs, Key


class Sampling(NamedTuple):
    """How many samples of a class a match is shown."""

    real: int
    synthetic: int | None = None  # a random choice of them; None for all

    def draw(self, key: Key, inputs: Inputs, class_index: Array, step: Array) -> Batch:
        """Real samples of one class for a step.

        Drawn by the key, or with `inputs.order` the next ones of a pass over the class:
        a step takes one batch of every class, so the step says how far it is.
        """
        if inputs.order is None:
            return sample_class(key, inputs.real, class_index, self.real)
        return batch_of_pass(inputs.order, inputs.real, class_index, self.real, step)


def choose_rows(key: Key, batch: Batch, size: int | None) -> Batch:
    """At most `size` random rows of a batch, images before padding."""
    if size is None or batch.labels.shape[0] <= size:
        return batch
    order = jax.random.uniform(key, batch.labels.shape[:1])
    shown = jax.lax.stop_gradient(present(batch.labels))
    chosen = jnp.argsort(jnp.where(shown, order, jnp.inf))[:size]
    return Batch(batch.images[chosen], batch.labels[chosen])
