"""Where network parameters come from."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdd.errors import UserError
from jaxdd.types import (
    Array,
    Inputs,
    Key,
    Learner,
    LearnerSource,
    Network,
)
from jaxdd.windows import sample_classes

# Real images per class that set batch-norm statistics before a match (DC's code).
REFRESH_IMAGES = 16


def refresh_statistics(
    key: Key, network: Network, learner: Learner, inputs: Inputs
) -> Learner:
    """Set batch-norm statistics from one pass over real images of all classes.

    They stay frozen during the match. Networks without running statistics pass
    through. Source: DC's official code, main.py; like there, one update moves the
    statistics by the momentum of the layer only.
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
    order: Array  # [] uint32
    source: Any  # state of the learner source


def in_passes(source: LearnerSource) -> LearnerSource:
    """The same networks; the real samples of a class are taken in passes (IDC).

    What orders the passes lies in the state, for steps have keys of their own.
    """

    def init(key: Key) -> Ordered:
        order = jax.random.bits(jax.random.fold_in(key, 0x0D))
        return Ordered(order, source.init(key))

    def draw(key: Key, state: Ordered, inputs: Inputs) -> Learner:
        return source.draw(key, state.source, inputs)

    def advance(key: Key, state: Ordered, learner, synthetic, inputs) -> Ordered:
        advanced = source.advance(key, state.source, learner, synthetic, inputs)
        return state._replace(source=advanced)

    return LearnerSource(init, draw, advance, source.plan, lambda state: state.order)


@dataclass(frozen=True)
class StartEpochs:
    """From which epochs of an expert a student may start.

    Uniform on lowest ... U - 1, where U grows from `first` at step 0 to `highest` at
    step `expansion` and stays there (DATM's sequential generation, official code). With
    first = highest it is MTT's constant range.

    Attributes:
        lowest: T-, inclusive.
        highest: T+, exclusive.
        first: T, the exclusive upper bound at step 0; None for `highest`.
        expansion: E_x, steps until the bound arrives.

    Example:
        >>> starts = StartEpochs(lowest=0, highest=20, first=10, expansion=1000)
        >>> [int(starts.bound(jnp.int32(step))) for step in (0, 500, 2000)]
        [10, 15, 20]
    """

    lowest: int = 0
    highest: int = 1
    first: int | None = None
    expansion: int = 0

    def __post_init__(self):
        first = self.highest if self.first is None else self.first
        if not 0 <= self.lowest < first <= self.highest:
            raise UserError(
                f"start epochs must satisfy 0 <= lowest < first <= highest, not "
                f"lowest {self.lowest}, first {first}, highest {self.highest}"
            )
        if first < self.highest and self.expansion < 1:
            raise UserError("a growing range of start epochs needs --expansion > 0")

    def bound(self, step: Array) -> Array:
        """The exclusive upper bound at a step."""
        first = self.highest if self.first is None else self.first
        if first == self.highest:
            return jnp.int32(self.highest)
        # Whole numbers, since a rounded quotient may fall below its floor.
        grown = (self.highest - first) * jnp.minimum(step, self.expansion)
        return jnp.int32(first + grown // self.expansion)


def spans(network: Network, experts: int, starts: StartEpochs) -> LearnerSource:
    """Students that start where an expert was (MTT, FTD, TESLA, DATM, PAD).

    Every pass over the experts takes each once, in a new random order; start epochs are
    drawn independently.

    Args:
        network: of the experts; its fresh statistics go with their parameters, since
            banks hold parameters only.
        experts: how many the bank has.
        starts: from which epochs.
    """

    def init(key: Key):
        return ()

    def plan(root: Key, step: Array) -> Array:
        # The key of step t is fold_in(root, t), and no step is as large as this.
        key_order, key_epoch = jax.random.split(jax.random.fold_in(root, 0xFFFFFFFF))
        key_order = jax.random.fold_in(key_order, step // experts)
        order = jax.random.permutation(key_order, experts)
        key_epoch = jax.random.fold_in(key_epoch, step)
        epoch = jax.random.randint(key_epoch, (), starts.lowest, starts.bound(step))
        return jnp.stack([order[step % experts], epoch]).astype(jnp.int32)

    def draw(key: Key, state, inputs: Inputs) -> Learner:
        assert inputs.span is not None, "trajectory matching needs inputs.span"
        return Learner(inputs.span.start, network.init(key)[1])

    def advance(key: Key, state, learner, synthetic, inputs):
        return state

    return LearnerSource(init, draw, advance, plan)
