"""Who finds a distilled set hard? Its GraDN among real samples, by kind of network.

A gradient needs a network, so that a statement about the difficulty of a set is one
about a kind of network: `jaxdd.scores.probes.KINDS`. Beside the sets stand images that
a run can begin with, real ones and noise.

Source: ours.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxdd import fields
from jaxdd.artifact.artifact import Artifact
from jaxdd.artifact.restart import same_preprocessing
from jaxdd.data import Dataset
from jaxdd.data.problem import Problem
from jaxdd.data.streaming import choice as streaming_choice
from jaxdd.devices import policy
from jaxdd.devices.precision import AUTO, PRECISIONS
from jaxdd.errors import UserError, quoted
from jaxdd.evaluation.opening import check_alike, read_sets
from jaxdd.evaluation.probed import CHART, FILE, TABLE, Place, Probed
from jaxdd.evaluation.reopening import all_whole, reopen
from jaxdd.fields import option
from jaxdd.methods.network import network_for
from jaxdd.primitives.keys import named_key
from jaxdd.progress import say
from jaxdd.scores.probes import KINDS, Probes, kinds_of, suffix_of
from jaxdd.storage import provenance
from jaxdd.storage.files import to_json
from jaxdd.storage.lock import owned
from jaxdd.storage.paths import local_path, shown
from jaxdd.synthetic.initial import initial_set
from jaxdd.synthetic.labels import probabilities_of
from jaxdd.types import Network, Synthetic

# What a run can begin with, by the name of its row.
STARTS = {"first images: real": "real", "first images: noise": "noise"}


@dataclass(frozen=True, kw_only=True)
class Config:
    """Flags of `experiments.probe`."""

    artifact: str = option(
        ...,
        "path of a distilled.npz; several of the same data, joined by commas",
        kind="path",
        often=True,
    )
    workdir: str = option(..., "folder for the results", kind="path", often=True)
    probe_kinds: str = option(
        ",".join(KINDS),
        "kinds of networks, joined by commas: random (fresh), real_early "
        "(--probe_steps of SGD on real data), real_late (ten times as many), synthetic "
        "(--probe_steps on the set)",
        often=True,
    )
    probes: int = option(5, "networks of each kind", above=0, often=True)
    probe_steps: int = option(100, "steps of SGD of the kind real_early", above=0)
    seed: int | None = option(
        None,
        "seed of the networks, the real samples and the first images; default: that of "
        "the first set, which also has the network",
        kind="seed",
    )
    precision: str = option(
        AUTO,
        f"precision of the products in networks: {', '.join(PRECISIONS)} or {AUTO}",
        choices=(*PRECISIONS, AUTO),
    )
    dataset: str | None = option(
        None,
        "where the data of the distillation is now, if it has moved",
        kind="dataset",
    )
    data_dir: str | None = option(None, "folder of prepared TFDS datasets", kind="path")
    stream: str = option("auto", streaming_choice.HELP, choices=streaming_choice.STREAM)


@dataclass(frozen=True)
class Opened:
    """Sets and data whose flags are checked, before anything is computed.

    Attributes:
        sets: by name; the network and the preprocessing are those of the first.
        problem: the real data.
        network: the architecture of the probes.
        kinds: names in `KINDS`.
        probes, probe_steps, seed: as in `Config`.
        precision: of the products in networks, never "auto".
    """

    sets: Mapping[str, Artifact]
    problem: Problem
    network: Network
    kinds: Sequence[str]
    probes: int
    probe_steps: int
    seed: int
    precision: str

    @property
    def first(self) -> Artifact:
        """The set that decides where only one can."""
        return next(iter(self.sets.values()))


def open_sets(
    config: Config,
    sets: Mapping[str, Artifact] | None = None,
    dataset: Dataset | None = None,
) -> Opened:
    """Read the sets and their data, and check every flag.

    Args:
        config: the flags.
        sets: {name: artifact}, where they are in memory.
        dataset: the data, likewise.

    Raises:
        UserError: bad input, named; sets whose networks see the data differently.
    """
    fields.check(config)
    kinds = kinds_of(config.probe_kinds)
    sets = read_sets(config.artifact) if sets is None else sets
    for name in sets:
        if name in STARTS:
            raise UserError(f"{quoted(name)} is the name of a row: choose another")
    check_alike(sets)
    first = next(iter(sets.values()))
    problem = reopen(first, config.dataset, config.data_dir, dataset, config.stream)
    sets = all_whole(sets, problem)
    (name, first), *others = sets.items()
    for other, artifact in others:
        if not same_preprocessing(artifact.fitted, first.fitted):
            raise UserError(
                f"the sets {quoted(other)} and {quoted(name)} have different "
                "preprocessing, so that their networks see other numbers: probe them "
                "apart"
            )
    precision = policy.resolved(config.precision)
    seed = first.provenance["seed"] if config.seed is None else config.seed
    return Opened(
        sets,
        problem,
        network_for(problem.dataset, first.network, precision),
        kinds,
        config.probes,
        config.probe_steps,
        seed,
        precision,
    )


def measure(opened: Opened) -> Probed:
    """Train the probes, and look at every set and at what runs begin with."""
    real = opened.problem.on_device(opened.problem.splits.train)
    say(f"{opened.probes} networks of each kind: {', '.join(opened.kinds)}")
    probes = Probes(
        opened.network, real, opened.seed, opened.probes, opened.probe_steps,
        opened.kinds,
    )  # fmt: skip
    ipc = max(artifact.ipc for artifact in opened.sets.values())
    rows: dict[str, Synthetic] = {
        row: initial_set(named_key(opened.seed, "initial"), kind, real, ipc)
        for row, kind in STARTS.items()
    }
    for name, artifact in opened.sets.items():
        synthetic = artifact.synthetic()
        labels = probabilities_of(synthetic.labels, artifact.label_space)
        rows[name] = synthetic._replace(labels=labels)
    places = {}
    for name, synthetic in rows.items():
        say(f"{name}: measuring")
        measured = probes.measure(synthetic)
        if not all(map(math.isfinite, measured.values())):
            raise UserError(
                f"the difficulty of {quoted(name)} is not a number: its images or "
                "labels are damaged"
            )
        places[name] = {
            kind: Place(*(measured[f"{x}{suffix_of(kind, opened.kinds)}"]
                          for x in Place._fields))
            for kind in opened.kinds
        }  # fmt: skip
    return Probed(places, described(opened))


def described(opened: Opened) -> dict[str, Any]:
    """What the numbers depend on."""
    return {
        "sets": {
            name: {"digest": artifact.digest, "ipc": artifact.ipc}
            for name, artifact in opened.sets.items()
        },
        "dataset": opened.problem.dataset.fingerprint,
        "network": opened.first.network,
        "probe_kinds": list(opened.kinds),
        "probes": opened.probes,
        "probe_steps": opened.probe_steps,
        "seed": opened.seed,
        "precision": opened.precision,
        "versions": provenance.versions(),
        "device": provenance.device(),
    }


# What says where numbers came from, and does not tell one table from another.
_ORIGIN = ("versions", "device")


def folder_of(config: Config, opened: Opened) -> Path:
    """The folder for the results, which no run and no other table may own.

    Raises:
        UserError: it holds a run of another program, or other sets or settings.
    """
    folder = local_path(config.workdir, "--workdir")
    if (folder / "run.json").exists():
        raise UserError(
            f"{shown(folder)} holds a run of another program: choose another --workdir"
        )
    if not (folder / FILE).exists():
        return folder
    known, asked = Probed.read(folder).about, json.loads(to_json(described(opened)))
    for name, value in asked.items():
        if name not in _ORIGIN and known.get(name) != value:
            raise UserError(
                f"{shown(folder)} holds a table whose {name} differs: choose another "
                "--workdir"
            )
    return folder


def run(config: Config) -> Probed:
    """Probe sets, and write `probed.json`, `table.md` and `percentiles.png`.

    Where the folder has the table already, it is read.

    Raises:
        UserError: bad input, named; the folder belongs to another program, or has a
            table of other sets or settings.
    """
    opened = open_sets(config)
    folder_of(config, opened)
    with owned(config.workdir) as folder:
        folder_of(config, opened)  # again: another program may have begun meanwhile
        if (folder / FILE).exists():
            say(f"{shown(folder)}: measured before")
            return Probed.read(folder)
        probed = measure(opened)
        probed.write(folder)
    say(f"{shown(folder)}: {FILE}, {TABLE}, {CHART}")
    return probed
