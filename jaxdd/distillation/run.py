"""Distil, or continue, or report what is finished."""

import dataclasses
import functools
import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxdd import report
from jaxdd.artifact import file as artifacts
from jaxdd.augment import training as check_augmentation
from jaxdd.data import check_ipc
from jaxdd.data.problem import Problem
from jaxdd.devices.timing import Stopwatch
from jaxdd.distillation import banks, options, resolution, segmented, sorting
from jaxdd.distillation import memory as least
from jaxdd.distillation.finished import AGAIN, SUMMARY, as_it_lies, unfinished
from jaxdd.distillation.job import Job, describe_mask
from jaxdd.distillation.options import Config
from jaxdd.distillation.starts import open_start
from jaxdd.errors import UserError
from jaxdd.evaluation.hits import Hits
from jaxdd.evaluation.protocol import Judge, Measured
from jaxdd.experts import Bank
from jaxdd.methods import build as methods
from jaxdd.methods import presets
from jaxdd.methods.network import network_for
from jaxdd.progress import Stage as Bar
from jaxdd.progress import say
from jaxdd.report.pictures import draw
from jaxdd.running.resume import refuse_fewer_steps
from jaxdd.scores.probes import Probes
from jaxdd.storage import provenance, records
from jaxdd.storage.files import atomic_file, set_aside, to_json, write_atomically
from jaxdd.storage.paths import shown
from jaxdd.storage.workdir import Record, owned, write_lines
from jaxdd.synthetic import decoder as decoders
from jaxdd.synthetic.initial import INITIALS
from jaxdd.types import Network, RealData, Synthetic


def run(config: Config, problem: Problem | None = None) -> dict[str, Any]:
    """Distil, or continue, or report what is finished.

    Args:
        config: the flags.
        problem: the data, where it is in memory already; by default it is read.

    Returns:
        The content of `summary.json`.

    Raises:
        UserError: bad input, named.
        signals.Interrupted: a signal stopped the run; its state is saved.
    """
    opened = open_run(config, problem)
    values = opened.values
    with owned(config.workdir) as folder:
        record = opened.record(folder)
        segmented.refuse_other_steps(folder, values)
        sorting.refuse_other_scores(opened.problem, values, folder)
        summary = folder / "summary.json"
        if summary.exists():
            known = records.read_json(summary, SUMMARY, AGAIN)
            refuse_fewer_steps(folder, known["config"]["steps"], values["steps"])
            change = unfinished(folder, known, values)
            if change is None:
                say(f"{shown(folder)} is finished: nothing to do")
                return as_it_lies(known, folder)
            say(f"{shown(folder)} is finished, but {change}")
        job = opened.job(folder)  # the last that may refuse
        record.save()
        set_aside(summary)
        return as_it_lies(_distil(job, folder, record, opened.differences), folder)


@dataclass(frozen=True)
class Opened:
    """A run whose flags are checked and of which nothing is written yet.

    Attributes:
        told: what the window and the mask leave out, and what is begun at.
        differences: between the experts given and the method's own.
        start: the set to begin at, where --init names one.
    """

    problem: Problem
    values: dict[str, Any]
    network: Network
    given: Bank | None
    told: list[str]
    differences: list[str]
    start: artifacts.Artifact | None = None

    def record(self, folder: Path, kind: type[Record] = Record) -> Record:
        """What the folder knows of the run, compared by all that alters a step."""
        same = functools.partial(resolution.identity, problem=self.problem)
        return kind(folder, self.values, identity=same)

    def job(self, folder: Path) -> Job:
        """Sort the data and make experts where that is needed, in the run's folder."""
        for sentence in [*self.told, *(f"warning: {x}" for x in self.differences)]:
            say(sentence)
        job = _prepare(self.problem, self.values, self.network, folder, self.given)
        job.start = self.start
        return job


def open_run(config: Config, problem: Problem | None = None) -> Opened:
    """Check the flags against the data; see `run` for the arguments and errors."""
    options.check(config)
    if problem is None:
        problem = resolution.open_data(config)
    # Comparisons open one dataset for several methods.
    problem = problem.scaled(resolution.scaling_of(config, problem.dataset.name))
    dataset = problem.dataset
    check_ipc(problem.splits.train.labels, dataset.num_classes, config.ipc)
    given = None if config.experts is None else Bank.open(config.experts)
    manifest = None if given is None else given.manifest
    values = resolution.resolve(config, problem, manifest)
    network = network_for(dataset, values["network"])
    least.check(least.distillation(problem, network, values))
    _check_method(network, values)
    formation = methods.formation_of(resolution.settings_of(values))
    formation.check(*dataset.image_shape[:2])
    differences = _check_bank(given, problem, network, values)
    told = _left_out(problem, values, network, given)
    start = None
    if config.init not in (None, *INITIALS):
        start, sentences = open_start(config.init, problem, values)
        told += sentences
        _begin_at(start, config, values)
    return Opened(problem, values, network, given, told, differences, start)


