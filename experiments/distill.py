"""Distil a dataset into a few synthetic images per class.

    python -m experiments.distill --dataset=digits --method=dsa --ipc=1 \\
        --sdc_weight=1 --seed=0 --workdir=runs/digits

About 30 s on two CPU cores. Flags that are not given come from the published preset of
the method, dataset and ipc (`jaxdd/presets.py`). The same command continues a stopped
run; a larger --steps goes on from where it ended.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments import banks, options, resolution, segmented, sorting
from experiments.flags import main
from experiments.job import Job, describe_mask
from experiments.options import Config
from experiments.plans import least
from experiments.probes import Probes
from experiments.problem import Problem, network_for
from experiments.progress import say
from experiments.protocol import Judge, Measured
from experiments.timing import Stopwatch
from jaxdd import artifact as artifacts
from jaxdd import decoders, methods, presets, provenance, report
from jaxdd.augment import training as check_augmentation
from jaxdd.data import check_ipc
from jaxdd.errors import UserError
from jaxdd.experts import Bank
from jaxdd.types import Network, RealData, Synthetic
from jaxdd.workdir import (
    Record,
    atomic_file,
    owned,
    read_json,
    to_json,
    write_atomically,
)


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
        summary = folder / "summary.json"
        record = Record(folder, values)
        if summary.exists():
            known = read_json(summary, "config")
            if known["config"]["steps"] == values["steps"]:
                say(f"{folder} is finished: nothing to do")
                return known
        return _distil(opened.job(folder), folder, record, opened.differences)


@dataclass(frozen=True)
class Opened:
    """A run whose flags are checked and of which nothing is written yet.

    Attributes:
        told: what the window and the mask leave out.
        differences: between the experts given and the method's own.
    """

    problem: Problem
    values: dict[str, Any]
    network: Network
    given: Bank | None
    told: list[str]
    differences: list[str]

    def job(self, folder: Path) -> Job:
        """Sort the data and make experts where that is needed, in the run's folder."""
        for sentence in [*self.told, *(f"warning: {x}" for x in self.differences)]:
            say(sentence)
        return _prepare(self.problem, self.values, self.network, folder, self.given)


def open_run(config: Config, problem: Problem | None = None) -> Opened:
    """Check the flags against the data; see `run` for the arguments and errors."""
    options.check(config)
    if problem is None:
        problem = resolution.open_data(config)
    dataset = problem.dataset
    check_ipc(problem.splits.train.labels, dataset.num_classes, config.ipc)
    given = None if config.experts is None else Bank.open(config.experts)
    manifest = None if given is None else given.manifest
    values = resolution.resolve(config, problem, manifest)
    network = network_for(dataset, values["network"])
    least.check(least.distillation(problem, network, values))
    _check_method(network, values)
    differences = _check_bank(given, problem, network, values)
    told = _left_out(problem, values, network, given)
    return Opened(problem, values, network, given, told, differences)


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
    known = target / "manifest.json"
    if known.exists() and read_json(known, "complete")["complete"]:
        return Bank.open(target)
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
    synthetic = job.decode(made.stored)
    difficulty = {
        "start": probes.measure(job.decode(made.first)),
        "end": probes.measure(synthetic),
    }
    with Stopwatch() as watch:
        measured = _judge(job, synthetic)
    with atomic_file(folder / "evaluation.npz", "wb") as file:
        np.savez_compressed(file, right=measured.hits, ids=measured.ids)
    artifact = _artifact(job, made.stored, measured.accuracies, made.step)
    artifacts.save(artifact, folder / "distilled.npz")
    pictures = artifact.displayable()
    report.image_grid(pictures, artifact.class_names, folder / "images.png")
    if made.segments:
        lines = "".join(json.dumps(line) + "\n" for line in made.metrics)
        write_atomically(folder / "metrics.jsonl", lines)
    _plot(made.metrics, folder)
    summary = {
        **measured.accuracies,
        "difficulty": difficulty,
        "resumed_at": record.resumed_at,
        "selected_step": made.step,
        "step_size": artifact.step_size,
        "segments": made.segments,
        "warnings": differences,
        **made.timings,
        "evaluation_seconds": watch.total_seconds,
        "evaluation_compile_seconds": watch.compile_seconds,
        "config": values,
        "seed": values["seed"],
        "versions": provenance.versions(),
        "device": provenance.device(),
    }
    # Written last: its presence says that the run is finished.
    write_atomically(folder / "summary.json", to_json(summary))
    return read_json(folder / "summary.json")


def _plot(metrics: list[dict[str, Any]], folder: Path) -> None:
    """`loss.png` and `difficulty.png`: how they went along the run."""
    for name, key, label in (
        ("loss", "match", "matching loss"),
        ("difficulty", "difficulty_percentile", "GraDN percentile among real samples"),
    ):
        lines = [x for x in metrics if key in x]
        if lines:
            curve = [x["step"] for x in lines], [x[key] for x in lines]
            report.curves(
                {"synthetic set": curve}, folder / f"{name}.png", "step", label
            )


def _judge(job: Job, synthetic: Synthetic) -> Measured:
    """Accuracy on the test split: the only place where a run reads it."""
    protocol = job.protocol(job.values["num_eval"], float(synthetic.step_size))
    say(
        f"evaluating: {protocol.num_eval} fresh networks, "
        f"{protocol.training.epochs} epochs each, and {protocol.num_random} more on "
        "random subsets"
    )
    judge = Judge(job.problem, protocol, job.problem.splits.test)
    return judge.beside_random(synthetic, job.inputs.full, job.values["ipc"])


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


def show(summary: dict[str, Any]) -> None:
    config = summary["config"]
    for name in ("distilled", "random"):
        x = summary[name]
        print(f"{name:>10}: {x['mean']:.2f} ± {x['std']:.2f} % (n = {x['n']})")
    for when in ("start", "end"):
        x = summary["difficulty"][when]
        print(
            f"difficulty at the {when}: GraDN {x['grad_norm']:.3g}, "
            f"percentile {x['percentile']:.1f}"
        )
    print(
        f"time: {summary['seconds']:.1f} s, {summary['seconds_per_step']:.3g} s per "
        f"step, {summary['compile_seconds']:.1f} s compiling" + _evaluated(summary)
    )
    print(f"results: {config['workdir']}/distilled.npz, images.png, summary.json")


def _evaluated(summary: dict[str, Any]) -> str:
    """The evaluation's time, which older runs do not tell."""
    if "evaluation_seconds" not in summary:
        return ""
    return (
        f"; evaluation {summary['evaluation_seconds']:.1f} s, "
        f"{summary['evaluation_compile_seconds']:.1f} s compiling"
    )


def plan(config: Config, problem: Problem | None = None) -> Any:
    """What `run` would need, without running; see `planning.distillation`."""
    from experiments import planning  # which starts from this module

    return planning.distillation(config, problem)


if __name__ == "__main__":
    main(Config, run, show, plan)
