"""Medians of both precisions, measured in turn in one process."""

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from benchmarks.bfloat16.records import BOTH, Line, Records
from benchmarks.parts import timing
from benchmarks.parts.cases import Setting, make_case
from benchmarks.parts.timing import Race
from benchmarks.reference import races
from jaxdd.devices import policy


class Row(NamedTuple):
    """A program that is timed.

    Attributes:
        text: what it is.
        limit: the ratio that is asked for.
        make: compiles it in the precision that is in force.
    """

    text: str
    limit: float
    make: Callable[[Setting], Race]


def step(method: str) -> Callable[[Setting], Race]:
    """One outer step at one image per class, N = 20 where there are students."""
    return lambda setting: timing.step_race(make_case(method, setting, 1, 20), None)


ROWS: dict[str, Row] = {
    "training": Row(
        "training step, 256 images", 0.6, lambda s: races.training(s, False)
    ),
    "dsa": Row("DSA, whole step", 0.6, step("dsa")),
    "idc": Row("IDC, whole step", 0.6, step("idc")),
    "mtt": Row("MTT, N = 20, whole step", 0.75, step("mtt")),
    "norms": Row("gradient norms of 256 images", 0.6, lambda s: races.norms(s, False)),
}


def compared(row: Row, setting: Setting, repeats: int) -> dict[str, Any]:
    """The record of a row."""
    made = {}
    for name in BOTH:
        with policy.in_precision(name):
            made[name] = row.make(setting)
    times = timing.alternate({name: race.ours for name, race in made.items()}, repeats)
    seconds = {name: statistics.median(x) for name, x in times.items()}
    ratio = seconds["bfloat16"] / seconds["float32"]
    line = Line(
        row.text,
        f"{seconds['float32']:.3g} s",
        f"{seconds['bfloat16']:.3g} s",
        f"{ratio:.2f} (asked: ≤ {row.limit:g})",
    )
    return {
        "seconds": seconds,
        "ratio": ratio,
        "limit": row.limit,
        "times": times,
        "temp_mb": {name: race.program.temp_mb for name, race in made.items()},
        "line": line,
    }


def run(records: Records, setting: Setting, repeats: int) -> None:
    for name, row in ROWS.items():
        key = {"row": name, "setting": setting.name, "width": setting.width}
        work = partial(compared, row, setting, repeats)
        records.measure({**key, "repeats": repeats}, row.text, work)
