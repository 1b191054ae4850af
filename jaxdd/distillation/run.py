"""A run from opened choices to a finished set: distilled, measured, written."""

import contextlib
import dataclasses
import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxdd import report
from jaxdd.artifact import file as artifacts
from jaxdd.artifact.artifact import Artifact
from jaxdd.artifact.csv_file import write_csv
from jaxdd.data.problem import Problem
from jaxdd.devices import memory
from jaxdd.devices.timing import Stopwatch
from jaxdd.distillation import reporting, sample_difficulty, segmented, sorting
from jaxdd.distillation.finished import AGAIN, SUMMARY, as_it_lies, unfinished
from jaxdd.distillation.job import Job
from jaxdd.distillation.opening import Opened, open_run
from jaxdd.distillation.options import Flags, given
from jaxdd.distillation.place import Place
from jaxdd.distillation.reporting import write_report
from jaxdd.distillation.sample_difficulty import SampleDifficulty, gather
from jaxdd.distillation.storing import artifact_of
from jaxdd.errors import UserError
from jaxdd.evaluation.hits import Hits
from jaxdd.evaluation.protocol import Judge, Measured, Protocol
from jaxdd.progress import Pictures, Stage, say
from jaxdd.report import tensorboard
from jaxdd.report.pictures import draw
from jaxdd.running.loop import Program
from jaxdd.running.resume import refuse_fewer_steps
from jaxdd.scores.probes import Probes, Seen
from jaxdd.storage import provenance, records
from jaxdd.storage.files import atomic_file, set_aside, to_json, write_atomically
from jaxdd.storage.lock import owned
from jaxdd.storage.metrics import read_metrics, write_lines
from jaxdd.storage.paths import shown
from jaxdd.storage.signals import left_alone
from jaxdd.storage.workdir import RUN, Record
from jaxdd.types import Synthetic


@dataclass(frozen=True)
class Outcome:
    """A finished run.

    Attributes:
        artifact: the set, with what was measured.
        metrics: the lines of `metrics.jsonl`.
        summary: the content of `summary.json`.
        program: the method and its compiled loop; None where the run was finished
            before.
    """

    artifact: Artifact
    metrics: list[dict[str, Any]]
    summary: dict[str, Any]
    program: Program | None = None


def run(config: Flags, problem: Problem | None = None) -> dict[str, Any]:
    """Distil by flags, or continue, or report what is finished.

    Args:
        config: the flags.
        problem: the data, where they are in memory already; by default they are read.

    Returns:
        The content of `summary.json`.

    Raises:
        UserError: bad input, named.
        signals.Interrupted: a signal stopped the run; its state is saved.
    """
    opened = open_run(config.method, given(config), problem)
    return run_in(config.workdir, opened).summary


def run_in(workdir: str | Path, opened: Opened, given: str | None = None) -> Outcome:
    """Distil in a folder, or continue, or read what is finished.

    Args:
        workdir: the folder.
        opened: the run.
        given: the folder as the user wrote it, where that is another path; the files of
            the run call it so.
    """
    resolved = opened.resolved
    wanted = resolved.records.tensorboard
    with owned(workdir) as folder, tensorboard.recording(folder, wanted):
        place = Place(folder, given=given)
        if not (folder / RUN).exists():
            _refuse_foreign(folder)
        record = opened.record(folder, place.name)
        segmented.refuse_other_steps(folder, resolved)
        sorting.refuse_other_scores(opened.problem, resolved, folder)
        summary = folder / "summary.json"
        if summary.exists():
            known = records.read_json(summary, SUMMARY, AGAIN)
            refuse_fewer_steps(folder, known["config"]["steps"], resolved.length.steps)
            change = unfinished(folder, known, resolved.values(place.name))
            if change is None:
                say(f"{shown(folder)} is finished: nothing to do")
                outcome = _finished(folder, known)
                if wanted:
                    made = outcome.artifact
                    last = known["config"]["steps"], made.class_names
                    pictures = Pictures(resolved.method, *last, made.displayable)
                    tensorboard.catch_up(folder, outcome.metrics, pictures)
                return outcome
            say(f"{shown(folder)} is finished, but {change}")
        _refuse_folders(folder)
        job = opened.job(place)  # the last that may refuse
        record.save()
        set_aside(summary)
        outcome = distil(job, place, record, opened)
        return replace(outcome, summary=as_it_lies(outcome.summary, folder))


