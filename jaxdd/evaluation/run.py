"""Re-evaluate a distilled set from its file alone, on any network."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxdd import fields
from jaxdd.artifact import file as artifacts
from jaxdd.artifact.export import check_export, export_pngs
from jaxdd.data import Dataset
from jaxdd.data.problem import Problem
from jaxdd.devices import needs
from jaxdd.devices.timing import Stopwatch
from jaxdd.errors import UserError
from jaxdd.evaluation.hits import Hits
from jaxdd.evaluation.protocol import MIN_RANDOM, Judge, Protocol
from jaxdd.evaluation.reopening import PARTS, Tested, reopen, tested_on
from jaxdd.evaluation.results import identity, known_results, with_earlier
from jaxdd.fields import option
from jaxdd.methods.network import NetworkSpec
from jaxdd.progress import Stage, say
from jaxdd.storage.files import to_json, write_atomically
from jaxdd.storage.lock import owned
from jaxdd.storage.paths import existing_file, local_path, shown
from jaxdd.types import Synthetic


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
    test_dataset: str | None = option(
        None, "other data of the same classes to judge the set on", kind="dataset"
    )
    test_part: str = option("test", f"of that data: {' or '.join(PARTS)}")
    per_class: bool = option(False, "print accuracies per class of many classes, too")
    workdir: str | None = option(
        None, "for evaluation.json; default: the artifact's", kind="path"
    )
    export: str | None = option(
        None, "folder of its own for the images, as PNGs", kind="path"
    )


def run(config: Config, dataset: Dataset | None = None) -> dict[str, Any]:
    """Evaluate an artifact on every architecture asked for.

    Args:
        config: the flags.
        dataset: the data that the artifact was made from, where it is in memory.

    Returns:
        The new entries of `evaluation.json`, {net: {"distilled", "random", "stored",
        "classes", "protocol", "earlier"}}. "stored" is the accuracy in the artifact,
        for its own network on its own test data, else None; "classes" is as in
        `protocol.Measured`, with their names; "earlier" are entries under other
        protocols.

    Raises:
        UserError: bad input, named; another program writes to the folder.
    """
    opened = open_run(config, dataset)
    artifact, problem = opened.artifact, opened.problem
    # A distillation may be live in that folder: it writes other files.
    with owned(opened.folder, ".evaluation.lock") as folder:
        known = known_results(folder)
        real = problem.on_device(problem.splits.train)
        for net, judge in opened.judges.items():
            made, drawn = judge.protocol.num_eval, judge.protocol.num_random
            say(f"{net}: training {made} networks, then {drawn} on random sets")
            own = net == artifact.network["name"] and opened.tested.own
            protocol = opened.described(judge.protocol)
            kept = Hits(folder / "evaluate.part.npz", identity(protocol))
            place = str(folder / "evaluation.json")
            with (
                Stopwatch() as watch,
                Stage(net, made + drawn, place, "network") as bar,
            ):
                found = judge.beside_random(
                    opened.synthetic, real, artifact.ipc, kept, bar.count
                )
            say(
                f"{net}: {watch.total_seconds:.1f} s, {watch.compile_seconds:.1f} s of "
                "it compiling"
            )
            entry = {
                **found.accuracies,
                "stored": artifact.measured.get("distilled") if own else None,
                "classes": {"names": list(artifact.class_names), **found.classes},
                "protocol": protocol,
            }
            known[net] = with_earlier(net, entry, known.get(net))
            # Network by network: what is finished stays when the rest is stopped.
            write_atomically(folder / "evaluation.json", to_json(known))
            kept.remove()
    if config.export:
        paths = export_pngs(artifact, config.export)
        say(f"{len(paths)} images in {shown(config.export)}")
    return {net: known[net] for net in opened.judges}


@dataclass(frozen=True)
class Opened:
    """An evaluation whose flags are checked, before anything is written.

    Attributes:
        synthetic: the set, decoded.
        tested: what it is judged on.
        judges: {net: its evaluation}.
        folder: for the results.
    """

    artifact: artifacts.Artifact
    problem: Problem
    synthetic: Synthetic
    tested: Tested
    judges: dict[str, Judge]
    folder: Path

    def described(self, protocol: Protocol) -> dict[str, Any]:
        """All that an accuracy depends on, but for the device and the versions."""
        tested = self.tested
        return {
            "artifact": self.artifact.digest,
            "network": protocol.network,
            "training": dataclasses.asdict(protocol.training),
            "augmentation": protocol.augmentation,
            "num_eval": protocol.num_eval,
            "num_random": protocol.num_random,
            "seed": protocol.seed,
            "test": {
                "dataset": tested.name,
                "part": tested.part,
                "fingerprint": tested.fingerprint,
                "samples": len(tested.split.labels),
            },
        }


def open_run(config: Config, dataset: Dataset | None = None) -> Opened:
    """Read the artifact and its data, and check every network asked for.

    Raises:
        UserError: bad input, named.
    """
    fields.check(config)
    if config.num_eval < 1:
        raise UserError(f"--num_eval must be positive, not {config.num_eval}")
    place = existing_file(
        config.artifact, "the artifact", "give the path of a distilled.npz"
    )
    artifact = artifacts.load(place)
    folder = place.parent
    if config.workdir is not None:
        folder = local_path(config.workdir, "--workdir")
    synthetic = artifact.synthetic()
    if config.export is not None:
        _check_export(artifact, config.export, folder)
    own = artifact.network["name"]
    nets = (config.nets or own).split(",")
    problem = reopen(artifact, config.dataset, config.data_dir, dataset)
    tested = tested_on(
        artifact, problem, config.test_dataset, config.test_part, config.data_dir
    )
    seed = artifact.provenance["seed"] if config.seed is None else config.seed
    stored = artifact.measured.get("random", {}).get("n", MIN_RANDOM)
    drawn = stored if config.num_random is None else config.num_random
    if drawn < MIN_RANDOM:
        raise UserError(f"--num_random must be at least {MIN_RANDOM}, not {drawn}")
    images = artifact.images.shape[0] * artifact.images.shape[1]
    shape = problem.dataset.image_shape
    counts = {"num_eval": config.num_eval, "num_random": drawn}
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
            drawn,
            seed,
        )
        judges[net] = Judge(problem, protocol, tested.split)
    return Opened(artifact, problem, synthetic, tested, judges, folder)


def _check_export(artifact: artifacts.Artifact, export: str, folder: Path) -> None:
    """Refuse before the computation what the export after it would refuse."""
    target = check_export(artifact, export)
    if folder.resolve().is_relative_to(target):
        raise UserError(
            f"an export has a folder of its own, and {shown(export)} is that of the "
            "results, or holds it: choose another --export or --workdir"
        )
