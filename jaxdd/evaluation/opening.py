"""A referee's table before anything is computed: its sets, data and flags, checked."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxdd import fields
from jaxdd.artifact.artifact import Artifact
from jaxdd.data import Dataset, split
from jaxdd.data.problem import Problem
from jaxdd.errors import UserError, quoted
from jaxdd.evaluation import run as evaluation
from jaxdd.evaluation.options import (
    BASELINES,
    FULL,
    names_of_baselines,
    paths_of,
    plain,
    protocols_of,
)
from jaxdd.evaluation.protocol import Protocol
from jaxdd.evaluation.rates import rates_of
from jaxdd.evaluation.reopening import Tested, all_whole
from jaxdd.evaluation.teacher import open_bank
from jaxdd.evaluation.whole import EPOCHS
from jaxdd.experts.bank import Bank
from jaxdd.storage.paths import existing_file, shown

# Share of the training data on which rates are chosen, where none is held out already.
VALIDATION = 0.1
FEW = 5  # networks, fewer of which say little


@dataclass(frozen=True)
class Opened:
    """A table whose flags are checked, before anything is written.

    Attributes:
        sets: {name: artifact}; the protocol, the network of scores and the real rows'
            preprocessing are those of the first.
        problem: the real data, with that preprocessing.
        tested: what all networks are measured on.
        protocols: {net: its protocol}.
        baselines: rows of real data.
        bank: whose first expert is the teacher.
        teaches: whether there is a teacher.
        views: whether it labels augmented images, minibatch by minibatch.
        real_epochs: of networks on the whole training data.
        rates: to choose from; none for the protocol's.
        folder: for the results.
        notes: sentences that belong below the table.
    """

    sets: Mapping[str, Artifact]
    problem: Problem
    tested: Tested
    protocols: Mapping[str, Protocol]
    baselines: Sequence[str]
    bank: Bank | None
    teaches: bool
    views: bool
    real_epochs: int
    rates: tuple[float, ...]
    folder: Path
    notes: Sequence[str]

    @property
    def first(self) -> Artifact:
        """The set that decides where only one can."""
        return next(iter(self.sets.values()))

    @property
    def first_protocol(self) -> Protocol:
        """The protocol with the first architecture; the others differ by that alone."""
        return next(iter(self.protocols.values()))

    def described(self) -> dict[str, Any]:
        """All that the accuracies depend on but for networks, device and versions."""
        protocol, tested = self.first_protocol, self.tested
        teacher = "trained here" if self.bank is None else self.bank.manifest.digest
        real = FULL in self.baselines or (self.teaches and self.bank is None)
        return {
            "sets": [
                {
                    "name": name,
                    "ipc": artifact.ipc,
                    "labels": artifact.label_kind,
                    "digest": artifact.digest,
                }
                for name, artifact in self.sets.items()
            ],
            "baselines": list(self.baselines),
            "teacher": teacher if self.teaches else None,
            # Tables that were begun without the flag stay the same.
            **({"views": True} if self.views else {}),
            "real_epochs": self.real_epochs if real else None,
            "rates": list(self.rates),
            # As `referee.json` has it, where tuples are lists.
            **json.loads(json.dumps(protocol.described())),
            "test": {
                "part": tested.part,
                "fingerprint": tested.fingerprint,
                "samples": len(tested.split.labels),
            },
        }

    @property
    def identity(self) -> str:
        """A hash of `described`."""
        text = json.dumps(self.described(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def read_sets(text: str) -> dict[str, Artifact]:
    """{name: artifact} of --artifact, named by what tells the paths apart.

    Raises:
        UserError: a file is missing, damaged, or named twice.
    """
    remedy = "give the path of a distilled.npz"
    paths = [existing_file(x, "the artifact", remedy) for x in paths_of(text)]
    artifacts = [
        evaluation.read_artifact(evaluation.Config(str(path))) for path in paths
    ]
    # The usual name of the file says nothing.
    parts = [
        (x.absolute().parent if x.stem == "distilled" else x.with_suffix("")).absolute()
        for x in paths
    ]
    for length in range(1, 1 + max(len(x.parts) for x in parts)):
        names = [shown("/".join(x.parts[-length:])) for x in parts]
        if len(set(names)) == len(names) and not set(names) & set(BASELINES):
            return dict(zip(names, artifacts, strict=True))
    raise UserError("--artifact names a set twice: give each once")


def open_referee(
    config: Any,
    sets: Mapping[str, Artifact] | None = None,
    dataset: Dataset | None = None,
    test_dataset: Dataset | None = None,
) -> Opened:
    """Read the sets and their data, and check every flag.

    Args:
        config: a `Config`.
        sets: {name: artifact}, where they are in memory.
        dataset, test_dataset: the data, likewise.

    Raises:
        UserError: bad input, named.
    """
    fields.check(config)
    for name in ("export", "per_class"):
        if getattr(config, name):
            raise UserError(
                f"--{name} is about a set that is evaluated alone: leave it out, or "
                "--baselines, --teacher and what else makes a table"
            )
    baselines = names_of_baselines(config.baselines)
    teaches = config.teacher or config.teacher_bank is not None
    if config.teacher and config.teacher_bank is not None:
        raise UserError(
            "--teacher trains a teacher and --teacher_bank takes one: leave one out"
        )
    if config.teacher_views and not teaches:
        raise UserError(
            "--teacher_views is about a teacher's labels: add --teacher or "
            "--teacher_bank"
        )
    if config.real_epochs is not None and not (config.teacher or FULL in baselines):
        raise UserError(
            "--real_epochs is about networks on all training data: add --teacher or "
            f"--baselines={FULL}"
        )
    where = paths_of(config.artifact)[0]
    sets = read_sets(config.artifact) if sets is None else sets
    check_alike(sets)
    one = dataclasses.replace(plain(config), artifact=where)
    first = next(iter(sets.values()))
    opened = evaluation.open_artifact(first, one, dataset, test_dataset)
    problem = opened.problem
    sets = all_whole(sets, problem)
    protocols = protocols_of(
        config,
        {net: judge.protocol for net, judge in opened.judges.items()},
        problem.dataset.image_shape,
    )
    protocol = next(iter(protocols.values()))
    rates = rates_of(config.select_lr, protocol.training.learning_rate)
    if rates and problem.splits.validation is None:
        held_out = split(problem.dataset, VALIDATION, protocol.seed)
        problem = dataclasses.replace(problem, splits=held_out)
    bank = None
    if config.teacher_bank is not None:
        bank = open_bank(config.teacher_bank, problem)
    return Opened(
        sets,
        problem,
        opened.tested,
        protocols,
        baselines,
        bank,
        teaches,
        config.teacher_views,
        config.real_epochs or EPOCHS,
        rates,
        opened.folder,
        notes_of(sets, protocol, bool(rates)),
    )


def check_alike(sets: Mapping[str, Artifact]) -> None:
    """Refuse sets that one table cannot hold.

    Raises:
        UserError: they are of different data, classes or shapes.
    """
    (name, first), *others = sets.items()
    for other, artifact in others:
        both = f"{quoted(other)} and {quoted(name)}"
        if artifact.class_names != first.class_names:
            what = "of other classes, or have them in another order"
        elif artifact.dataset["fingerprint"] != first.dataset["fingerprint"]:
            what = "distilled from other data"
        elif artifact.images.shape[2:] != first.images.shape[2:]:
            what = "of other shapes"
        else:
            continue
        raise UserError(
            f"the sets {both} are {what}: one table holds sets of the same data, so "
            "evaluate them apart"
        )


def notes_of(
    sets: Mapping[str, Artifact], protocol: Protocol, chooses: bool
) -> list[str]:
    """What a reader of the table has to know about its sets."""
    (name, first), *others = sets.items()
    notes = []
    unlike = [
        x
        for x, artifact in sets.items()
        if (artifact.training, artifact.augmentation)
        != (protocol.training, protocol.augmentation)
    ]
    if unlike:
        notes.append(
            f"{', '.join(unlike)}: measured by a protocol that is not the set's own"
        )
    other_inputs = [
        other
        for other, artifact in others
        if artifact.preprocess.digest != first.preprocess.digest
    ]
    if other_inputs:
        notes.append(
            f"{', '.join(other_inputs)}: measured with the set's own preprocessing; "
            f"real samples have that of {name}"
        )
    held_out = first.dataset["validation"], first.dataset["split_seed"]
    seen = [
        x
        for x, artifact in sets.items()
        if not held_out[0]
        or (artifact.dataset["validation"], artifact.dataset["split_seed"]) != held_out
    ]
    if chooses and seen:
        notes.append(
            f"{', '.join(seen)}: distilled with the samples on which learning rates "
            "are chosen among its data"
        )
    if protocol.num_eval < FEW:
        notes.append(f"fewer than {FEW} networks say little")
    return notes