# Files that a run writes; in a folder where none has begun they are somebody else's.
RESULTS = (
    "distilled.npz", "images.png", "samples.csv", "metrics.jsonl", "evaluation.npz",
    "evaluation.part.npz", "difficulty.npz", "difficulty.png", reporting.FILE,
)  # fmt: skip


def _refuse_foreign(folder: Path) -> None:
    """Refuse a folder without a run in which files have the names of its results."""
    for path in (folder / name for name in RESULTS):
        if path.exists() and not path.is_dir():
            raise UserError(
                f"{shown(path)} is there, and no run of this folder wrote it: move it "
                "away or choose another --workdir"
            )


def _refuse_folders(folder: Path) -> None:
    """Refuse a workdir in which folders have the names of files that a run writes."""
    for path in (folder / name for name in RESULTS):
        if path.is_dir():
            raise UserError(
                f"{shown(path)} is a folder, and a run writes a file there: move it "
                "away or choose another --workdir"
            )


def _finished(folder: Path, known: dict[str, Any]) -> Outcome:
    """What a finished run left."""
    artifact = artifacts.load(folder / "distilled.npz")
    return Outcome(artifact, read_metrics(folder), as_it_lies(known, folder))


def run_in_memory(opened: Opened) -> Outcome:
    """Distil without a folder: nothing is kept but what is returned.

    The experts of a trajectory method are read from disk: they lie in a temporary
    folder for as long as the run takes.

    Raises:
        UserError: files are asked for.
    """
    if opened.resolved.records.tensorboard:
        raise UserError(
            "tensorboard=True writes into the workdir, and this run has none: give "
            "workdir= too"
        )
    with left_alone(), _scratch(opened.resolved.bank is not None) as scratch:
        place = Place(None, scratch)
        return distil(opened.job(place), place, None, opened)


@contextlib.contextmanager
def _scratch(needed: bool) -> Iterator[Path | None]:
    if not needed:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="jaxdd-") as folder:
        yield Path(folder)


def distil(job: Job, place: Place, record: Record | None, opened: Opened) -> Outcome:
    """Distil and measure, or go on with it.

    Args:
        job: the method, its data and its protocol.
        place: where files go, if anywhere.
        record: of the folder, None without one.
        opened: how the run was started.
    """
    problem, chosen = job.problem, job.resolved.records
    validation = problem.splits.validation
    rest = ""
    if validation is not None:
        rest = f" ({len(validation.labels)} held out: --validation=0 takes them too)"
    say(
        f"data: {len(problem.splits.train.labels)} training images of "
        f"{problem.dataset.num_classes} classes{rest}; training {chosen.probes} probe "
        "networks"
    )
    seed = job.resolved.task.seed
    probes = Probes(
        job.network, job.inputs.full, seed, chosen.probes, chosen.probe_steps,
        chosen.kinds,
    )  # fmt: skip
    made = segmented.distil(job, probes, place, record)
    timings = _timings(made.timings, record)
    synthetic = job.decode(made.stored)
    begun = probes.measure(job.measurable(job.decode(made.first)))
    seen = probes.look(job.measurable(synthetic))
    difficulty = {"start": begun, "end": probes.summary(seen)}
    protocol = job.protocol(job.resolved.evaluation.networks, job.learned(synthetic))
    artifact = artifact_of(
        problem, job.resolved, protocol, made.stored, made.step, job.workdir
    )
    if place.folder is not None:
        _write_set(artifact, made, place.folder)
    measured, watch, kept = _measure(job, synthetic, protocol, place.folder)
    artifact = replace(artifact, measured=measured.accuracies)
    summary = {
        **measured.accuracies,
        "classes": {"names": list(problem.dataset.class_names), **measured.classes},
        "difficulty": difficulty,
        "resumed_at": [] if record is None else record.resumed_at,
        "selected_step": made.step,
        "step_size": artifact.step_size,
        "segments": made.segments,
        "warnings": opened.differences,
        **timings,
        "evaluation_seconds": kept.seconds + watch.total_seconds,
        "evaluation_compile_seconds": watch.compile_seconds,
        "peak_mb": _megabytes(memory.peak()),
        "command": opened.command(job.workdir),
        "config": artifact.provenance["config"],
        "seed": seed,
        "versions": provenance.versions(),
        "device": provenance.device(),
    }
    if place.folder is not None:
        samples = _write_difficulty(probes, seen, problem, place.folder)
        summary = _write_results(
            artifact, measured, summary, made.metrics, samples, place.folder
        )
        kept.remove()
    return Outcome(artifact, made.metrics, summary, job.program)


