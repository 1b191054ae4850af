"""Distil a dataset into a few synthetic images per class.

    python -m experiments.distill --dataset=digits --method=dsa --ipc=1 \\
        --sdc_weight=1 --seed=0 --workdir=runs/digits

About 30 s on two CPU cores. Flags that are not given come from the published preset of
the method, dataset and ipc (`jaxdd/presets.py`). The same command continues a stopped
run; a larger --steps goes on from where it ended.
"""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.flags import main, option
from experiments.job import Job
from experiments.probes import Probes
from experiments.problem import (
    Problem,
    check_seed,
    network_options,
    open_problem,
)
from experiments.progress import Bar, say
from experiments.protocol import MIN_RANDOM, Judge
from jaxdd import artifact as artifacts
from jaxdd import methods, presets, provenance, report, runs
from jaxdd.data import check_ipc
from jaxdd.errors import UserError
from jaxdd.initial import INITIALS
from jaxdd.types import Synthetic
from jaxdd.workdir import Metrics, Record, owned, read_json, to_json, write_atomically

SELECTIONS = ("last", "validation")


@dataclass(frozen=True)
class Config:
    """Flags of `experiments.distill`. None stands for the preset's value."""

    workdir: str = option(..., "folder for results and checkpoints")
    dataset: str = option("digits", "digits, folder:PATH or a prepared TFDS name")
    method: str = option("dsa", f"one of {', '.join(methods.METHODS)}")
    ipc: int = option(1, "synthetic images per class")
    seed: int = option(0, "of everything random")
    data_dir: str | None = option(None, "where prepared TFDS datasets are")
    validation: float = option(0.1, "share of train held out for selection; 0 for none")
    select: str = option("last", "which set to keep: last, or best on validation")
    zca: bool = option(False, "ZCA whitening instead of normalisation")
    steps: int | None = option(None, "updates of the images")
    init: str | None = option(None, "initial images: noise or real")
    net: str = option("convnet", "network to match and evaluate with")
    width: int | None = option(None, "channels of the ConvNet")
    depth: int | None = option(None, "blocks of the ConvNet")
    norm: str | None = option(None, "instance, batch, layer, group or none")
    activation: str | None = option(None, "relu, leaky_relu, sigmoid or swish")
    pooling: str | None = option(None, "avg, max or none")
    distance: str | None = option(None, "of gradients: ours, mse or cos")
    augmentation: str | None = option(None, "Siamese; names joined by _, or none")
    batch_real: int | None = option(None, "real samples per class and step")
    matches: int | None = option(None, "steps per network")
    inner_epochs: int | None = option(None, "epochs on the set between matches")
    network_lr: float | None = option(None, "learning rate of that training")
    image_lr: float | None = option(None, "learning rate of the images")
    image_momentum: float | None = option(None, "momentum of the images")
    sdc_weight: float = option(0.0, "weight of the difficulty correction, any sign")
    sdc_norm: str = option("mean", "mean (of the gradient) or per_sample")
    sdc_schedule: str = option("constant", "constant, linear or log")
    sdc_horizon: int | None = option(None, "step at which a rising weight arrives")
    sdc_relative: bool = option(False, "weight in units of the matching loss")
    sdc_share: bool = option(True, "log the term's share in the image gradient")
    num_eval: int = option(5, "fresh networks of the final evaluation")
    num_random: int = option(10, "random real subsets to compare with, at least 5")
    eval_epochs: int | None = option(None, "epochs of the evaluation")
    eval_lr: float = option(0.01, "learning rate of the evaluation")
    eval_augmentation: str | None = option(None, "of the evaluation's training")
    probes: int = option(5, "networks at which difficulty is measured")
    probe_steps: int = option(100, "SGD steps that they are trained on real data")
    log_every: int = option(10, "steps between lines of metrics.jsonl")
    measure_every: int | None = option(None, "steps between difficulty measurements")
    save_every: int = option(50, "steps between checkpoints")


