"""Several finished runs side by side: accuracies, curves, images, what differs."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from jaxdd.errors import UserError
from jaxdd.report import drawings, page
from jaxdd.report.page import Section
from jaxdd.report.run_values import (
    COURSE,
    KINDS,
    Run,
    accuracy_text,
    curve,
    first_kind,
    flattened,
    name_at,
    number,
    numbers_of,
    percents,
)
from jaxdd.report.tiles import shrunk, tiles
from jaxdd.statistics import Gain, Statistics

FIRST = 20  # classes of which the first image is shown
LONGEST = 6  # series of bars that can be told apart
# Values that say where a run lies, not what it is.
PLACES = ("workdir", "data_dir")


class Named(NamedTuple):
    """A run in a comparison.

    Attributes:
        name: by which it is told from the others.
        run: its values.
        link: relative path of its own report; empty where there is none.
    """

    name: str
    run: Run
    link: str = ""


def runs_page(runs: Sequence[Named]) -> str:
    """A page that compares runs with the first of them.

    Args:
        runs: two or more, of different names.

    Returns:
        The content of the file; equal values give equal bytes.

    Raises:
        UserError: there are fewer, or two have one name.
    """
    names = [x.name for x in runs]
    if len(names) < 2 or len(set(names)) < len(names):
        raise UserError(
            f"a comparison needs two runs or more of different names, not {len(names)}"
        )
    title = f"{len(runs)} runs compared"
    lead = page.paragraph(" · ".join(f"{x.name}: {x.run.title}" for x in runs), "lead")
    return page.document(
        title,
        lead,
        [
            Section("Accuracy", accuracies(runs)),
            Section("Images", rows_of_images(runs)),
            Section("Course of the runs", courses(runs)),
            Section("What differs", differences(runs)),
            Section("Commands", commands(runs)),
        ],
    )


def accuracies(runs: Sequence[Named]) -> str:
    """A row per run, and its difference from the first."""
    base = Statistics.of(runs[0].run.summary["distilled"])
    data = data_of(runs[0].run)
    alike = [data_of(x.run) == data for x in runs]
    rows, kind = [], first_kind(runs[0].run)
    for i, (name, run, _) in enumerate(runs):
        mine = Statistics.of(run.summary["distilled"])
        end = run.summary["difficulty"]["end"]
        rows.append(
            [
                name,
                str(mine),
                str(mine.n),
                str(Gain.of(mine, base)) if i and alike[i] else "",
                accuracy_text(run.summary["random"]),
                number(end.get(name_at(run, "percentile", kind))),
                number(run.summary["seconds"], " s"),
            ]
        )
    header = ["run", "accuracy %", "networks", f"difference from {runs[0].name}",
              "random %", "percentile of GraDN", "time"]  # fmt: skip
    note = (
        "± behind an accuracy is the standard deviation over networks, behind a "
        "difference its standard error, which tells nothing of other seeds of the "
        "distillation. The percentile is the place of the finished set among real "
        f"samples, for {KINDS.get(kind, 'the networks at which it was measured')}."
    )
    if not all(alike):
        note += (
            f" Runs on other data than {runs[0].name} have no difference: accuracies "
            "on different data cannot be compared."
        )
    body = page.table(header, rows) + page.paragraph(note, "note")
    return body + page.charts(_by_class(runs))


def data_of(run: Run) -> Any:
    """What tells a run's data from others: its fingerprint, else its name."""
    config = run.summary["config"]
    return config.get("fingerprint") or config.get("dataset")


def rows_of_images(runs: Sequence[Named]) -> str:
    """The first image of every class, a row per run that has images."""
    runs = [x for x in runs if x.run.images.ndim == 5]
    if not runs:
        return ""
    cells = []
    for name, run, _ in runs:
        row = tiles(shrunk(run.images[:FIRST, 0]), f"first images of {name}")
        cells.append(f'<div class="name">{page.escaped(name)}</div>{row}')
    most = max(len(x.run.images) for x in runs)
    text = "The first image of every class."
    if most > FIRST:
        text = f"The first image of each of the first {FIRST} classes of {most}."
    return f'<div class="rows">{"".join(cells)}</div>' + page.paragraph(text, "note")


def courses(runs: Sequence[Named]) -> str:
    """The curves of all runs over each other."""
    figures, kind = [], first_kind(runs[0].run)
    for chart in COURSE:
        for key, meaning in chart.keys.items():
            series = {}
            for x in runs:
                is_probed = key.startswith("difficulty_")
                logged = name_at(x.run, key, kind) if is_probed else key
                if logged in numbers_of(x.run.metrics):
                    series[x.name] = curve(x.run.metrics, logged)
            caption = f"{meaning[0].upper()}{meaning[1:]} along the runs."
            figures.append(
                drawings.lines(
                    series, "step", chart.ylabel, caption, chart.log,
                    [x.name for x in runs],
                )
            )  # fmt: skip
    return page.charts([x for x in figures if x])


def differences(runs: Sequence[Named]) -> str:
    """Values of the configurations, versions and devices that are not all the same."""
    columns = []
    for x in runs:
        summary = x.run.summary
        values = {k: v for k, v in summary["config"].items() if k not in PLACES}
        versions = summary.get("versions", {})
        device = {"device": summary.get("device")}
        columns.append(flattened({**values, "version": versions, **device}))
    names = dict.fromkeys(name for column in columns for name in column)
    rows = [
        [name, *(column.get(name, "–") for column in columns)]
        for name in names
        if len({column.get(name) for column in columns}) > 1
    ]
    if not rows:
        return page.paragraph("The configurations do not differ.", "note")
    return page.table(["value", *(x.name for x in runs)], rows)


def commands(runs: Sequence[Named]) -> str:
    """How each run was started, and a link to its own report."""
    parts = []
    for x in runs:
        parts.append(page.heading(x.name))
        if x.run.command:
            parts.append(page.command(x.run.command))
        if x.link:
            parts.append(f"<p>{page.link(x.link, 'its report')}</p>")
    return "".join(parts)


def _by_class(runs: Sequence[Named]) -> list[str]:
    """Accuracy by class, where all runs have the same classes."""
    names = runs[0].run.class_names
    classes = {x.name: x.run.summary.get("classes") for x in runs}
    same = all(x.run.class_names == names for x in runs)
    if not same or None in classes.values() or len(runs) > LONGEST:
        return []
    series = {
        name: percents(entry["distilled"]["mean"])
        for name, entry in classes.items()
        if entry is not None
    }
    caption = "Accuracy class by class, mean over networks."
    return [drawings.bars(names, series, "accuracy %", caption)]
