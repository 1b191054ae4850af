"""Methods at equal time: each distils for as many seconds, and one protocol judges.

    python -m experiments.race --dataset=digits --ipc=1 --seconds=20 --workdir=runs/race

The pace of every method is measured first, in a short run of its own; from then on all
is counted in steps, so that a race that is stopped and continued, or slowed down by
another program, has the same result. Experts are trained beforehand and their time
stands beside the seconds. Every set is judged twice: by the protocol of its own method,
and, like the random subsets, by one for all (the field's ConvNet, SGD without
augmentation). Writes `race.md` and `race.json`; the same command goes on.
"""

import dataclasses
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.comparing import lists, methods, pairs, reports
from experiments.comparing.comparison import opened_folder
from experiments.console.flags import main, option
from jaxdd import fields
from jaxdd.artifact import file as artifacts
from jaxdd.data import Dataset
from jaxdd.data.problem import DataFlags, Problem
from jaxdd.devices import policy
from jaxdd.distillation import options, resolution
from jaxdd.distillation import run as distill
from jaxdd.distillation.opening import open_run
from jaxdd.distillation.place import Place
from jaxdd.evaluation.protocol import Judge, Protocol
from jaxdd.methods.network import NetworkSpec
from jaxdd.progress import say
from jaxdd.storage.files import to_json, write_atomically
from jaxdd.storage.paths import shown
from jaxdd.storage.records import mapping, number, read_json
from jaxdd.training.schedules import MIN_RANDOM, EvaluationSpec

# Methods that match real data, each with the fewest choices beside its own idea.
RUNNERS = ("dm", "dsa", "mtt", "frepo", "rcig", "rat_bptt", "m3d", "datadam", "ncfm")
# Steps that tell the pace: a few turns of a network in training.
PILOT = 40
_PACE = mapping(seconds_per_step=number(1e-9))


@dataclass(frozen=True, kw_only=True)
class Config(DataFlags):
    """Flags of `experiments.race`."""

    workdir: str = option(
        ..., "folder in which all runs and the table are stored", kind="path"
    )
    ipc: int = option(1, "synthetic images per class", above=0, often=True)
    methods: str = option(
        ",".join(RUNNERS), "methods that take part, joined by commas", often=True
    )
    seconds: float = option(
        20.0,
        "seconds that every method distils, without compilation",
        above=0,
        often=True,
    )
    seeds: str = option("0,1,2", "seeds of every method, joined by commas", often=True)
    width: int | None = option(
        None, "channels of the ConvNet; default: the field's", above=0
    )
    num_eval: int = option(5, "networks that judge every set", above=0)
    eval_epochs: int | None = option(
        None,
        "epochs for which each network of the evaluation is trained; default: 300 "
        "under the protocol for all, and the published ones under a method's own",
        above=0,
    )
    num_random: int = option(
        MIN_RANDOM,
        "random real subsets of the same size that sets are compared with, at least 5",
        at_least=MIN_RANDOM,
    )


@dataclass
class Runner:
    """A method in the race; accuracies are in percent, a number per seed.

    Attributes:
        seconds_per_step: its pace, without compilation.
        steps: of every run.
        own: under the protocol of the method.
        one: under the protocol that is the same for all.
    """

    method: str
    seconds_per_step: float
    steps: int
    own: list[float] = dataclasses.field(default_factory=list)
    one: list[float] = dataclasses.field(default_factory=list)


def run(config: Config) -> dict[str, Any]:
    """Distil and judge, or go on.

    Returns:
        {"rows": a `Runner` each, "random", "config", "versions", "device"}.

    Raises:
        UserError: bad input, named.
        signals.Interrupted: a signal stopped it; finished runs are kept.
    """
    fields.check(config)
    names = lists.names(config.methods, "methods", methods.NAMES)
    seeds = lists.seeds(config.seeds)
    configs = {name: config_of(config, name) for name in names}
    for each in configs.values():
        options.check(each)
    problems = resolution.open_each(configs)
    for name, each in configs.items():  # before the first of them takes its time
        open_run(each.method, options.given(each), problems[name])
    with opened_folder(config, "race", problems, dict) as folder:
        runners = []
        for name in names:
            each = pace(folder / "pilots" / name, configs[name], problems[name])
            steps = max(1, round(config.seconds / each))
            runners.append(Runner(name, each, steps))
        random: list[float] = []
        for seed in seeds:
            for runner in runners:
                name, place = runner.method, _place(folder, runner.method, seed)
                say(f"{name}, seed {seed}: {runner.steps} steps")
                changes = {"workdir": str(place), "seed": seed}
                timed = _timed(configs[name], runner.steps, **changes)
                summary = distill.run(timed, problems[name])
                runner.own.append(summary["distilled"]["mean"])
            random.append(_judge(config, seed, folder, problems, runners))
        summary = {
            "rows": [dataclasses.asdict(runner) for runner in runners],
            "random": random,
            **pairs.provenance_of(dataclasses.asdict(config)),
        }
        write_atomically(folder / "race.json", to_json(summary))
        write_atomically(folder / "race.md", table(summary) + "\n")
        reports.write(folder, table(summary), title="Methods at equal time")
        say(f"{shown(folder)}: race.md, race.json, report.html")
        return summary


