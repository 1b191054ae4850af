"""`jaxdd.load_foreign`: a set that another code distilled, as an artifact."""

import dataclasses
from pathlib import Path
from typing import Any

from jaxdd import fields
from jaxdd.artifact.file import Artifact
from jaxdd.data import Dataset
from jaxdd.data.accepted import Data, as_problem_data
from jaxdd.data.problem import DataFlags, Problem, open_problem, prepare
from jaxdd.errors import UserError
from jaxdd.evaluation.reopening import check_kind
from jaxdd.exchange.assembly import assembled
from jaxdd.exchange.containers import open_container
from jaxdd.exchange.content import artifact_in
from jaxdd.exchange.formats import FOLDER, read_content
from jaxdd.exchange.options import AUTO, ForeignFlags
from jaxdd.exchange.readers import folder
from jaxdd.fields import from_keywords
from jaxdd.progress import Callback, listening, say
from jaxdd.storage.paths import local_path, shown


def load_foreign(
    path: str | Path,
    dataset: Data | None = None,
    *,
    progress: Callback | None = None,
    **flags: Any,
) -> Artifact:
    """Read a set that another code distilled, with its published recipe.

    The files of DC, DSA, DM, IDC, NCFM, MTT, FTD, TESLA, DATM and PAD, named arrays
    (.safetensors, .npz, .npy, .pt), folders of pictures, and what `experiments.convert`
    writes. Nothing in a file is run, and PyTorch is not needed. What the file does not
    say (normalisation or ZCA, kind of labels, rate, protocol) comes from the method's
    published recipe or from a flag; each assumption is said, and is in
    `provenance["assumed"]`.

    Args:
        path: the file or folder.
        dataset: what the set was distilled from: (images, labels), a
            `jaxdd.data.Dataset`, or a name; only a file of ours needs none.
        progress: called with sentences about what was assumed.
        flags: those of `experiments.convert`, such as method="datm",
            normalisation="pixels", zca=True, labels="logits" or step_size=0.03.

    Raises:
        UserError: the file is damaged or hostile, its classes, counts or shapes are not
            those of the dataset, its classes are in another order, or nothing says what
            its numbers are.

    Example:
        >>> import tempfile
        >>> images = np.zeros((10, 8, 8, 1), np.uint8)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "set.npz"
        ...     np.savez(path, images=images, labels=np.arange(10))
        ...     artifact = load_foreign(path, "digits")
        >>> artifact.images.shape, artifact.space
        ((10, 1, 8, 8, 1), 'pixels')
    """
    with listening(progress):
        in_memory, name = (None, None) if dataset is None else as_problem_data(dataset)
        given = {"dataset": name} if name is not None else {}
        options = from_keywords(ForeignFlags, **given, **flags)
        options = fields.understood(options)
        return open_foreign(path, options, in_memory, named=dataset is not None)


def open_foreign(
    path: str | Path,
    options: ForeignFlags,
    in_memory: Dataset | None = None,
    named: bool = True,
) -> Artifact:
    """`load_foreign` with its flags in one object.

    Args:
        path: the file or folder.
        options: the flags.
        in_memory: the dataset, where it is there already.
        named: whether a dataset was named.

    Raises:
        UserError: as `load_foreign`.
    """
    place = local_path(path, "the foreign set")
    if place.is_dir():
        if options.format not in (AUTO, FOLDER):
            raise UserError(
                f"{shown(place)} is a folder, which is --format=folder: give a file"
            )
        problem = _problem(options, in_memory, named)
        names = problem.dataset.class_names
        foreign = folder.read(place, options, names)
        return assembled(foreign, problem, options, place)
    if options.format == FOLDER:
        raise UserError(f"--format=folder needs a folder, and {shown(place)} is none")
    content = open_container(place, "the foreign set")
    ours = artifact_in(content, place)
    if ours is not None:
        if named:
            dataset = _problem(options, in_memory, named).dataset
            check_kind(ours, dataset, dataset.name)
        say(f"{shown(place.name)} is a set of jaxdd, with all that belongs to it")
        return ours
    foreign = read_content(content, place, options)
    return assembled(foreign, _problem(options, in_memory, named), options, place)


def _problem(options: ForeignFlags, in_memory: Dataset | None, named: bool) -> Problem:
    if in_memory is not None:
        return prepare(in_memory, 0.0, 0)
    if not named:
        raise UserError(
            "a foreign set needs the dataset that it was distilled from: give it by "
            "--dataset (and --data_dir), or in Python by dataset="
        )
    form = {f.name: getattr(options, f.name) for f in dataclasses.fields(DataFlags)}
    return open_problem(DataFlags(**form), 0.0, 0)
