"""Re-evaluate a distilled set from its file alone, on any network.

    python -m experiments.evaluate --artifact=runs/digits/distilled.npz \\
        --nets=convnet,mlp,resnet18 --num_eval=5

The protocol (schedule, augmentation, preprocessing, seeds) is the one stored in the
artifact, so its own network gives exactly the number measured when it was made, on the
same kind of device and versions.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from experiments import fields
from experiments.flags import main, option
from experiments.plans import least
from experiments.problem import (
    Problem,
    network_options,
    open_problem,
)
from experiments.progress import say
from experiments.protocol import MIN_RANDOM, Judge, Protocol
from experiments.timing import Stopwatch
from jaxdd import artifact as artifacts
from jaxdd.errors import UserError
from jaxdd.workdir import make_folder, to_json, write_atomically


@dataclass(frozen=True)
class Config:
    """Flags of `experiments.evaluate`."""

    artifact: str = option(..., "path of a distilled.npz", kind="path")
    nets: str | None = option(None, "networks, joined by commas; default: its own")
    num_eval: int = option(5, "fresh networks per architecture")
    num_random: int | None = option(None, "random real subsets; default: stored")
    seed: int | None = option(
        None, "of networks and random subsets; default: stored", kind="seed"
    )
    dataset: str | None = option(
        None, "where the data is now, if it moved", kind="dataset"
    )
    data_dir: str | None = option(None, "where prepared TFDS datasets are", kind="path")
    workdir: str | None = option(
        None, "for evaluation.json; default: the artifact's", kind="path"
    )
    export: str | None = option(
        None, "folder to write the images to, as PNGs", kind="path"
    )


def reopen(
    artifact: artifacts.Artifact, dataset: str | None, data_dir: str | None
) -> Problem:
    """The data that an artifact was made from, with its own preprocessing.

    Raises:
        UserError: the data cannot be read or is not the same.
    """
    made_from = artifact.dataset
    opened = open_problem(
        dataset or made_from["name"],
        data_dir,
        made_from["validation"],
        made_from["split_seed"],
        zca=False,
    )
    if opened.dataset.fingerprint != made_from["fingerprint"]:
        raise UserError(
            f"the dataset {dataset or made_from['name']!r} is not the one the artifact "
            "was made from (its fingerprint differs): give the right --dataset or "
            "--data_dir"
        )
    return replace(opened, preprocess=artifact.preprocess)


def run(config: Config) -> dict[str, Any]:
    """Evaluate an artifact on every architecture asked for.

    Returns:
        The content of `evaluation.json`: {net: {"distilled", "random", "stored"}};
        "stored" is the accuracy in the artifact, for its own network, else None.
    """
    opened = open_run(config)
    artifact, problem = opened.artifact, opened.problem
    folder = make_folder(opened.folder)
    real = problem.on_device(problem.splits.train)
    results = {}
    for net, judge in opened.judges.items():
        made, drawn = judge.protocol.num_eval, judge.protocol.num_random
        say(f"{net}: training {made} networks, then {drawn} on random sets")
        own = net == artifact.network["name"]
        with Stopwatch() as watch:
            found = judge.beside_random(artifact.synthetic(), real, artifact.ipc)
        say(
            f"{net}: {watch.total_seconds:.1f} s, {watch.compile_seconds:.1f} s of it "
            "compiling"
        )
        results[net] = {
            **found.accuracies,
            "stored": artifact.measured.get("distilled") if own else None,
        }
    write_atomically(folder / "evaluation.json", to_json(results))
    if config.export:
        paths = artifacts.export_pngs(artifact, config.export)
        say(f"{len(paths)} images in {config.export}")
    return results


@dataclass(frozen=True)
class Opened:
    """An evaluation whose flags are checked, before anything is written.

    Attributes:
        judges: {net: its evaluation}.
        folder: for the results.
    """

    artifact: artifacts.Artifact
    problem: Problem
    judges: dict[str, Judge]
    folder: Path


def open_run(config: Config) -> Opened:
    """Read the artifact and its data, and check every network asked for.

    Raises:
        UserError: bad input, named.
    """
    fields.check(config)
    if config.num_eval < 1:
        raise UserError(f"--num_eval must be positive, not {config.num_eval}")
    artifact = artifacts.load(config.artifact)
    own = artifact.network["name"]
    nets = (config.nets or own).split(",")
    problem = reopen(artifact, config.dataset, config.data_dir)
    seed = artifact.provenance["seed"] if config.seed is None else config.seed
    stored = artifact.measured.get("random", {}).get("n", MIN_RANDOM)
    drawn = stored if config.num_random is None else config.num_random
    if drawn < MIN_RANDOM:
        raise UserError(f"--num_random must be at least {MIN_RANDOM}, not {drawn}")
    images = artifact.images.shape[0] * artifact.images.shape[1]
    shape = problem.dataset.image_shape
    counts = {"num_eval": config.num_eval, "num_random": drawn}
    least.check(
        [least.evaluation(n, flag, shape, images) for flag, n in counts.items()]
    )
    judges = {}
    for net in nets:  # all names are checked before the first long computation
        options = (
            artifact.network
            if net == own
            else network_options(net, problem.dataset, None, None)
        )
        protocol = Protocol(
            options,
            artifact.training,
            artifact.augmentation,
            config.num_eval,
            drawn,
            seed,
        )
        judges[net] = Judge(problem, protocol, problem.splits.test)
    folder = Path(config.workdir or Path(config.artifact).parent)
    return Opened(artifact, problem, judges, folder)


def plan(config: Config) -> Any:
    """What `run` would need, without running; see `planning.evaluation`."""
    from experiments import planning  # which starts from this module

    return planning.evaluation(config)


def show(results: dict[str, Any]) -> None:
    print(f"{'network':>12}  {'distilled':>15}  {'random':>15}  stored")
    for net, found in results.items():
        cells = [f"{found[k]['mean']:.2f} ± {found[k]['std']:.2f}" for k in
                 ("distilled", "random")]  # fmt: skip
        stored = found["stored"]
        tail = "-" if stored is None else f"{stored['mean']:.2f}"
        print(f"{net:>12}  {cells[0]:>15}  {cells[1]:>15}  {tail}")


if __name__ == "__main__":
    main(Config, run, show, plan)
