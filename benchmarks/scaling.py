"""Cost of a step against images per class, classes and image size.

    python -m benchmarks.scaling --out=runs/scaling

One axis moves at a time; the others stay at 1 image per class, 10 classes and 32x32x3.
Deeper networks go with larger images, as in the published tables. The default width is
32, so that it takes minutes. Writes scaling.json, about.json, scaling.md and one
picture per axis.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.parts import output, timing
from benchmarks.parts.cases import Setting, known, make_case, methods_named
from experiments.comparing.lists import numbers
from experiments.console.flags import main, option
from jaxdd import report
from jaxdd.errors import UserError
from jaxdd.methods.network import network_size
from jaxdd.progress import say
from jaxdd.storage.files import make_folder

KEYS = ("method", "axis", "value")
AXES = {
    "ipc": "images per class",
    "classes": "classes",
    "size": "image size, pixels",
}
# The same work at every point: no training between matches.
SAME = {"matches": 1}
# An image of 8 pixels is halved once, so that its last map is 4x4 as of the others.
SMALLEST, LARGEST = 8, 256


@dataclass(frozen=True)
class Config:
    """Flags of `benchmarks.scaling`."""

    out: str = option(..., "folder for the results", kind="path")
    methods: str = option("dsa,dm,mtt", "names by commas, or all")
    axes: str = option(",".join(AXES), "ipc, classes, size")
    ipc: str = option("1,5,10,20", "images per class")
    classes: str = option("2,5,10,20,50", "classes")
    size: str = option("8,16,32,64", "height and width of an image")
    width: int = option(32, "channels of the ConvNet")
    student_steps: int = option(20, "N, where trajectories are matched")
    repeats: int = option(3, "timed steps; their median counts")


def setting_of(config: Config, axis: str, value: int) -> Setting:
    size = value if axis == "size" else 32
    shape = (size, size, 3)
    classes = value if axis == "classes" else 10
    depth = network_size("cifar10", shape)[1]
    return Setting(f"{axis}{value}", "cifar10", shape, config.width, depth, classes)


def values_of(config: Config, axis: str) -> list[int]:
    values = numbers(getattr(config, axis), axis, int)
    least, most = (SMALLEST, LARGEST) if axis == "size" else (1, 1000)
    if not all(least <= x <= most for x in values):
        raise UserError(f"--{axis} must be numbers from {least} to {most}")
    return values


def run(config: Config) -> list[dict[str, Any]]:
    """Measure everything; the records of `scaling.json`.

    Raises:
        UserError: bad input, named.
    """
    if min(config.repeats, config.width, config.student_steps) < 1:
        raise UserError("--repeats, --width and --student_steps must be at least 1")
    methods = methods_named(config.methods)
    axes = known(config.axes, tuple(AXES), "axis")
    points = [(axis, value) for axis in axes for value in values_of(config, axis)]
    folder = make_folder(config.out)
    peak = timing.gemm_peak()
    records = []
    for axis, value in points:
        for method in methods:
            say(f"{method}, {AXES[axis]} {value}")
            setting = setting_of(config, axis, value)
            ipc = value if axis == "ipc" else 1
            case = make_case(method, setting, ipc, config.student_steps, SAME)
            record = {
                "method": method,
                "axis": axis,
                "value": value,
                "setting": dataclasses.asdict(setting),
                **timing.measured(timing.step_race(case, None), config.repeats, peak),
            }
            records.append(record)
            output.write_records(folder, "scaling", records)
    known_of = output.about(config, gemm_peak=peak)
    output.write_results(folder, "scaling", records, KEYS, known_of)
    for axis in axes:
        draw(records, axis, folder / f"{axis}.png")
    return records


def draw(records: list[dict[str, Any]], axis: str, path: Path) -> None:
    """Seconds over the values of one axis, a line per method."""
    series: dict[str, tuple[list, list]] = {}
    for record in records:
        if record["axis"] == axis:
            x, y = series.setdefault(record["method"], ([], []))
            x.append(record["value"])
            y.append(record["seconds"])
    report.curves(series, path, AXES[axis], "seconds per step")


def show(records: list[dict[str, Any]]) -> None:
    print(output.table(records, KEYS))


if __name__ == "__main__":
    timing.prepare()
    main(Config, run, show)
