"""What a caller asks of a run: when it logs, measures and saves, and what it calls."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jaxdd.running.state import Best
from jaxdd.types import MethodState, Synthetic


@dataclass(frozen=True)
class RunSchedule:
    """When a run logs, measures, saves and ends. All steps count completed updates.

    Attributes:
        steps: the last step.
        log_every: steps between lines of metrics.jsonl.
        measure_every: steps between calls of `measure`, from step 0 on.
        save_every: steps between checkpoints.
    """

    steps: int
    log_every: int
    measure_every: int
    save_every: int


@dataclass(frozen=True)
class Hooks:
    """Functions that the caller has called along the way.

    Attributes:
        measure: (state) -> flat dict of numbers for the metrics.
        track: (best, stored set, step) -> best, called after each `measure`; with None
            no best set is kept.
        progress: (step, loss, seconds per step), called after every chunk.
        warn: (sentence), called where the workdir is not as a run leaves it.
        logged: (line), called with every new line of metrics.jsonl.
    """

    measure: Callable[[MethodState], dict[str, float]]
    track: Callable[[Best, Synthetic, int], Best] | None = None
    progress: Callable[[int, float, float], None] = lambda step, loss, seconds: None
    warn: Callable[[str], None] = lambda sentence: None
    logged: Callable[[dict[str, Any]], None] = lambda line: None
