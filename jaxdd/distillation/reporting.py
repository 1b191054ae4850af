"""The report of a run: `report.html`, from what a run has or from its folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxdd.artifact import file as artifacts
from jaxdd.artifact.artifact import Artifact
from jaxdd.artifact.schema import STATISTICS
from jaxdd.distillation import sample_difficulty
from jaxdd.distillation.finished import SUMMARY, as_it_lies
from jaxdd.distillation.sample_difficulty import SampleDifficulty
from jaxdd.errors import NotWritten, UserError
from jaxdd.methods.recipes import spelled
from jaxdd.report.run_page import run_page
from jaxdd.report.run_values import DifficultyPart, Run
from jaxdd.storage import records
from jaxdd.storage.arrays import Member, read_arrays
from jaxdd.storage.files import write_atomically
from jaxdd.storage.metrics import read_metrics
from jaxdd.storage.paths import existing_folder, shown

FILE = "report.html"
TENTHS = 10
_KIND = "distillation"
_RECORD = records.mapping(optional={"kind": records.text(100)})
_REMEDY = "start the run's command again, which makes what is not there"

_LIST = records.list_of(records.maybe(records.number(0, 100)))
_CLASSES = records.mapping(balanced=STATISTICS, mean=_LIST, std=_LIST)
# What a page reads beside what every summary is checked for.
_DIFFICULTY = records.mapping(others=records.maybe(records.number(0)))
_REPORTED = records.mapping(
    difficulty=records.mapping(start=_DIFFICULTY, end=_DIFFICULTY),
    optional={
        "classes": records.mapping(
            names=records.list_of(records.text()),
            samples=records.list_of(records.integer()),
            distilled=_CLASSES,
            random=_CLASSES,
        ),
        "command": records.text(10**5),
        "device": records.text(),
        "versions": records.mapping(others=records.text()),
        "warnings": records.list_of(records.text()),
    },
)
_HITS = {
    "right": Member("b", 2, 2**31, repetitive=True),
    "ids": Member("i", 1, 2**28),
}


def content_of(
    artifact: Artifact,
    summary: Mapping[str, Any],
    metrics: Sequence[Mapping[str, Any]],
    workdir: str,
    samples: SampleDifficulty | None = None,
    right: np.ndarray | None = None,
    ids: np.ndarray | None = None,
    remarks: Sequence[str] = (),
) -> Run:
    """A finished run as its page shows it.

    Args:
        artifact: the set.
        summary: content of `summary.json`.
        metrics: lines of `metrics.jsonl`.
        workdir: its folder, as text.
        samples: difficulty of samples, where it was kept.
        right: [E, M], where networks on the set are right about test samples.
        ids: [M] of these samples, increasing.
        remarks: sentences about what is lacking.
    """
    difficulty = None
    if samples is not None:
        known = right is not None and ids is not None
        difficulty = DifficultyPart(
            samples.kinds,
            samples.of_set,
            samples.of_real,
            samples.extremes,
            samples.classes,
            samples.hard,
            tenths(samples, right, ids) if known else (),  # type: ignore[arg-type]
        )
    return Run(
        title=title_of(summary["config"], _NOUNS[artifact.modality.name]),
        command=summary.get("command"),
        workdir=workdir,
        images=artifact.displayable(),
        columns=artifact.columns,
        summary=summary,
        metrics=metrics,
        difficulty=difficulty,
        remarks=remarks,
    )


_NOUNS = {"images": "image", "sequences": "sequence", "vectors": "row"}


def title_of(config: Mapping[str, Any], noun: str = "image") -> str:
    """The heading of a run's page.

    Example:
        >>> title_of({"method": "dsa", "dataset": "digits", "ipc": 1, "sdc_weight": 1})
        'DSA with SDC on digits, 1 image per class'
    """
    name = spelled(str(config.get("method", "distilled")))
    modifiers = {
        "SDC": config.get("sdc_weight"),
        "a mask": config.get("mask", "none") != "none",
        f"{config.get('segments')} segments": config.get("segments", 1) != 1,
    }
    used = [modifier for modifier, is_used in modifiers.items() if is_used]
    extra = f" with {' and '.join(used)}" if used else ""
    ipc = config.get("ipc")
    images = f"{ipc} {noun}{'' if ipc == 1 else 's'} per class"
    return f"{name}{extra} on {config.get('dataset')}, {images}"


def tenths(
    samples: SampleDifficulty, right: np.ndarray, ids: np.ndarray
) -> list[float]:
    """Accuracy by tenths of the test samples whose difficulty is known.

    Args:
        samples: with T test samples.
        right: [E, M], where networks are right.
        ids: [M] of all test samples, increasing.

    Returns:
        Ten accuracies in percent, from the easiest tenth to the hardest; none where
        there are fewer than ten samples, or samples of another split.
    """
    if len(samples.test_ids) < TENTHS or not len(ids):
        return []
    places = np.searchsorted(ids, samples.test_ids)
    if (places >= len(ids)).any() or (ids[places] != samples.test_ids).any():
        return []
    order = places[np.argsort(samples.of_test, kind="stable")]
    by_sample = right.mean(axis=0)[order]
    return [float(100 * x.mean()) for x in np.array_split(by_sample, TENTHS)]


def write_report(
    path: Path,
    artifact: Artifact,
    summary: Mapping[str, Any],
    metrics: Sequence[Mapping[str, Any]],
    samples: SampleDifficulty | None,
    right: np.ndarray,
    ids: np.ndarray,
) -> None:
    """Write the report of a run that has just been finished; see `content_of`.

    Raises:
        NotWritten: the disk refuses.
    """
    run = content_of(artifact, summary, metrics, str(path.parent), samples, right, ids)
    write_page(path, run_page(run))


def write_page(path: Path, page: str) -> None:
    """Write a page atomically.

    Raises:
        NotWritten: the disk refuses.
    """
    try:
        write_atomically(path, page)
    except UserError as error:
        raise NotWritten(str(error)) from error


def read(workdir: str | Path, what: str = "--workdirs") -> Run:
    """A finished run as its page shows it, from its folder.

    What a page can do without is left out with a remark where it is damaged.

    Args:
        workdir: the folder.
        what: name of the path in messages.

    Raises:
        UserError: the folder is missing, holds no finished distillation, or one that is
            damaged.
    """
    remedy = "give the workdirs of finished runs of experiments.distill"
    folder = existing_folder(workdir, what, remedy)
    path, record = folder / "summary.json", folder / "run.json"
    if record.exists():
        kind = records.read_json(record, _RECORD, _REMEDY).get("kind", _KIND)
        if kind != _KIND:
            raise UserError(
                f"{what} {shown(folder)} holds another experiment ({shown(kind)}), "
                f"which writes a report of its own: {remedy}"
            )
    if not path.exists():
        begun = record.exists()
        state = "holds a run that is not finished" if begun else "holds no run"
        raise UserError(f"{what} {shown(folder)} {state}: {remedy}")
    if not (folder / "distilled.npz").exists():
        raise UserError(
            f"{what} {shown(folder)} has a summary, but no distilled.npz: {remedy}"
        )
    summary = records.read_json(path, SUMMARY, _REMEDY)
    records.read_json(path, _REPORTED, _REMEDY)
    artifact = artifacts.load(folder / "distilled.npz")
    classes = len(artifact.images)
    _check_classes(summary, classes, path)
    remarks: list[str] = []
    samples, right, ids = None, None, None
    try:
        if (folder / sample_difficulty.FILE).exists():
            samples = sample_difficulty.read(folder, classes)
    except UserError as error:
        remarks.append(str(error))
    try:
        arrays = read_arrays(folder / "evaluation.npz", _HITS, _REMEDY)
        if arrays["right"].shape[1] == len(arrays["ids"]) > 0 < len(arrays["right"]):
            right, ids = arrays["right"], arrays["ids"]
    except UserError as error:
        remarks.append(str(error))
    return content_of(
        artifact, as_it_lies(summary, folder), read_metrics(folder), str(folder),
        samples, right, ids, remarks,
    )  # fmt: skip


def _check_classes(summary: Mapping[str, Any], count: int, path: Path) -> None:
    """Refuse a summary of another number of classes than its set has."""
    classes = summary.get("classes")
    if classes is None:
        return
    lists = [classes["names"], classes["samples"]]
    lists += [
        classes[key][x] for key in ("distilled", "random") for x in ("mean", "std")
    ]
    if any(len(x) != count for x in lists):
        raise UserError(
            f"cannot use {shown(path)}: its classes are not the {count} of "
            f"distilled.npz; {_REMEDY}"
        )
