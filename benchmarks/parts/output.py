"""What benchmarks write: records as JSON, tables, bars."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxdd.report.figures import COLORS, label, new_figure, save, short
from jaxdd.storage import provenance
from jaxdd.storage.files import to_json, write_atomically

Record = Mapping[str, Any]

HEADINGS = {
    "s": ("seconds", "{:.3g}"),
    "reference s": ("reference_seconds", "{:.3g}"),
    "ratio": ("ratio", "{:.2f}"),
    "compile s": ("compile_seconds", "{:.1f}"),
    "peak MB": ("peak_mb", "{:.0f}"),
    "XLA temporaries MB": ("temp_mb", "{:.0f}"),
    "GFLOP": ("gflop", "{:.3g}"),
    "of GEMM peak": ("peak_fraction", "{:.0%}"),
}


def about(config: Any, **more) -> dict[str, Any]:
    """Where results come from."""
    return {
        "config": vars(config),
        "versions": provenance.versions(),
        "device": provenance.device(),
        **more,
    }


def write_records(folder: Path, name: str, records: Sequence[Record]) -> None:
    """`name`.json: after every record, so that a stopped run leaves what is done."""
    write_atomically(folder / f"{name}.json", to_json([dict(r) for r in records]))


def write_results(
    folder: Path,
    name: str,
    records: Sequence[Record],
    keys: Sequence[str],
    known: Mapping[str, Any],
) -> None:
    """What is written once all records are there: about.json and `name`.md.

    Args:
        folder: the results' folder.
        name: the benchmark.
        records: as in `name`.json.
        keys: what a record is of.
        known: `about` the results, with `gemm_peak`.
    """
    write_atomically(folder / "about.json", to_json(known))
    text = table(records, keys) + footnote(known["gemm_peak"])
    write_atomically(folder / f"{name}.md", text)


def printed(result: Mapping[str, Any], markdown: Callable[[Any], str]) -> str:
    """What a benchmark prints: its table, or, as a child, JSON for its parent.

    Args:
        result: with the content of `about`, which a child leaves to its parent.
        markdown: (result) -> the table.
    """
    return markdown(result) if "versions" in result else json.dumps(result)


def table(records: Sequence[Record], keys: Sequence[str]) -> str:
    """Markdown: what a record is of, and its numbers."""
    shown = [h for h, (k, _) in HEADINGS.items() if any(_of(r, k) for r in records)]
    lines = ["| " + " | ".join([*keys, *shown]) + " |"]
    lines.append("|" + "---|" * len(keys) + "---:|" * len(shown))
    for record in records:
        cells = [str(record[key]) for key in keys]
        for heading in shown:
            key, form = HEADINGS[heading]
            value = _of(record, key)
            cells.append("" if value is None else form.format(value))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def _of(record: Record, key: str) -> Any:
    if key == "gflop":
        return record["flops"] / 1e9 if record.get("flops") else None
    return record.get(key)


def footnote(peak: float) -> str:
    return (
        f"\nMedians. Peak of square float32 products in this run: {peak / 1e9:.0f} "
        "GFLOP/s. A ratio is our median by the reference's, alternating in one run; "
        "peak MB is what a fresh process needs more than before it compiled.\n"
    )


def ratios(
    names: Sequence[str],
    values: Sequence[float],
    path: Path,
    limits: Sequence[float] | None = None,
) -> Path:
    """Bars with their numbers and a line at 1; below it ours is faster.

    With `limits` a mark on every bar says what it should stay below; the colour tells
    whether it does.
    """
    figure, axes = new_figure(6.5, 1.2 + 0.36 * len(names))
    places = list(range(len(names)))[::-1]  # the first name on top
    ends = [1.0] * len(names) if limits is None else limits
    colors = [COLORS[x > end] for x, end in zip(values, ends, strict=True)]
    axes.barh(places, values, height=0.65, color=colors)
    axes.axvline(1.0, color="#222222", linewidth=1.2)
    if limits is not None:
        axes.plot(limits, places, "|", color="#222222", markersize=18, mew=2)
        axes.set_title("marks: targets", size=9)
    for place, value, end in zip(places, values, ends, strict=True):
        # Beside the bar and its mark, never on them.
        beside = value if limits is None else max(value, end)
        axes.text(beside, place, f"  {value:.2f}", va="center", size=9)
    axes.set_yticks(places, [short(name) for name in names])
    axes.set_xlim(0, 1.15 * max(1.0, *values, *ends))
    axes.grid(axis="y", visible=False)
    label(axes, "our seconds / the reference's", "")
    return save(figure, path)


def draw_ratios(records: Sequence[Record], keys: Sequence[str], path: Path) -> None:
    """`ratios` of the records that have one, if any has."""
    found = {
        " ".join(str(r[key]) for key in keys): r["ratio"]
        for r in records
        if r.get("ratio") is not None
    }
    if found:
        ratios(list(found), list(found.values()), path)


def seconds(records: Sequence[Record], keys: Sequence[str], path: Path) -> Path:
    """Bars of our seconds on a logarithmic axis, with marks for the reference."""
    figure, axes = new_figure(6.5, 1.2 + 0.36 * len(records))
    places = list(range(len(records)))[::-1]
    axes.barh(places, [r["seconds"] for r in records], height=0.65, color=COLORS[0])
    others = [
        (r["reference_seconds"], place)
        for r, place in zip(records, places, strict=True)
        if r["reference_seconds"] is not None
    ]
    if others:
        x, y = zip(*others, strict=True)
        axes.plot(x, y, "D", color=COLORS[1], markersize=6)
        axes.set_title("bars: ours    diamonds: reference", size=9)
    axes.set_yticks(places, [short(" ".join(str(r[k]) for k in keys)) for r in records])
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.grid(axis="y", visible=False)
    label(axes, "seconds", "")
    return save(figure, path)