def _megabytes(size: int | None) -> float | None:
    return None if size is None else round(size / 1e6, 1)


def _timings(now: dict[str, float], record: Record | None) -> dict[str, float]:
    """Of the start that took the last step: this one, or one that was recorded."""
    if record is None:
        return now
    if now["seconds_per_step"] == 0 and record.timings is not None:
        return record.timings
    record.timings = now
    record.save()
    return now


def _measure(
    job: Job, synthetic: Synthetic, protocol: Protocol, folder: Path | None
) -> tuple[Measured, Stopwatch, Hits]:
    """Accuracy on the test split. Besides, a run only shows it in its report."""
    is_hard = job.recipe.labels.name == "hard"
    labels = "" if is_hard else " (with hard labels, the set's are soft)"
    say(
        f"evaluating: {protocol.num_eval} fresh networks, and {protocol.num_random} "
        f"more on random subsets{labels}; {protocol.in_words()}"
    )
    path = None if folder is None else folder / "evaluation.part.npz"
    kept = Hits(path, _digest(job.problem, synthetic, protocol))
    judge = Judge(job.problem, protocol, job.problem.splits.test)
    total = protocol.num_eval + protocol.num_random
    writes = "" if path is None else f"{path}, and evaluation.npz at the end"
    ipc = job.resolved.task.ipc
    with Stopwatch() as watch, Stage("evaluation", total, writes, "network") as bar:
        measured = judge.beside_random(synthetic, job.inputs.full, ipc, kept, bar.count)
    return measured, watch, kept


def _digest(problem: Problem, synthetic: Synthetic, protocol: Protocol) -> str:
    """What decides about the result of a network of the evaluation."""
    digest = hashlib.sha256()
    about = problem.dataset.fingerprint, dataclasses.asdict(protocol)
    digest.update(json.dumps(about).encode())
    for array in (
        *jax.tree.leaves(synthetic),
        problem.splits.train.ids,
        *(x for _, x in sorted(problem.preprocess.to_arrays().items())),
    ):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


# --- Files ----------------------------------------------------------------------------


def _write_set(artifact: Artifact, made: segmented.Made, folder: Path) -> None:
    """The set, its picture and its curves: how good it is comes later."""
    artifacts.save(artifact, folder / "distilled.npz")
    pictures = artifact.displayable()
    draw(report.image_grid, pictures, artifact.class_names, folder / "images.png")
    if not artifact.modality.pixels:
        write_csv(artifact, folder / "samples.csv")
    if made.segments:
        write_lines(folder / "metrics.jsonl", made.metrics)
    for name, key, label in (
        ("loss", "match", "matching loss"),
        ("difficulty", "difficulty_percentile", "GraDN percentile among real samples"),
    ):
        lines = [x for x in made.metrics if x.get(key) is not None]
        if lines:
            curve = [x["step"] for x in lines], [x[key] for x in lines]
            path = folder / f"{name}.png"
            draw(report.curves, {"synthetic set": curve}, path, "step", label)
    say(f"{shown(folder)}/distilled.npz and images.png: the set; its accuracy follows")


def _write_difficulty(
    probes: Probes, seen: Mapping[str, Seen], problem: Problem, folder: Path
) -> SampleDifficulty | None:
    """The difficulty of single samples, which a run can do without."""
    if not seen:
        return None
    samples = draw(gather, probes, seen, problem)
    if samples is not None:
        sample_difficulty.write(samples, folder)
    return samples


def _write_results(
    artifact: Artifact,
    measured: Measured,
    summary: dict[str, Any],
    metrics: list[dict[str, Any]],
    samples: SampleDifficulty | None,
    folder: Path,
) -> dict[str, Any]:
    """The measured set, its report and its summary, which is written last: it says that
    the run is finished."""
    with atomic_file(folder / "evaluation.npz", "wb") as file:
        np.savez_compressed(file, right=measured.hits, ids=measured.ids)
    artifacts.save(artifact, folder / "distilled.npz")
    text = to_json(summary)
    draw(
        write_report, folder / reporting.FILE, artifact, json.loads(text), metrics,
        samples, measured.hits, measured.ids,
    )  # fmt: skip
    write_atomically(folder / "summary.json", text)
    return records.read_json(folder / "summary.json", SUMMARY, AGAIN)