def check(config: Config) -> None:
    """Refuse numbers that make no sense, before anything is read or written."""
    for name, value in dataclasses.asdict(config).items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"--{name} must be a finite number, not {value}")
    positive = (
        "ipc", "steps", "width", "depth", "batch_real", "matches", "inner_epochs",
        "network_lr", "image_lr", "sdc_horizon", "num_eval", "eval_epochs", "eval_lr",
        "probes", "probe_steps", "log_every", "measure_every", "save_every",
    )  # fmt: skip
    for name in positive:
        value = getattr(config, name)
        if value is not None and value <= 0:
            raise UserError(f"--{name} must be positive, not {value}")
    if config.num_random < MIN_RANDOM:
        raise UserError(
            f"--num_random must be at least {MIN_RANDOM}, not {config.num_random}"
        )
    check_seed(config.seed)
    if not config.workdir:
        raise UserError("--workdir must name a folder, not ''")
    if config.init not in (None, *INITIALS):
        raise UserError(
            f"unknown --init={config.init!r}: choose one of {', '.join(INITIALS)}"
        )
    if config.select not in SELECTIONS:
        raise UserError(
            f"unknown --select={config.select!r}: choose one of {', '.join(SELECTIONS)}"
        )
    if config.select == "validation" and config.validation == 0:
        raise UserError(
            "--select=validation needs validation data: leave out --validation=0"
        )


