"""Where the time goes, operation by operation.

    python -m benchmarks.profile --parts=training,norms,synthetic,experts,dsa,mtt \\
        --out=runs/profile

A part is a primitive (see `benchmarks.primitives`) or the outer step of a method. XLA's
profiler traces every instruction of the compiled program; `parts.operations` sorts
them by kind. The time of a part is measured without the profiler, which slows small
operations down. Writes profile.json, a list of records with the longest instructions
and the JAX operations they come from, about.json, profile.md and profile.png. Time
anything only on a machine that does nothing else.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.parts import operations, output, timing
from benchmarks.parts.cases import Setting, make_case, methods_named, settings_named
from benchmarks.parts.timing import Race
from benchmarks.primitives import PRIMITIVES
from experiments.console.flags import main, option
from jaxdd.errors import UserError
from jaxdd.progress import say
from jaxdd.report.figures import COLORS, label, new_figure, save, short
from jaxdd.storage.files import make_folder, to_json, write_atomically

LONGEST = 20  # instructions that a record names
LAST = "#bdbdbd"  # the colour of loops


@dataclass(frozen=True)
class Config:
    """Flags of `benchmarks.profile`."""

    out: str = option(..., "folder for the results", kind="path")
    parts: str = option(
        "training,norms,synthetic,experts,dsa,mtt", "primitives and methods, by commas"
    )
    settings: str = option("standard,small", "standard, small")
    ipc: int = option(1, "synthetic images per class, of methods")
    student_steps: int = option(20, "N, where trajectories are matched")
    width: int | None = option(None, "channels of the ConvNet, for a quick look")
    repeats: int = option(5, "timed runs; their median counts")


def race_of(config: Config, part: str, setting: Setting) -> Race:
    """What a part runs."""
    if part in PRIMITIVES:
        return PRIMITIVES[part](setting, False)
    case = make_case(part, setting, config.ipc, config.student_steps)
    return timing.step_race(case, None)


def measure(config: Config, part: str, setting: Setting) -> dict[str, Any]:
    """The record of one part."""
    race = race_of(config, part, setting)
    times = timing.alternate({"ours": race.ours}, config.repeats)["ours"]
    text = race.program.call.as_text()
    found = operations.profile(race.ours, text)
    total = sum(share.seconds for share in found.kinds.values())
    products = found.kinds.get("products")
    return {
        "part": part,
        "setting": setting.name,
        "ipc": None if part in PRIMITIVES else config.ipc,
        "seconds": statistics.median(times),
        "flops": race.flops,
        # On all threads together, so that these sum to 1.
        "shares": {kind: s.seconds / total for kind, s in found.kinds.items()},
        "counts": {kind: s.times for kind, s in found.kinds.items()},
        "product_rate": race.flops / products.seconds
        if race.flops and products
        else None,
        "traced_seconds": found.wall,
        "busy": found.busy / found.wall,
        "longest": [
            {"name": n, "share": s.seconds / total, "count": s.times, "source": source}
            for n, (s, source) in list(found.longest.items())[:LONGEST]
        ],
    }


def run(config: Config) -> list[dict[str, Any]]:
    """Profile everything; the records of `profile.json`.

    Raises:
        UserError: bad input, named.
    """
    if min(config.repeats, config.student_steps, config.ipc) < 1:
        raise UserError("--repeats, --student_steps and --ipc must be at least 1")
    parts = config.parts.split(",")
    if methods := [part for part in parts if part not in PRIMITIVES]:
        try:
            methods_named(",".join(methods))
        except UserError as error:
            raise UserError(f"{error}, {', '.join(PRIMITIVES)}") from None
    settings = settings_named(config.settings, config.width)
    folder = make_folder(config.out)
    peak = timing.gemm_peak()
    records = []
    for setting in settings:
        for part in parts:
            say(f"{part}, {setting.name}")
            records.append(measure(config, part, setting))
            output.write_records(folder, "profile", records)
    known = output.about(config, gemm_peak=peak)
    write_atomically(folder / "about.json", to_json(known))
    footnote = f"\nPeak of square products in this run: {peak / 1e9:.0f} GFLOP/s.\n"
    write_atomically(folder / "profile.md", markdown(records) + footnote)
    draw(records, folder / "profile.png")
    return records


def markdown(records: Sequence[Mapping[str, Any]]) -> str:
    """A row per part: seconds, how much of them is work, kinds of operations."""
    kinds = operations.KINDS
    lines = [
        "| part | setting | s | at work | operations | " + " | ".join(kinds)
        + " | products, GFLOP/s |",
        "|---|---|" + "---:|" * (len(kinds) + 4),
    ]  # fmt: skip
    for r in records:
        shares = [f"{r['shares'].get(kind, 0):.0%}" for kind in kinds]
        rate = "" if r["product_rate"] is None else f"{r['product_rate'] / 1e9:.0f}"
        lines.append(
            f"| {r['part']} | {r['setting']} | {r['seconds']:.3g} | {r['busy']:.0%} "
            f"| {sum(r['counts'].values())} | {' | '.join(shares)} | {rate} |"
        )
    return "\n".join([*lines, ""])


def draw(records: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """A bar per part, its kinds side by side."""
    figure, axes = new_figure(8.0, 1.6 + 0.36 * len(records))
    places = list(range(len(records)))[::-1]
    left = [0.0] * len(records)
    for kind, color in zip(operations.KINDS, (*COLORS, LAST), strict=True):
        widths = [100 * r["shares"].get(kind, 0.0) for r in records]
        axes.barh(places, widths, left=left, height=0.65, color=color, label=kind)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    axes.set_yticks(places, [short(f"{r['part']} {r['setting']}") for r in records])
    axes.set_xlim(0, 100)
    axes.grid(axis="y", visible=False)
    label(axes, "share of the operations' time, %", "")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False)
    return save(figure, path)


def show(records: Sequence[Mapping[str, Any]]) -> None:
    print(markdown(records))


if __name__ == "__main__":
    timing.prepare()
    main(Config, run, show)
