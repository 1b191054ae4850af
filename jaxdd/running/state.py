"""What a run holds: the state that it continues from, and what it ends with."""

from typing import NamedTuple

from jaxdd.running.loop import Program
from jaxdd.storage.metrics import Metrics
from jaxdd.types import Array, MethodState, Synthetic


class Best(NamedTuple):
    """The best set seen so far, as it is stored, by validation accuracy."""

    accuracy: Array  # [] percent; -1 before the first measurement
    step: Array  # [] int32
    synthetic: Synthetic


class RunState(NamedTuple):
    """Everything that a run needs to continue."""

    method: MethodState
    best: Best | None  # None unless the run selects


class Timings(NamedTuple):
    """How long a run took.

    Attributes:
        seconds: all of it, over all starts.
        seconds_per_step: the median over the chunks of this start; 0 where it took no
            step.
        compile_seconds: the compilation of this start; 0 where it took no step.
    """

    seconds: float
    seconds_per_step: float
    compile_seconds: float


class RunResult(NamedTuple):
    """A finished run.

    Attributes:
        state: the state after the last step.
        metrics: the lines that were logged.
        timings: how long it took.
        program: the program that was run, with what was compiled for it.
    """

    state: RunState
    metrics: Metrics
    timings: Timings
    program: Program