def _begin_at(
    start: artifacts.Artifact, config: Config, values: dict[str, Any]
) -> None:
    """The values of a run that begins at a set: what is in it, not where it is."""
    values["init"] = f"set {start.digest}"
    learned = values["bank"] is not None and start.step_size is not None
    if learned and config.step_size is None:
        values["step_size"] = start.step_size


def _check_method(network: Network, values: dict[str, Any]) -> None:
    """Refuse settings that do not fit together before anything is written."""
    settings = resolution.settings_of(values)
    methods.build(network, settings, None, experts=1, pixels=decoders.INPUT)
    mask = methods.mask_of(settings)
    if mask is not None and settings.tensors == "kernels":
        params, _ = jax.eval_shape(network.init, jax.random.key(0))
        jax.eval_shape(mask, params)
    check_augmentation(values["eval_augmentation"])
    presets.evaluation_training(1, schedule=values["eval_schedule"])
    if settings.sdc_weight and settings.sdc_at == "path" and values["bank"] is None:
        raise UserError(
            "--sdc_at=path needs a method that matches trajectories: use start"
        )


def _check_bank(
    bank: Bank | None, problem: Problem, network: Network, values: dict[str, Any]
) -> list[str]:
    """Differences between the experts given and this method's own."""
    if values["bank"] is None:
        return []
    wanted = banks.manifest_of(problem, network, values)
    if bank is None:
        # As if it were given: the run may go on with --experts=WORKDIR/experts.
        values["bank"]["manifest"] = replace(wanted, complete=True).digest
        return []
    return bank.check(wanted, banks.needed_epochs(resolution.settings_of(values)))


def _left_out(
    problem: Problem, values: dict[str, Any], network: Network, given: Bank | None
) -> list[str]:
    """What the window and the mask leave out, and a refusal where that is nothing."""
    # What the experts of a given bank saw is the bank's affair.
    window = sorting.foretell(problem, values) if given is None else None
    shape = problem.dataset.image_shape
    mask = describe_mask(network, resolution.settings_of(values), shape)
    return [sentence for sentence in (window, mask) if sentence is not None]


def _prepare(
    problem: Problem,
    values: dict[str, Any],
    network: Network,
    folder: Path,
    given: Bank | None,
) -> Job:
    """Sort the data, and make the experts where none were given."""
    if given is not None:
        real: RealData = problem.on_device(problem.splits.train)
        return Job(problem, values, network, real, given)
    real = sorting.sorted_real(problem, network, values, folder)
    bank = None
    if values["bank"] is not None:
        bank = _own_bank(problem, values, network, folder, real)
    return Job(problem, values, network, real, bank)


def _own_bank(
    problem: Problem,
    values: dict[str, Any],
    network: Network,
    folder: Path,
    real: RealData,
) -> Bank:
    """The bank in WORKDIR/experts, made now or before."""
    manifest = banks.manifest_of(problem, network, values)
    target = folder / "experts"
    if Bank.is_finished(target):
        return Bank.open(target)
    with owned(target):
        return banks.make(target, manifest, problem, network, real)


def _distil(
    job: Job, folder: Path, record: Record, differences: list[str]
) -> dict[str, Any]:
    values, problem = job.values, job.problem
    say(
        f"data: {len(problem.splits.train.labels)} training images of "
        f"{problem.dataset.num_classes} classes; training {values['probes']} probe "
        "networks"
    )
    probes = Probes(
        job.network,
        job.inputs.full,
        values["seed"],
        values["probes"],
        values["probe_steps"],
    )
    made = segmented.distil(job, probes, folder, record)
    timings = _timings(made.timings, record)
    synthetic = job.decode(made.stored)
    difficulty = {
        "start": probes.measure(job.decode(made.first)),
        "end": probes.measure(synthetic),
    }
    # The set can be had now; how good it is comes later.
    artifact = _artifact(job, made.stored, {}, made.step)
    artifacts.save(artifact, folder / "distilled.npz")
    pictures = artifact.displayable()
    draw(report.image_grid, pictures, artifact.class_names, folder / "images.png")
    if made.segments:
        write_lines(folder / "metrics.jsonl", made.metrics)
    _plot(made.metrics, folder)
    say(f"{shown(folder)}/distilled.npz and images.png: the set; its accuracy follows")
    kept = Hits(folder / "evaluation.part.npz", _digest(job, synthetic))
    with Stopwatch() as watch:
        measured = _judge(job, synthetic, kept)
    with atomic_file(folder / "evaluation.npz", "wb") as file:
        np.savez_compressed(file, right=measured.hits, ids=measured.ids)
    artifact = replace(artifact, measured=measured.accuracies)
    artifacts.save(artifact, folder / "distilled.npz")
    summary = {
        **measured.accuracies,
        "classes": {"names": list(job.problem.dataset.class_names), **measured.classes},
        "difficulty": difficulty,
        "resumed_at": record.resumed_at,
        "selected_step": made.step,
        "step_size": artifact.step_size,
        "segments": made.segments,
        "warnings": differences,
        **timings,
        "evaluation_seconds": kept.seconds + watch.total_seconds,
        "evaluation_compile_seconds": watch.compile_seconds,
        "config": values,
        "seed": values["seed"],
        "versions": provenance.versions(),
        "device": provenance.device(),
    }
    # Written last: its presence says that the run is finished.
    write_atomically(folder / "summary.json", to_json(summary))
    kept.remove()
    return records.read_json(folder / "summary.json", SUMMARY, AGAIN)


