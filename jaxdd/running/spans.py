"""Spans of experts on their way to the device, for methods that match trajectories."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdd.devices import mesh as devices
from jaxdd.running.loop import longest_chunk
from jaxdd.types import Key, Span, SpanIndex

# Spans that wait on the device for the steps of one chunk.
SPAN_BYTES = 64 * 2**20


class Spans(NamedTuple):
    """Where the spans of experts come from, for a method that matches trajectories.

    Attributes:
        span_index: the learner source's: which span a step gets.
        read: (indices [2]) -> the span of this expert and start epoch, on the host.
    """

    span_index: SpanIndex
    read: Callable[[np.ndarray], Span]


def held(size: int) -> int:
    """How many spans of so many bytes wait on the device, at least one."""
    return int(np.clip(SPAN_BYTES // size, 1, longest_chunk()))


class SpanBuffer:
    """The spans of one chunk's steps, read from disk into one buffer."""

    def __init__(self, spans: Spans, root: Key):
        self.source, self.root = spans.read, root
        self.indices = jax.jit(jax.vmap(spans.span_index, in_axes=(None, 0)))
        example = self._one(0)
        self.length = held(sum(x.nbytes for x in jax.tree.leaves(example)))
        self.buffer = jax.tree.map(
            lambda x: np.zeros((self.length, *x.shape), x.dtype), example
        )

    def _one(self, step: int) -> Span:
        indices = np.asarray(self.indices(self.root, jnp.arange(step, step + 1)))
        return self.source(indices[0])

    def read(self, step: int, stop: int) -> Span:
        """Spans of the steps step ... stop - 1, on the device; [length, ...]."""
        steps = step + jnp.arange(self.length, dtype=jnp.int32)
        indices = np.asarray(self.indices(self.root, steps))
        for slot in range(stop - step):
            # Copied leaf by leaf, so that a chunk costs what its steps read.
            span = self.source(indices[slot])
            for whole, part in zip(
                jax.tree.leaves(self.buffer), jax.tree.leaves(span), strict=True
            ):
                whole[slot] = part
        return devices.everywhere(jax.tree.map(jnp.array, self.buffer))
