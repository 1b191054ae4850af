"""What the report of a run shows, section by section."""

import shlex
from collections.abc import Callable

from jaxdd.report import drawings, page
from jaxdd.report.page import Section
from jaxdd.report.run_samples import SECTIONS, extremes, images
from jaxdd.report.run_values import (
    COURSE,
    KINDS,
    Run,
    accuracy_text,
    curve,
    first_kind,
    flattened,
    networks,
    number,
    numbers_of,
    percents,
)

SET, RANDOM = "distilled set", "random real subsets"
# Numbers that say where a line is, not how the run does.
PLACES = {"step", "seconds", "segment"}


def run_page(run: Run) -> str:
    """The report of a run, one HTML file that holds everything it shows.

    Args:
        run: its values; text in them may be anything.

    Returns:
        The content of the file; equal values give equal bytes.
    """
    distilled, random = run.summary["distilled"], run.summary["random"]
    lead = page.paragraph(
        f"{accuracy_text(distilled)} % test accuracy after training on this set "
        f"({networks(distilled['n'])}), beside {accuracy_text(random)} % on random "
        f"real subsets of the same size ({networks(random['n'])}).",
        "lead",
    )
    lead += page.command(run.command) if run.command else ""
    sections: dict[str, Callable[[Run], str]] = {
        SECTIONS[run.images.ndim]: images,
        "Accuracy": accuracy,
        "Course of the run": course,
        "Difficulty": difficulty,
        "Segments": segments,
        "Time and memory": costs,
        "Load and evaluate it": usage,
        "Configuration": configuration,
    }
    return page.document(
        run.title, lead, [Section(name, body(run)) for name, body in sections.items()]
    )


# --- Sections -------------------------------------------------------------------------


def accuracy(run: Run) -> str:
    """The set beside random subsets: in all, by class and by difficulty."""
    summary = run.summary
    distilled, random = summary["distilled"], summary["random"]
    classes = summary.get("classes", {})
    rows = [
        [name, accuracy_text(summary[key]), str(summary[key]["n"]),
         accuracy_text(classes.get(key, {}).get("balanced"))]
        for key, name in (("distilled", SET), ("random", RANDOM))
    ]  # fmt: skip
    body = page.table(["trained on", "accuracy %", "networks", "balanced %"], rows)
    gain = distilled["mean"] - random["mean"]
    body += page.paragraph(
        f"Against random real samples the set has {gain:+.2f} points. ± is the "
        "standard deviation over networks; balanced accuracy is the mean over classes.",
        "note",
    )
    return body + page.charts([*_by_class(run), *_by_decile(run)]) + _class_table(run)


def course(run: Run) -> str:
    """Curves of what was logged; those with a meaning of their own first."""
    figures, used = [], set(PLACES)
    for chart in COURSE:
        series = {}
        for key, name in chart.keys.items():
            for logged in numbers_of(run.metrics):
                kind = logged.removeprefix(key).removeprefix("_")
                if logged == key or (logged.startswith(f"{key}_") and kind in KINDS):
                    if logged.startswith("difficulty_"):
                        kind = kind or first_kind(run)
                    label = KINDS.get(kind, name)
                    series[label] = curve(run.metrics, logged)
                    used.add(logged)
        figures.append(
            drawings.lines(series, "step", chart.ylabel, chart.caption, chart.log)
        )
    others = [
        drawings.lines({name: curve(run.metrics, name)}, "step", name, name, True)
        for name in numbers_of(run.metrics)
        if name not in used
    ]
    further = page.charts([x for x in others if x])
    body = page.charts([x for x in figures if x])
    body += page.details("Further numbers that were logged", further)
    return body or page.paragraph("Nothing was logged along the run.", "note")


def difficulty(run: Run) -> str:
    """The set among real samples, and the easiest and hardest of these beside it."""
    change = run.summary["difficulty"]
    kept = run.difficulty
    suffixes = _kinds(run)
    rows = [
        [KINDS.get(kind, kind)]
        + [
            number(change[when].get(f"{name}{suffix}"))
            for name in ("grad_norm", "percentile")
            for when in ("start", "end")
        ]
        for kind, suffix in suffixes.items()
    ]
    header = ["difficulty for", "GraDN at start", "at end", "percentile at start",
              "at end"]  # fmt: skip
    body = page.table(header, rows)
    body += page.paragraph(
        "GraDN is the norm of the gradient of a sample's loss, mean over networks; the "
        "percentile is the set's place among real samples.",
        "note",
    )
    if kept is None:
        lacking = "The GraDN of single samples was not kept by this run."
        return body + page.paragraph(lacking, "note")
    figures = []
    for i, (kind, suffix) in enumerate(suffixes.items()):
        marks = {
            f"the set at the {when}": value
            for when in ("start", "end")
            if (value := change[when].get(f"grad_norm{suffix}")) is not None
        }
        caption = (
            f"GraDN of {kept.of_real.shape[1]} real samples for "
            f"{KINDS.get(kind, kind)}; the hardest percent shares the last bar."
        )
        if i < len(kept.of_real):
            figures.append(drawings.histogram(kept.of_real[i], "GraDN", marks, caption))
    return body + page.charts([x for x in figures if x]) + extremes(run, kept)


