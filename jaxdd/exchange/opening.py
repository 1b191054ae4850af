"""`jaxdd.load_foreign`: a set that another code distilled, as an artifact."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxdd import fields
from jaxdd.artifact.artifact import Artifact
from jaxdd.artifact.file import is_artifact, load
from jaxdd.artifact.slim import filled
from jaxdd.calling import called
from jaxdd.data import Dataset
from jaxdd.data.accepted import Data, as_problem_data
from jaxdd.data.problem import DataFlags, Problem, open_problem, prepare
from jaxdd.errors import UserError, choose
from jaxdd.evaluation.reopening import check_kind, reopen
from jaxdd.exchange.assembly import assembled
from jaxdd.exchange.containers import open_container
from jaxdd.exchange.content import artifact_in
from jaxdd.exchange.formats import FOLDER, NAMES, read_content
from jaxdd.exchange.options import AUTO, ForeignFlags, Options
from jaxdd.exchange.readers import folder
from jaxdd.fields import from_keywords
from jaxdd.fields.keywords import takes
from jaxdd.progress import Callback, say
from jaxdd.storage.paths import local_path, shown


@takes(ForeignFlags)
def load_foreign(
    path: str | Path | tuple[Any, Any],
    dataset: Data | None = None,
    *,
    progress: Callback | None = None,
    **flags: Any,
) -> Artifact:
    """Read a set that another code distilled, or take its arrays, with its recipe.

    The files of DC, DSA, DM, IDC, NCFM, MTT, FTD, TESLA, DATM and PAD, named arrays
    (.safetensors, .npz, .npy, .pt), folders of pictures, and what `experiments.convert`
    writes. Nothing in a file is run, and PyTorch is not needed. What the file does not
    say (normalisation or ZCA, kind of labels, rate, protocol) comes from the method's
    published recipe or from a flag; each assumption is said, and is in
    `provenance["assumed"]`.

    Args:
        path: the file or folder; or (images, labels) in memory, as a file would hold
            them: labels may be classes or probabilities.
        dataset: what the set was distilled from: (images, labels), a
            `jaxdd.data.Dataset`, or a name; only a file of ours needs none, and a slim
            one is made whole by it.
        progress: called with sentences about what was assumed.
        flags: those of `experiments.convert`, such as method="datm",
            normalisation="pixels", zca=True, labels="logits" or step_size=0.03.

    Raises:
        UserError: the file is damaged or hostile, its classes, counts or shapes are not
            those of the dataset, its classes are in another order, or nothing says what
            its numbers are; or a slim set was whitened by other data.

    Example:
        >>> import tempfile
        >>> images = np.zeros((10, 8, 8, 1), np.uint8)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "set.npz"
        ...     np.savez(path, images=images, labels=np.arange(10))
        ...     artifact = load_foreign(path, "digits")
        >>> artifact.images.shape, artifact.space
        ((10, 1, 8, 8, 1), 'pixels')
        >>> load_foreign((images, np.arange(10)), "digits").ipc
        1
    """
    with called(ForeignFlags, progress):
        in_memory, name = (None, None) if dataset is None else as_problem_data(dataset)
        options = from_keywords(ForeignFlags, dataset=name, **flags)
        options = fields.understood(options)
        if isinstance(path, tuple | list):
            return _of_arrays(path, options, in_memory)
        return open_foreign(path, options, in_memory)


def _of_arrays(
    given: Sequence[Any], options: ForeignFlags, in_memory: Dataset | None
) -> Artifact:
    """The artifact of (images, labels).

    Raises:
        UserError: they are something else, or as `load_foreign`.
    """
    if len(given) != 2:
        raise UserError(
            f"a set in memory is (images, labels), and {len(given)} things were given"
        )
    images, labels = given
    content = {"images": np.asarray(images), "labels": np.asarray(labels)}
    place = Path("the arrays")
    foreign = read_content(content, place, options)
    return assembled(foreign, _problem(options, in_memory), options, place)


def open_foreign(
    path: str | Path, options: ForeignFlags, in_memory: Dataset | None = None
) -> Artifact:
    """`load_foreign` with its flags in one object.

    Args:
        path: the file or folder.
        options: the flags.
        in_memory: the dataset, where it is there already.

    Raises:
        UserError: as `load_foreign`.
    """
    choose("--format", options.format, dict.fromkeys(NAMES))
    place = local_path(path, "the foreign set")
    if place.is_dir():
        if options.format not in (AUTO, FOLDER):
            raise UserError(
                f"{shown(place)} is a folder, which is --format=folder: give a file"
            )
        problem = _problem(options, in_memory)
        names = problem.dataset.class_names
        foreign = folder.read(place, options, names)
        return assembled(foreign, problem, options, place)
    if options.format == FOLDER:
        raise UserError(f"--format=folder needs a folder, and {shown(place)} is none")
    if is_artifact(place):
        return _checked(load(place), options, in_memory)
    content = open_container(place, "the foreign set")
    ours = artifact_in(content, place)
    if ours is not None:
        say(f"{shown(place.name)} is a set of jaxdd, with all that belongs to it")
        return _checked(ours, options, in_memory)
    foreign = read_content(content, place, options)
    return assembled(foreign, _problem(options, in_memory), options, place)


def _checked(
    artifact: Artifact, options: ForeignFlags, in_memory: Dataset | None
) -> Artifact:
    """A set of ours, if it is of the dataset, where one is named.

    With its dataset a slim set is made whole.

    Raises:
        UserError: flags describe it otherwise, or its classes are not the dataset's.
    """
    for field in dataclasses.fields(Options):
        if getattr(options, field.name) != field.default:
            raise UserError(
                f"a set of jaxdd has all that belongs to it: leave --{field.name} out"
            )
    if in_memory is None and options.dataset is None:
        return artifact
    dataset = _problem(options, in_memory).dataset
    check_kind(artifact, dataset, dataset.name)
    if not artifact.is_slim:
        return artifact
    return filled(artifact, reopen(artifact, None, None, dataset).preprocess)


def _problem(options: ForeignFlags, in_memory: Dataset | None) -> Problem:
    """The dataset of a foreign set; all of its training split counts.

    Raises:
        UserError: none is named, or it cannot be read.
    """
    if in_memory is not None:
        return prepare(in_memory, 0.0, 0)
    if options.dataset is None:
        raise UserError(
            "a foreign set needs the dataset that it was distilled from: give it by "
            "--dataset (and --data_dir)"
        )
    form = {f.name: getattr(options, f.name) for f in dataclasses.fields(DataFlags)}
    return open_problem(DataFlags(**form), 0.0, 0)
