"""A new random network for every match."""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax

from jaxdd.data.real import sample_classes
from jaxdd.fields import Choice
from jaxdd.primitives.keys import Draw
from jaxdd.primitives.truncation import Student
from jaxdd.types import Array, Inputs, Key, Learner, LearnerSource, Network, Space

# Real images per class that set batch-norm statistics before a match (DC's code).
REFRESH_IMAGES = 16


def refresh_statistics(
    key: Key, network: Network, learner: Learner, inputs: Inputs
) -> Learner:
    """Set batch-norm statistics from one pass over real images of all classes.

    They stay frozen during the match. Learners without running statistics are returned
    unchanged. As in DC's official code (main.py), this is a single update with the
    layer's momentum.

    Args:
        key: consumed.
        network: the network of the learner.
        learner: the learner, whose statistics are replaced.
        inputs: the data; samples are drawn from `inputs.real`.
    """
    if not jax.tree.leaves(learner.stats):
        return learner
    batch = sample_classes(key, inputs.real, REFRESH_IMAGES)
    images = batch.images.reshape(-1, *batch.images.shape[2:])
    _, stats = network.apply(learner.params, learner.stats, images, True)
    return learner._replace(stats=stats)


def fresh(network: Network) -> LearnerSource:
    """A new random network for every match (DM; DC at one image per class)."""

    def init(key: Key):
        return ()

    def draw(key: Key, state, inputs: Inputs) -> Learner:
        key_init, key_refresh = jax.random.split(key)
        learner = Learner(*network.init(key_init))
        return refresh_statistics(key_refresh, network, learner, inputs)

    def advance(key: Key, state, learner, synthetic, inputs):
        return state

    return LearnerSource(init, draw, advance)


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

    return LearnerSource(
        init, draw, advance, source.span_index, lambda state: state.order
    )


class Context(NamedTuple):
    """What a method is built for, beside its recipe.

    Attributes:
        microbatch: chunk length of gradients over a batch; None for the whole batch.
        experts: how many the bank has, where trajectories are matched.
        pixels: the space of pixels, where images are stored as such; see
            `data.Preprocess.space`.
        student: how the objective trains a student on the set; None where it trains
            none.
    """

    microbatch: int | None = None
    experts: int | None = None
    pixels: Space | None = None
    student: Student | None = None


@dataclass(frozen=True)
class Fresh(Choice):
    """A new random network for every match (DM)."""

    name: ClassVar[str] = "fresh"
    matches: ClassVar[int] = 1

    def make(
        self, network: Network, context: Context, augmentation: str
    ) -> LearnerSource:
        """The source; nothing is trained, so that nothing is augmented."""
        del context, augmentation
        return fresh(network)