def resolve(config: Config, problem: Problem) -> dict[str, Any]:
    """Every value of a run, presets filled in: what a workdir is compared by."""
    dataset = problem.dataset
    preset = presets.preset(config.method, dataset.name, config.ipc)
    filled = {
        **dataclasses.asdict(preset.settings),
        "init": preset.init,
        "steps": preset.steps,
        "eval_epochs": preset.eval_epochs,
        "eval_augmentation": preset.eval_augmentation,
        "measure_every": max(1, preset.steps // 10),
    }
    given = {k: v for k, v in dataclasses.asdict(config).items() if v is not None}
    values = {**dict.fromkeys(dataclasses.asdict(config)), **filled, **given}
    network = network_options(
        config.net, dataset, config.width, config.depth,
        norm=config.norm, activation=config.activation, pooling=config.pooling,
    )  # fmt: skip
    largest = int(np.bincount(problem.splits.train.labels).max())
    values["batch_real"] = min(values["batch_real"], largest)
    values.update(network=network, fingerprint=dataset.fingerprint)
    for name in ("width", "depth", "norm", "activation", "pooling", "net"):
        del values[name]
    return values


def run(config: Config, problem: Problem | None = None) -> dict[str, Any]:
    """Distil, or continue, or report what is finished.

    Args:
        config: the flags.
        problem: the data, where it is in memory already; by default it is read.

    Returns:
        The content of `summary.json`.

    Raises:
        UserError: bad input, named.
        runs.Interrupted: a signal stopped the run; its state is saved.
    """
    check(config)
    presets.preset(config.method, config.dataset, config.ipc)
    if problem is None:
        problem = open_problem(
            config.dataset, config.data_dir, config.validation, config.seed, config.zca
        )
    dataset = problem.dataset
    check_ipc(problem.splits.train.labels, dataset.num_classes, config.ipc)
    values = resolve(config, problem)
    job = Job(problem, values)
    with owned(config.workdir) as folder:
        summary = folder / "summary.json"
        if summary.exists() and not (folder / "run.json").exists():
            raise UserError(
                f"{folder} holds results of another experiment: choose another "
                "--workdir"
            )
        record = Record(folder, values)
        if summary.exists():
            known = read_json(summary, "config")
            if known["config"]["steps"] == values["steps"]:
                say(f"{folder} is finished: nothing to do")
                return known
        return _distil(job, folder, record)


def _distil(job: Job, folder: Path, record: Record) -> dict[str, Any]:
    values, problem = job.values, job.problem
    say(
        f"data: {len(problem.splits.train.labels)} training images of "
        f"{problem.dataset.num_classes} classes; training {values['probes']} probe "
        "networks"
    )
    probes = Probes(
        job.network, job.real, values["seed"], values["probes"], values["probe_steps"]
    )

    def on_resume(step: int) -> None:
        say(f"continuing at step {step}")
        if step > 0:
            record.resumed_at.append(step)
            record.save()

    plan = runs.Plan(
        values["steps"],
        values["log_every"],
        values["measure_every"],
        values["save_every"],
    )
    name = f"{values['method']} on {values['dataset']}, {values['ipc']} per class"
    with Bar(name, plan.steps, f"{folder}/metrics.jsonl and checkpoints") as bar:
        hooks = job.hooks(probes, bar)
        state, metrics, timings = runs.run(
            folder, job.method, job.start, job.inputs, values["seed"], plan, hooks,
            on_resume,
        )  # fmt: skip
    synthetic, chosen = job.method.result(state.method), values["steps"]
    if state.best is not None and hooks.track is not None:
        say("selecting on validation data")
        best = hooks.track(state.best, synthetic, chosen)
        synthetic, chosen = best.synthetic, int(best.step)
    difficulty = {
        "start": probes.measure(job.method.result(job.start())),
        "end": probes.measure(synthetic),
    }
    measured = _judge(job, synthetic)
    made = _artifact(job, synthetic, measured, chosen)
    artifacts.save(made, folder / "distilled.npz")
    report.image_grid(made.displayable(), made.class_names, folder / "images.png")
    _plot(metrics, folder)
    summary = {
        **measured,
        "difficulty": difficulty,
        "resumed_at": record.resumed_at,
        "selected_step": chosen,
        **timings,
        "config": values,
        "seed": values["seed"],
        "versions": provenance.versions(),
        "device": provenance.device(),
    }
    # Written last: its presence says that the run is finished.
    write_atomically(folder / "summary.json", to_json(summary))
    return summary


def _plot(metrics: Metrics, folder: Path) -> None:
    """`loss.png` and `difficulty.png`: how they went along the run."""
    for name, key, label in (
        ("loss", "match", "matching loss"),
        ("difficulty", "difficulty_percentile", "GraDN percentile among real samples"),
    ):
        lines = [x for x in metrics.lines if key in x]
        if lines:
            curve = [x["step"] for x in lines], [x[key] for x in lines]
            report.curves(
                {"synthetic set": curve}, folder / f"{name}.png", "step", label
            )


def _judge(job: Job, synthetic: Synthetic) -> dict[str, Any]:
    """Accuracy on the test split: the only place where a run reads it."""
    protocol = job.protocol(job.values["num_eval"])
    say(
        f"evaluating: {protocol.num_eval} fresh networks, "
        f"{protocol.training.epochs} epochs each, and {protocol.num_random} more on "
        "random subsets"
    )
    judge = Judge(job.problem, protocol, job.problem.splits.test)
    return judge.beside_random(synthetic, job.real)


def _artifact(
    job: Job, synthetic: Synthetic, measured: dict, step: int
) -> artifacts.Artifact:
    values, dataset = job.values, job.problem.dataset
    protocol = job.protocol(values["num_eval"])
    return artifacts.Artifact(
        images=np.asarray(synthetic.images),
        labels=np.asarray(synthetic.labels),
        step_size=None,
        preprocess=job.problem.preprocess,
        class_names=dataset.class_names,
        dataset={
            "name": values["dataset"],
            "fingerprint": dataset.fingerprint,
            "validation": values["validation"],
            "split_seed": values["seed"],
        },
        network=values["network"],
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
    print(f"results: {config['workdir']}/distilled.npz, images.png, summary.json")


if __name__ == "__main__":
    main(Config, run, show)
