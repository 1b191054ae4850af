"""Students that start at a snapshot of an expert."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from jaxdd.errors import UserError
from jaxdd.fields import Choice, option
from jaxdd.learners.context import Context
from jaxdd.primitives.keys import Draw
from jaxdd.types import Array, Inputs, Key, Learner, LearnerSource, Network


@dataclass(frozen=True)
class StartEpochs:
    """The range of the epochs of an expert at which a student may start.

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
            raise UserError("a range of start epochs that grows needs an expansion")

    def bound(self, step: Array) -> Array:
        """The exclusive upper bound at a step."""
        first = self.highest if self.first is None else self.first
        if first == self.highest:
            return jnp.int32(self.highest)
        # Whole numbers, since a rounded quotient may fall below its floor.
        grown = (self.highest - first) * jnp.minimum(step, self.expansion)
        return jnp.int32(first + grown // self.expansion)


def spans(network: Network, experts: int, starts: StartEpochs) -> LearnerSource:
    """Students that start at a snapshot of an expert (MTT, FTD, TESLA, DATM, PAD).

    Every pass over the experts takes each once, in a new random order; start epochs are
    drawn independently.

    Args:
        network: the architecture of the experts. Banks hold parameters only, so their
            running statistics are those of a new network.
        experts: the number of experts in the bank.
        starts: the range of the start epochs.
    """

    def init(key: Key):
        return ()

    def span_index(root: Key, step: Array) -> Array:
        key_order, key_epoch = jax.random.split(Draw.SPANS.of(root))
        key_order = jax.random.fold_in(key_order, step // experts)
        order = jax.random.permutation(key_order, experts)
        key_epoch = jax.random.fold_in(key_epoch, step)
        epoch = jax.random.randint(key_epoch, (), starts.lowest, starts.bound(step))
        return jnp.stack([order[step % experts], epoch]).astype(jnp.int32)

    def draw(key: Key, state, inputs: Inputs) -> Learner:
        return Learner(inputs.expert_span().start, network.init(key)[1])

    def advance(key: Key, state, learner, synthetic, inputs):
        return state

    return LearnerSource(init, draw, advance, span_index)


@dataclass(frozen=True)
class Spans(Choice):
    """Students that start where an expert was, see `spans`.

    Attributes:
        min_start: the first start epoch.
        first_start: the exclusive bound of the start epochs at step 0; None for
            `max_start`.
        max_start: the exclusive bound of the start epochs; None where it is left to the
            length of the bank.
        expansion: the step at which that bound is reached.
    """

    name: ClassVar[str] = "spans"
    subject: ClassVar[str] = "matching trajectories"
    matches: ClassVar[int] = 1
    needs_experts: ClassVar[bool] = True

    min_start: int = option(
        0, "first epoch of an expert at which a student may start", at_least=0
    )
    first_start: int | None = option(
        None,
        "epoch of an expert before which students start at step 0 of the run; "
        "default: --max_start",
        above=0,
    )
    max_start: int | None = option(
        25, "epoch of an expert before which every student starts", above=0
    )
    expansion: int = option(
        0,
        "step of the run at which the bound of the start epochs has grown from "
        "--first_start to --max_start",
        at_least=0,
        beside={"first_start": None},
    )

    def starts(self) -> StartEpochs:
        """The range of start epochs.

        Raises:
            UserError: the range is open or impossible.
        """
        if self.max_start is None:
            raise UserError("max_start has to be set before start epochs can be drawn")
        return StartEpochs(
            self.min_start, self.max_start, self.first_start, self.expansion
        )

    def make(
        self, network: Network, context: Context, augmentation: str
    ) -> LearnerSource:
        """The source.

        Raises:
            UserError: there are no experts.
        """
        del augmentation
        if context.experts is None:
            raise UserError("trajectory matching needs a bank of experts")
        return spans(network, context.experts, self.starts())
