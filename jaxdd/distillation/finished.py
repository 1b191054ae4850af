"""A finished distillation: its summary, and whether it is what is asked for now."""

from pathlib import Path
from typing import Any

from jaxdd.artifact import file as artifacts
from jaxdd.artifact.schema import STATISTICS
from jaxdd.distillation.choices import Run
from jaxdd.distillation.identity import RESULT
from jaxdd.errors import UserError, quoted
from jaxdd.fields import stored
from jaxdd.storage import records

# What is not finite is null in JSON.
_DIFFICULTY = records.mapping(
    grad_norm=records.maybe(records.number(0)),
    percentile=records.maybe(records.number(0, 100)),
)
_SEGMENT = records.mapping(
    size=records.integer(1),
    kept=records.list_of(records.integer()),
    right=records.number(0, 1),
    forgotten=records.number(0, 1),
)
SUMMARY = records.mapping(
    config=records.mapping(steps=records.integer(0), workdir=records.text()),
    distilled=STATISTICS,
    random=STATISTICS,
    difficulty=records.mapping(start=_DIFFICULTY, end=_DIFFICULTY),
    resumed_at=records.list_of(records.integer()),
    segments=records.list_of(_SEGMENT),
    seconds=records.number(0),
    seconds_per_step=records.number(0),
    compile_seconds=records.number(0),
    optional={
        "evaluation_seconds": records.number(0),
        "evaluation_compile_seconds": records.number(0),
        "peak_mb": records.maybe(records.number(0)),
    },
)
AGAIN = (
    "remove it and start the same command, which takes it up from the last checkpoint"
)


def unfinished(
    folder: Path, known: dict[str, Any], values: dict[str, Any]
) -> str | None:
    """Why a run with a summary is not what is asked for now, None where it is.

    The folder is believed, not the summary: a set that is not there is made again.
    """
    then = known["config"]
    if then["steps"] != values["steps"]:
        return f"{values['steps']} steps are more than {then['steps']}: going on"
    # What an earlier version did not have stands for its default.
    before = {**stored(Run, then), **then}
    changes = [
        f"{name} was {quoted(before.get(name))} and is {quoted(values[name])}"
        for name in RESULT
        if before.get(name) != values[name]
    ]
    if changes:
        return f"{', '.join(changes)}: evaluating again"
    for name in ("distilled.npz", "evaluation.npz"):
        if not (folder / name).is_file():
            return f"{name} is not there: making it again"
    try:
        measured = artifacts.load(folder / "distilled.npz").measured
    except UserError as error:
        return f"{error}; making it again"
    if any(measured.get(name) != known[name] for name in ("distilled", "random")):
        return "distilled.npz is not what the summary tells of: making it again"
    return None


def as_it_lies(summary: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The summary of a run that may have been moved, with the folder it lies in now."""
    return {**summary, "config": {**summary["config"], "workdir": str(folder)}}