def segments(run: Run) -> str:
    """What every segment saw; nothing of a run in one piece."""
    rows = [
        [
            str(i),
            str(x["size"]),
            f"{sum(x['kept'])}",
            f"{100 * x['right']:.1f}",
            f"{100 * x['forgotten']:.1f}",
        ]
        for i, x in enumerate(run.summary.get("segments", []), 1)
    ]
    header = ["segment", "images per class", "real samples in play",
              "judges are right %", "forgotten %"]  # fmt: skip
    return page.table(header, rows)


def costs(run: Run) -> str:
    """Seconds, memory and the device."""
    summary = run.summary
    values = {
        "whole distillation": _seconds(summary.get("seconds")),
        "one step": _seconds(summary.get("seconds_per_step")),
        "compiling": _seconds(summary.get("compile_seconds")),
        "evaluation": _seconds(summary.get("evaluation_seconds")),
        "compiling of the evaluation": _seconds(
            summary.get("evaluation_compile_seconds")
        ),
        "peak memory": number(summary.get("peak_mb"), " MB"),
        "device": str(summary.get("device", "not known")),
    }
    resumed = summary.get("resumed_at", [])
    if resumed:
        values["resumed at step"] = ", ".join(map(str, resumed))
    return page.table(["what", "value"], [[k, v] for k, v in values.items()])


def usage(run: Run) -> str:
    """Three lines of Python and a command."""
    path = f"{run.workdir.rstrip('/')}/distilled.npz"
    python = (
        f"import jaxdd\nartifact = jaxdd.load({path!r})\n"
        "images, labels = artifact.displayable(), artifact.labels.argmax(-1)"
    )
    shell = f"python -m experiments.evaluate --artifact={shlex.quote(path)}"
    return page.code(python) + page.command(shell)


def configuration(run: Run) -> str:
    """Every value of the run, the versions, and what a reader should know."""
    summary = run.summary
    values = [[name, text] for name, text in flattened(summary["config"]).items()]
    versions = [[k, str(v)] for k, v in summary.get("versions", {}).items()]
    return (
        page.bullets([*map(str, summary.get("warnings", [])), *run.remarks])
        + page.details("All values", page.table(["name", "value"], values))
        + page.details("Versions", page.table(["package", "version"], versions))
    )


# --- Parts ----------------------------------------------------------------------------


def _by_class(run: Run) -> list[str]:
    classes = run.summary.get("classes")
    if not classes:
        return []
    series = {
        name: percents(classes[key]["mean"])
        for key, name in (("distilled", SET), ("random", RANDOM))
    }
    caption = "Accuracy class by class, mean over networks."
    return [drawings.bars(run.class_names, series, "accuracy %", caption)]


def _by_decile(run: Run) -> list[str]:
    if run.difficulty is None or not len(run.difficulty.deciles):
        return []
    caption = (
        "Accuracy of networks on the set, by tenths of the test samples from the "
        f"easiest to the hardest for {KINDS.get(run.difficulty.kinds[0], '')}."
    )
    tenths = [str(i) for i in range(1, 11)]
    return [drawings.bars(tenths, {SET: run.difficulty.deciles}, "accuracy %", caption)]


def _class_table(run: Run) -> str:
    classes = run.summary.get("classes")
    if not classes:
        return ""
    rows = []
    for k, name in enumerate(run.class_names):
        cells = [
            accuracy_text(
                {"mean": classes[key]["mean"][k], "std": classes[key]["std"][k]}
            )
            for key in ("distilled", "random")
        ]
        rows.append([name, *cells, str(classes["samples"][k])])
    header = ["class", f"{SET} %", f"{RANDOM} %", "test samples"]
    return page.details("Accuracy class by class", page.table(header, rows))


def _kinds(run: Run) -> dict[str, str]:
    """{kind of networks: what the names of its numbers end with}, the first first."""
    change = run.summary["difficulty"]
    others = [x.removeprefix("percentile_") for x in change["end"]
              if x.startswith("percentile_")]  # fmt: skip
    return {first_kind(run): "", **{kind: f"_{kind}" for kind in others}}


def _seconds(value: float | None) -> str:
    return number(value, " s")
