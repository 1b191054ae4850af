"""Networks of any source, with the order in which real samples are taken in passes."""

from typing import Any, NamedTuple

import jax

from jaxdd.primitives.keys import Draw
from jaxdd.types import Array, Inputs, Key, Learner, LearnerSource


class Ordered(NamedTuple):
    """The state of a source whose real samples are taken in passes."""

    order: Array  # [] uint32
    source: Any  # state of the learner source


def in_passes(source: LearnerSource) -> LearnerSource:
    """A source of the same networks whose real samples are taken in passes (IDC).

    The seed of the passes is a part of the state, because every step has another key.
    """

    def init(key: Key) -> Ordered:
        order = jax.random.bits(Draw.PASSES.of(key))
        return Ordered(order, source.init(key))

    def draw(key: Key, state: Ordered, inputs: Inputs) -> Learner:
        return source.draw(key, state.source, inputs)

    def advance(key: Key, state: Ordered, learner, synthetic, inputs) -> Ordered:
        advanced = source.advance(key, state.source, learner, synthetic, inputs)
        return state._replace(source=advanced)

    begins = source.is_new
    is_new = None if begins is None else lambda state: begins(state.source)
    return LearnerSource(
        init, draw, advance, source.span_index, lambda state: state.order, is_new
    )
