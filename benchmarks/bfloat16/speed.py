"""Medians of all precisions of a device, and of PyTorch, in turn in one process."""

import itertools
import statistics
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from benchmarks.accelerated.budget import attempt
from benchmarks.bfloat16.records import BOTH, Line, Records
from benchmarks.parts import timing
from benchmarks.parts.cases import Setting, make_case
from benchmarks.parts.timing import Race, Side
from benchmarks.reference import races
from jaxdd.devices import policy
from jaxdd.devices.precision import PRECISIONS, has

# (the setting, whether PyTorch's loop is wanted beside it) -> both, compiled
Make: TypeAlias = Callable[[Setting, bool], Race]


class Row(NamedTuple):
    """A program that is timed.

    Attributes:
        text: what it is.
        limit: the ratio to float32 that is asked for; None where none is.
        make: compiles it in the precision that is in force.
    """

    text: str
    limit: float | None
    make: Make


class Work(NamedTuple):
    """What is the same for all rows.

    Attributes:
        setting: images and network.
        repeats: timed runs of each side; their medians count.
        against: whether PyTorch's loops run in turn with ours, in TF32 where the device
            has it, else in float32.
        workers: programs that are compiled side by side, while nothing is timed.
    """

    setting: Setting
    repeats: int
    against: bool = False
    workers: int = 1


def step(method: str) -> Make:
    """One outer step at one image per class, N = 20 where there are students."""

    def make(setting: Setting, against: bool) -> Race:
        case, theirs = make_case(method, setting, 1, 20), None
        if against:
            from benchmarks.reference import sides

            # Before our steps: they consume the state that both begin with.
            theirs = sides.step(case)
        return timing.step_race(case, theirs)

    return make


ROWS: dict[str, Row] = {
    "training": Row("training step, 256 images", 0.6, races.training),
    "dsa": Row("DSA, whole step", 0.6, step("dsa")),
    "mtt": Row("MTT, N = 20, whole step", 0.75, step("mtt")),
    "idc": Row("IDC, whole step", 0.6, step("idc")),
    "dm": Row("DM, whole step", None, step("dm")),
    "norms": Row("gradient norms of 256 images", 0.6, races.norms),
}


def of_device() -> list[str]:
    """The precisions that are timed: those of everywhere, and TF32 where it is."""
    return [name for name in PRECISIONS if name in BOTH or has(name)]


def built(row: Row, precision: str, work: Work) -> Race:
    """A row compiled in a precision; PyTorch's loop with the first one."""
    with policy.in_precision(precision):
        return row.make(work.setting, work.against and precision == of_device()[0])


def _once(side: Side) -> dict[str, Any]:
    side()
    return {}


def compared(row: Row, races_of: dict[str, Future[Race]], work: Work) -> dict[str, Any]:
    """The record of a row, from its compiled programs by precision."""
    made = {name: job.result() for name, job in races_of.items()}
    sides = {name: race.ours for name, race in made.items()}
    theirs = next((race.theirs for race in made.values() if race.theirs), None)
    # A loop that fails leaves our own times.
    failure = {} if theirs is None else attempt(partial(_once, theirs))
    if theirs is not None and not failure:
        sides["pytorch"] = theirs
    times = timing.alternate(sides, work.repeats)
    seconds = {name: statistics.median(x) for name, x in times.items()}
    ratios = {
        name: seconds["bfloat16"] / value
        for name, value in seconds.items()
        if name != "bfloat16"
    }
    asked = "" if row.limit is None else f" (asked: ≤ {row.limit:g})"
    words = [
        f"{ratio:.2f} of {'PyTorch' if name == 'pytorch' else name}"
        + (asked if name == "float32" else "")
        for name, ratio in ratios.items()
    ]
    if failure:
        words.append("PyTorch's loop failed")
    shown = {name: f"{value:.3g} s" for name, value in seconds.items()}
    return {
        "seconds": seconds,
        "ratios": ratios,
        "limit": row.limit,
        "times": times,
        "temp_mb": {name: race.program.temp_mb for name, race in made.items()},
        "pytorch": failure,
        "line": Line(row.text, **shown, compared="; ".join(words)),
    }


def run(records: Records, work: Work) -> None:
    """Measure the rows that are not there, some at a time."""
    if work.against:
        from benchmarks.reference import network

        network.use_tensor_cores()
    precisions = of_device()
    setting = {"setting": work.setting.name, "width": work.setting.width}
    keys = {
        name: {"row": name, **setting, "repeats": work.repeats, "torch": work.against}
        for name in ROWS
    }
    todo = [name for name in ROWS if not records.has(keys[name], ROWS[name].text)]
    together = max(1, work.workers // len(precisions))
    for start in range(0, len(todo), together):
        group = todo[start : start + together]
        with ThreadPoolExecutor(work.workers) as pool:
            jobs = {
                (name, precision): pool.submit(built, ROWS[name], precision, work)
                for name, precision in itertools.product(group, precisions)
            }
        for name in group:
            programs = {x: jobs[name, x] for x in precisions}
            records.measure(
                keys[name],
                ROWS[name].text,
                partial(compared, ROWS[name], programs, work),
            )
