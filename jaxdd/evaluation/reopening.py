"""The data of an artifact, found again, and other data to judge it on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

import numpy as np

from jaxdd.artifact.artifact import Artifact
from jaxdd.artifact.slim import filled
from jaxdd.data import Dataset, Preprocess, Split
from jaxdd.data.columns import Column
from jaxdd.data.problem import FORM, DataFlags, Problem, open_dataset, prepare
from jaxdd.data.streaming.moving import placed
from jaxdd.data.streaming.sources import joined
from jaxdd.data.subsets import Subset
from jaxdd.data.unfitted import Unfitted
from jaxdd.errors import UserError, quoted

PARTS = ("test", "all")


def reopen(
    artifact: Artifact,
    dataset: str | None,
    data_dir: str | None,
    in_memory: Dataset | None = None,
    stream: str = "auto",
    fitted: Sequence[Preprocess] = (),
) -> Problem:
    """The data that an artifact was made from, with its own preprocessing.

    The whitening of a slim set is fitted again; `slim.filled` puts it into the set.

    Args:
        artifact: the set.
        dataset, data_dir: where the data is now, if it moved.
        in_memory: the data, where it is there already.
        stream: whether images stay on disk, see `data.load`.
        fitted: whitenings that are there already, for a slim set that has one of them.

    Raises:
        UserError: the data cannot be read or is not the same, its classes have other
            names or another order, or a slim set was whitened otherwise.
    """
    origin = artifact.dataset
    if in_memory is not None:
        data, source = placed(in_memory, stream), None
    else:
        source = dataset or origin["name"]
        try:
            data = open_dataset(_flags(artifact, source, data_dir, stream))
        except UserError as error:
            if dataset is not None:
                raise
            raise UserError(
                f"the artifact calls its data {quoted(source)}, and no such data can "
                f"be read here ({error}): give it by --dataset (and --data_dir)"
            ) from error
    name = source or data.name
    data = of_set(data, origin)
    if data.is_decoded and data.fingerprint != origin["fingerprint"]:
        raise UserError(
            f"the dataset {quoted(name)} is not the one the artifact was made from "
            "(its fingerprint differs): give the right --dataset or --data_dir; "
            "experiments.evaluate names by --test_dataset what a set is only tested on"
        )
    check_kind(artifact, data, name)
    validation, seed = float(origin["validation"]), origin["split_seed"]
    problem = prepare(data, validation, seed)
    preprocess = artifact.preprocess
    if isinstance(preprocess, Unfitted):
        for known in fitted:
            if preprocess.agrees(known):
                return replace(problem, preprocess=known, source=source)
        if not data.is_decoded:
            raise UserError(
                f"the images of {quoted(name)} are not decoded yet, and the whitening "
                "of a slim set is fitted to all of them: leave --plan out, or make the "
                "set whole by experiments.convert first"
            )
        preprocess = preprocess.fit(problem.splits.train.images)
    return replace(problem, preprocess=preprocess, source=source)


def all_whole(sets: Mapping[str, Artifact], problem: Problem) -> dict[str, Artifact]:
    """The sets of one table, slim ones made whole; one fit serves all that share it.

    Args:
        sets: by name.
        problem: what `reopen` returned for the first.

    Raises:
        UserError: the data is not that of another set, or whitened otherwise.
    """
    (name, first), *others = sets.items()
    whole, fitted = {name: filled(first, problem.preprocess)}, [problem.preprocess]
    for name, artifact in others:
        own = reopen(artifact, None, None, problem.dataset, fitted=fitted)
        whole[name] = filled(artifact, own.preprocess)
        fitted.append(own.preprocess)
    return whole


def of_set(data: Dataset, origin: dict[str, Any]) -> Dataset:
    """The data with the training samples of a set's, where it had not all of them.

    Args:
        data: the whole data, those samples already, or other data, which are returned
            as they are.
        origin: what an artifact says of its data.

    Raises:
        UserError: the record of the samples contradicts the data.
    """
    if "subset" not in origin:
        return data
    record = origin["subset"]
    if data.is_decoded and data.fingerprint != record["fingerprint"]:
        return data  # those samples already, or other data, which is refused
    if record["samples"] != len(data.labels):
        raise UserError(
            f"the artifact was made from some of {record['samples']} training samples, "
            f"and the same data has {len(data.labels)}: one of them is damaged"
        )
    return data.subset(Subset.from_record(record).ids)


def _flags(
    artifact: Artifact, name: str, data_dir: str | None, stream: str
) -> DataFlags:
    """The flags of data whose images are converted as the artifact's were."""
    form = {key: artifact.dataset.get(key) for key in FORM}
    if name.partition(":")[0] != "table":
        form |= dict.fromkeys(("label", "id_column", "missing"))
    if name.partition(":")[0] != "npz":
        form["modality"] = None
    return DataFlags(dataset=name, data_dir=data_dir, stream=stream, **form)