def config_of(config: Config, method: str) -> options.Config:
    """The flags of a method's run, but for its length, seed and place."""
    return options.Config(
        workdir=str(Path(config.workdir) / method),
        dataset=config.dataset,
        data_dir=config.data_dir,
        **config.form,
        subset=config.subset,
        stream=config.stream,
        method=method,
        ipc=config.ipc,
        num_eval=config.num_eval,
        num_random=config.num_random,
        width=config.width,
        eval_epochs=config.eval_epochs,
        validation=0.0,
        sdc_share=False,
        probes=1,
    )


def _timed(base: options.Config, steps: int, **changes: Any) -> options.Config:
    """A run of some steps, at the end of which a falling rate has fallen."""
    run = options.run_of(base.method, options.given(base))
    if run.recipe.images.schedule != "constant":
        changes["image_horizon"] = steps
    return dataclasses.replace(base, steps=steps, measure_every=steps, **changes)


def pace(folder: Path, base: options.Config, problem: Problem) -> float:
    """Seconds of a step, from a short run; a race that goes on keeps its paces."""
    known = folder / "pace.json"
    if not known.is_file():
        say(f"{base.method}: measuring its pace")
        short = _timed(base, PILOT, workdir=str(folder), eval_epochs=1)
        measured = distill.run(short, problem)["seconds_per_step"]
        if measured == 0:  # a signal came amid its last steps: this start took none
            _begin_anew(folder)
            measured = distill.run(short, problem)["seconds_per_step"]
        write_atomically(known, to_json({"seconds_per_step": measured}))
    remedy = "remove it, and the pace is measured again"
    return float(read_json(known, _PACE, remedy)["seconds_per_step"])


def _begin_anew(pilot: Path) -> None:
    """Remove a short run, but for the experts that it trained."""
    for path in pilot.iterdir():
        if path.is_dir() and path != Place(pilot).experts:
            shutil.rmtree(path)
        elif path.is_file():
            path.unlink()


def _place(folder: Path, method: str, seed: int) -> Path:
    return folder / method / f"seed{seed}"


def judging_network(dataset: Dataset, width: int | None) -> dict[str, Any]:
    """The network of the one protocol: the usual one of such samples."""
    return NetworkSpec(dataset.modality.network, width).sized(dataset).options()


def _judge(
    config: Config,
    seed: int,
    folder: Path,
    problems: Mapping[str, Problem],
    runners: list[Runner],
) -> float:
    """Judge every set of a seed by one protocol, and return what random subsets get."""
    by_chance = None
    for runner in runners:
        problem = problems[runner.method]
        place = _place(folder, runner.method, seed)
        artifact = artifacts.load(place / "distilled.npz")
        protocol = Protocol(
            judging_network(problem.dataset, config.width),
            EvaluationSpec(lr=0.01).training(epochs=config.eval_epochs),
            "none",
            config.num_eval,
            config.num_random,
            seed,
            policy.resolved("float32"),
            artifact.label_space,
        )
        judge = Judge(problem, protocol, problem.splits.test)
        synthetic = artifact.synthetic()
        if by_chance is None:
            real = problem.on_device(problem.splits.train)
            measured = judge.beside_random(synthetic, real, config.ipc)
            by_chance, accuracy = measured.random["mean"], measured.distilled["mean"]
        else:
            accuracy = judge.distilled(synthetic)["mean"]
        runner.one.append(accuracy)
    assert by_chance is not None
    return by_chance


def table(summary: Mapping[str, Any]) -> str:
    """The table as Markdown, the best method first."""
    config = summary["config"]
    lines = [
        f"Accuracy in percent after {config['seconds']:g} s of distillation per set, "
        f"{config['dataset']}, {config['ipc']} per class, mean ± standard deviation "
        f"over seeds {config['seeds']}.",
        "",
        "| method | steps | ms a step | one protocol | its own |",
        "|---|--:|--:|--:|--:|",
    ]
    lines.append(f"| random | | | {_spread(summary['random'])} | |")
    for row in sorted(summary["rows"], key=lambda x: -float(np.mean(x["one"]))):
        pace_of = f"{1e3 * row['seconds_per_step']:.1f}"
        accuracies = f"{_spread(row['one'])} | {_spread(row['own'])}"
        lines.append(
            f"| {row['method']} | {row['steps']:,} | {pace_of} | {accuracies} |"
        )
    return "\n".join(lines)


def _spread(values: list[float]) -> str:
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return f"{np.mean(values):.1f} ± {deviation:.1f}"


def show(summary: dict[str, Any]) -> None:
    """Print the table."""
    print(table(summary))


if __name__ == "__main__":
    main(Config, run, show)