def _timings(now: dict[str, float], record: Record) -> dict[str, float]:
    """Of the start that took the last step: this one, or one that was recorded."""
    if now["seconds_per_step"] == 0 and record.timings is not None:
        return record.timings
    record.timings = now
    record.save()
    return now


def _digest(job: Job, synthetic: Synthetic) -> str:
    """What decides about the result of a network of the evaluation."""
    problem, digest = job.problem, hashlib.sha256()
    protocol = job.protocol(job.values["num_eval"], float(synthetic.step_size))
    about = problem.dataset.fingerprint, dataclasses.asdict(protocol)
    digest.update(json.dumps(about).encode())
    for array in (
        *jax.tree.leaves(synthetic),
        problem.splits.train.ids,
        *(x for _, x in sorted(problem.preprocess.to_arrays().items())),
    ):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _plot(metrics: list[dict[str, Any]], folder: Path) -> None:
    """`loss.png` and `difficulty.png`: how they went along the run."""
    for name, key, label in (
        ("loss", "match", "matching loss"),
        ("difficulty", "difficulty_percentile", "GraDN percentile among real samples"),
    ):
        lines = [x for x in metrics if x.get(key) is not None]
        if lines:
            curve = [x["step"] for x in lines], [x[key] for x in lines]
            path = folder / f"{name}.png"
            draw(report.curves, {"synthetic set": curve}, path, "step", label)


def _judge(job: Job, synthetic: Synthetic, kept: Hits) -> Measured:
    """Accuracy on the test split: the only place where a run reads it."""
    protocol = job.protocol(job.values["num_eval"], float(synthetic.step_size))
    say(
        f"evaluating: {protocol.num_eval} fresh networks, "
        f"{protocol.training.epochs} epochs each, and {protocol.num_random} more on "
        "random subsets"
    )
    judge = Judge(job.problem, protocol, job.problem.splits.test)
    total = protocol.num_eval + protocol.num_random
    writes = f"{kept.path}, and evaluation.npz at the end"
    with Bar("evaluation", total, writes, "network") as bar:
        return judge.beside_random(
            synthetic, job.inputs.full, job.values["ipc"], kept, bar.count
        )


def _artifact(
    job: Job, synthetic: Synthetic, measured: dict, step: int
) -> artifacts.Artifact:
    values, dataset = job.values, job.problem.dataset
    step_size = None if job.bank is None else float(synthetic.step_size)
    protocol = job.protocol(values["num_eval"], step_size)
    formation = methods.formation_of(job.settings).evaluated()
    return artifacts.Artifact(
        images=np.asarray(synthetic.images),
        labels=np.asarray(synthetic.labels),
        step_size=step_size,
        preprocess=job.problem.preprocess,
        class_names=dataset.class_names,
        dataset={
            "name": values["dataset"],
            "fingerprint": dataset.fingerprint,
            "validation": values["validation"],
            "split_seed": values["split_seed"],
            # What images were turned into, where it was asked for.
            **{
                k: values[k]
                for k in ("channels", "image_size")
                if values[k] is not None
            },
        },
        network=values["network"],
        factor=formation.factor,
        formation=formation.kind,
        space=job.settings.space,
        augmentation=protocol.augmentation,
        training=protocol.training,
        measured=measured,
        provenance={
            "config": values,
            "seed": values["seed"],
            "steps": step,
            "versions": provenance.versions(),
            "device": provenance.device(),
        },
    )