def check_kind(artifact: Artifact, dataset: Dataset, name: str) -> None:
    """Refuse data of other classes or shapes than a set's.

    Class names are no part of a fingerprint, and labels are numbers: with classes in
    another order most of a right network's answers would count as wrong.
    """
    if dataset.class_names != artifact.class_names:
        difference = _difference(artifact.class_names, dataset.class_names)
        raise UserError(
            f"the dataset {quoted(name)} has {difference}: give data with the "
            "artifact's classes, in its order"
        )
    if artifact.columns and dataset.columns not in ((), artifact.columns):
        pairs = zip_longest(artifact.columns, dataset.columns)
        place, ours, theirs = next(
            (i, a, b) for i, (a, b) in enumerate(pairs, 1) if a != b
        )
        raise UserError(
            f"the table {quoted(name)} has other columns or categories than that of "
            f"the artifact, column {place} {_column(theirs)} and not {_column(ours)}: "
            "give a table with the same ones, in its order"
        )
    if artifact.images.shape[2:] != dataset.image_shape:
        raise UserError(
            f"the images of {quoted(name)} have shape {dataset.image_shape} (height, "
            f"width, channels), those of the artifact {artifact.images.shape[2:]}: "
            "give data of the artifact's shape"
        )


def _column(column: Column | None) -> str:
    """A column in a sentence."""
    if column is None:
        return "none"
    kind = f"categories {', '.join(column.levels)}" if column.levels else "numbers"
    return quoted(f"{column.name} ({kind})")


def _difference(ours: tuple[str, ...], theirs: tuple[str, ...]) -> str:
    """How the classes of data differ from a set's, for a sentence."""
    if len(ours) != len(theirs):
        return f"{len(theirs)} classes, not {len(ours)}"
    if sorted(ours) != sorted(theirs):
        lacking = next((name for name in ours if name not in theirs), None)
        if lacking is None:  # some name occurs twice
            return "other class names"
        return f"no class {quoted(lacking)}"
    pairs = enumerate(zip(ours, theirs, strict=True))
    k, (own, other) = next(x for x in pairs if x[1][0] != x[1][1])
    return (
        f"the classes in another order (class {k} is {quoted(other)} there and "
        f"{quoted(own)} in the artifact)"
    )


@dataclass(frozen=True)
class Tested:
    """What a set is judged on.

    Attributes:
        split: the samples.
        name, part: the data set and what of it.
        fingerprint: of the data set.
        own: whether it is the test split of the data that the set was made from.
    """

    split: Split
    name: str
    part: str
    fingerprint: str
    own: bool


def tested_on(
    artifact: Artifact,
    problem: Problem,
    dataset: Dataset | str | None,
    part: str,
    data_dir: str | None,
    stream: str,
) -> Tested:
    """The samples that a set is measured on: its own test split, or other data.

    Args:
        artifact, problem: the set, and the data that it was made from.
        dataset: other data, or its name; None for its own.
        part: of other data, its "test" split, or "all" of it.
        data_dir, stream: see `data.load`.

    Raises:
        UserError: the data cannot be read, or has other classes or another shape.
    """
    if part not in PARTS:
        raise UserError(
            f"unknown --test_part={quoted(part)}: choose {' or '.join(PARTS)}"
        )
    own = problem.dataset
    if dataset is None:
        if part != "test":
            raise UserError(
                "--test_part=all is about --test_dataset: name other data, since the "
                "set was made from the rest of its own"
            )
        return Tested(problem.splits.test, problem.name, part, own.fingerprint, True)
    if isinstance(dataset, Dataset):
        other, name = placed(dataset, stream), dataset.name
    else:
        other, name = open_dataset(_flags(artifact, dataset, data_dir, stream)), dataset
    check_kind(artifact, other, name)
    images, labels = other.test_images, other.test_labels
    if part == "all":
        images = joined(other.images, images)
        labels = np.concatenate([other.labels, labels])
    split = Split(images, labels, np.arange(len(labels)))
    # The test split of the whole is that of some of its training samples.
    known = {own.fingerprint}
    if own.restricted is not None:
        known.add(own.restricted.fingerprint)
    same = part == "test" and other.fingerprint in known
    return Tested(split, name, part, other.fingerprint, same)
