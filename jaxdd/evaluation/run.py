"""Re-evaluate a distilled set from its file alone, on any network."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxdd import fields
from jaxdd.artifact import file as artifacts
from jaxdd.artifact.artifact import Artifact
from jaxdd.artifact.export import check_export, export_pngs
from jaxdd.artifact.slim import filled
from jaxdd.data import Dataset
from jaxdd.data.problem import Problem
from jaxdd.data.streaming import choice as streaming_choice
from jaxdd.devices import needs, policy
from jaxdd.devices.precision import AUTO, PRECISIONS, has
from jaxdd.devices.timing import Stopwatch
from jaxdd.errors import UserError, choose
from jaxdd.evaluation.history import identity, known_results, with_earlier
from jaxdd.evaluation.hits import Hits
from jaxdd.evaluation.protocol import Judge, Measured, Protocol
from jaxdd.evaluation.reopening import PARTS, Tested, reopen, tested_on
from jaxdd.evaluation.result import (
    ClassAccuracy,
    Classes,
    Evaluation,
    NetworkEvaluation,
)
from jaxdd.fields import option
from jaxdd.methods.network import NetworkSpec
from jaxdd.nets import NETS
from jaxdd.progress import Stage, say
from jaxdd.statistics import Statistics
from jaxdd.storage.files import to_json, write_atomically
from jaxdd.storage.lock import owned
from jaxdd.storage.paths import existing_file, local_path, shown
from jaxdd.training.schedules import MIN_RANDOM
from jaxdd.types import Synthetic


@dataclass(frozen=True)
class Config:
    """Flags of `experiments.evaluate`."""

    artifact: str = option(..., "path of a distilled.npz", kind="path", often=True)
    nets: str | None = option(
        None,
        "networks that are trained on the set, joined by commas; default: its own",
        often=True,
    )
    num_eval: int = option(
        5,
        "fresh networks of each kind that are trained on the set",
        above=0,
        often=True,
    )
    num_random: int | None = option(
        None,
        "random real subsets that the set is compared with; default: as many as when "
        "it was distilled, at least 5",
        at_least=MIN_RANDOM,
    )
    seed: int | None = option(
        None,
        "seed of networks and random subsets; default: that of the distillation",
        kind="seed",
    )
    precision: str | None = option(
        None,
        "precision of the products in networks: float32, tf32, bfloat16 or auto; "
        "default: that of the distillation, or float32 where this device lacks it",
        choices=(*PRECISIONS, AUTO),
    )
    dataset: str | None = option(
        None,
        "where the data of the distillation is now, if it has moved",
        kind="dataset",
    )
    data_dir: str | None = option(None, "folder of prepared TFDS datasets", kind="path")
    stream: str = option("auto", streaming_choice.HELP, choices=streaming_choice.STREAM)
    test_dataset: str | None = option(
        None,
        "other data of the same classes, on which the networks are tested",
        kind="dataset",
    )
    test_part: str = option(
        "test", f"part of --test_dataset that is tested on: {' or '.join(PARTS)}"
    )
    per_class: bool = option(
        False, "print the accuracy of every class, however many there are"
    )
    workdir: str | None = option(
        None, "folder for evaluation.json; default: that of the artifact", kind="path"
    )
    export: str | None = option(
        None,
        "folder of its own, into which the images are exported as PNGs",
        kind="path",
    )


def run(config: Config, dataset: Dataset | None = None) -> Evaluation:
    """Evaluate as `jaxdd.evaluate`, and collect the results in `evaluation.json`.

    Results are written network by network, and a network that was stopped is taken up
    again. Results of other networks and under other protocols stay in the file.

    Args:
        config: the flags.
        dataset: the data that the artifact was made from, where it is in memory.

    Raises:
        UserError: bad input, named; another program writes to the folder.
    """
    opened = open_run(config, dataset)
    networks = {}
    # A distillation may be live in that folder: it writes other files.
    with owned(opened.folder, ".evaluation.lock") as folder:
        earlier = known_results(folder)
        for net, evaluated in measure(opened, folder):
            earlier[net] = with_earlier(net, evaluated.entry(), earlier.get(net))
            write_atomically(folder / "evaluation.json", to_json(earlier))
            networks[net] = evaluated
    if config.export:
        paths = export_pngs(opened.artifact, config.export)
        say(f"{len(paths)} images in {shown(config.export)}")
    return Evaluation(networks)


@dataclass(frozen=True)
class Opened:
    """An evaluation whose flags are checked, before anything is written.

    Attributes:
        synthetic: the set, decoded.
        tested: the data that it is measured on.
        judges: {net: its evaluation}.
        precision: of the products in all networks.
        folder: for the results.
    """

    artifact: Artifact
    problem: Problem
    synthetic: Synthetic
    tested: Tested
    judges: dict[str, Judge]
    precision: str
    folder: Path

    def described(self, protocol: Protocol) -> dict[str, Any]:
        """All that an accuracy depends on, but for the device and the versions."""
        tested = self.tested
        return {
            "artifact": self.artifact.digest,
            "network": protocol.network,
            **protocol.described(),
            "test": {
                "dataset": tested.name,
                "part": tested.part,
                "fingerprint": tested.fingerprint,
                "samples": len(tested.split.labels),
            },
        }


def measure(
    opened: Opened, folder: Path | None = None
) -> Iterator[tuple[str, NetworkEvaluation]]:
    """Evaluate network by network.

    Args:
        opened: the evaluation.
        folder: for what is measured of a network that is not finished; None to write
            nothing. It is removed when the next network is asked for, so that a result
            is stored before its parts are gone.

    Yields:
        (name of the network, its accuracies).

    Raises:
        signals.Interrupted: SIGTERM or SIGINT, where there is a folder.
    """
    artifact, problem = opened.artifact, opened.problem
    real = problem.on_device(problem.splits.train)
    for net, judge in opened.judges.items():
        distilled, subsets = judge.protocol.num_eval, judge.protocol.num_random
        say(f"{net}: training {distilled} networks, then {subsets} on random sets")
        own = artifact.network["name"]
        say(f"{net}: {judge.protocol.in_words()}")
        if net != own:
            say(f"{net}: as {own} is trained; --select_lr=auto looks for another rate")
        protocol = opened.described(judge.protocol)
        parts = place = None
        if folder is not None:
            parts = Hits(folder / "evaluate.part.npz", identity(protocol))
            place = str(folder / "evaluation.json")
        total = distilled + subsets
        with Stopwatch() as watch, Stage(net, total, place or "", "network") as stage:
            measured = judge.beside_random(
                opened.synthetic, real, artifact.ipc, parts, stage.count
            )
        say(
            f"{net}: {watch.total_seconds:.1f} s, {watch.compile_seconds:.1f} s of it "
            "compiling"
        )
        yield net, _evaluated(opened, net, measured, protocol)
        if parts is not None:
            parts.remove()


def _evaluated(
    opened: Opened, net: str, measured: Measured, protocol: dict[str, Any]
) -> NetworkEvaluation:
    artifact, classes = opened.artifact, measured.classes
    own = net == artifact.network["name"] and opened.tested.own
    stored = artifact.measured.get("distilled") if own else None
    return NetworkEvaluation(
        accuracy=Statistics.of(measured.distilled),
        random=Statistics.of(measured.random),
        stored=None if stored is None else Statistics.of(stored),
        classes=Classes(
            names=artifact.class_names,
            samples=tuple(classes["samples"]),
            distilled=ClassAccuracy.of(classes["distilled"]),
            random=ClassAccuracy.of(classes["random"]),
        ),
        protocol=protocol,
    )


def open_run(config: Config, dataset: Dataset | None = None) -> Opened:
    """Read the artifact and its data, and check every network asked for.

    Raises:
        UserError: bad input, named.
    """
    fields.check(config)
    return open_artifact(read_artifact(config), config, dataset)


def read_artifact(config: Config) -> Artifact:
    """The artifact of a configuration.

    Raises:
        UserError: there is no such file, or it is damaged.
    """
    remedy = "give the path of a distilled.npz"
    return artifacts.load(existing_file(config.artifact, "the artifact", remedy))


def open_artifact(
    artifact: Artifact,
    config: Config,
    dataset: Dataset | None = None,
    test_dataset: Dataset | None = None,
) -> Opened:
    """Check all that `open_run` checks, of an artifact, and of data, in memory.

    Args:
        artifact: the set.
        config: the flags, each of them checked for itself.
        dataset: the data of the distillation; None to read them.
        test_dataset: other data of the same classes to measure on.

    Raises:
        UserError: flags, set and data do not fit each other.
    """
    folder = local_path(config.artifact, "the artifact").parent
    if config.workdir is not None:
        folder = local_path(config.workdir, "--workdir")
    if config.export is not None:
        _check_export(artifact, config.export, folder)
    own = artifact.network["name"]
    nets = (config.nets or own).split(",")
    for net in nets:
        choose("network in --nets", net, NETS)
    # Before the data are read and a whitening is fitted, which takes its time.
    precision = _precision(artifact, config.precision)
    problem = reopen(artifact, config.dataset, config.data_dir, dataset, config.stream)
    artifact = filled(artifact, problem.preprocess)
    synthetic = artifact.synthetic()
    tested = tested_on(
        artifact,
        problem,
        test_dataset or config.test_dataset,
        config.test_part,
        config.data_dir,
        config.stream,
    )
    seed = artifact.provenance["seed"] if config.seed is None else config.seed
    stored = max(MIN_RANDOM, artifact.measured.get("random", {}).get("n", 0))
    subsets = stored if config.num_random is None else config.num_random
    images = artifact.images.shape[0] * artifact.images.shape[1]
    shape = problem.dataset.image_shape
    counts = {"num_eval": config.num_eval, "num_random": subsets}
    needs.check(
        [needs.evaluation(count, flag, shape, images) for flag, count in counts.items()]
    )
    judges = {}
    for net in nets:  # all names are checked before the first long computation
        options = (
            artifact.network
            if net == own
            else NetworkSpec(net).sized(problem.dataset).options()
        )
        protocol = Protocol(
            options,
            artifact.training,
            artifact.augmentation,
            config.num_eval,
            subsets,
            seed,
            precision,
            artifact.label_space,
        )
        judges[net] = Judge(problem, protocol, tested.split)
    return Opened(artifact, problem, synthetic, tested, judges, precision, folder)


def _precision(artifact: Artifact, asked: str | None) -> str:
    """The precision asked for, or that of the distillation where this device has it."""
    if asked is not None:
        return policy.resolved(asked)
    stored = artifact.precision
    if stored == "tf32" and not has(stored):
        say("the set was distilled in tf32, which this device lacks: using float32")
        return "float32"
    return policy.resolved(stored)


def _check_export(artifact: Artifact, export: str, folder: Path) -> None:
    """Refuse before the computation what the export after it would refuse."""
    target = check_export(artifact, export)
    if folder.resolve().is_relative_to(target):
        raise UserError(
            f"an export has a folder of its own, and {shown(export)} is that of the "
            "results, or holds it: choose another --export or --workdir"
        )
