"""Datasets by name: the built-in digits, folders, archives, and prepared TFDS sets."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from jaxdd.data.dataset import Dataset
from jaxdd.data.readers.digits import digits
from jaxdd.data.readers.folder import from_folder
from jaxdd.data.readers.npz import from_npz
from jaxdd.data.readers.pictures import Form, Size, fit_arrays, form_of
from jaxdd.data.readers.small import breast_cancer, waves, wine
from jaxdd.data.readers.table import from_table
from jaxdd.data.readers.tfds import from_tfds
from jaxdd.data.streaming.moving import placed
from jaxdd.errors import UserError, quoted
from jaxdd.modality import check_pixels
from jaxdd.storage.paths import shown

# Datasets that come with the installed packages, by name.
BUILT_IN: Mapping[str, Callable[[], Dataset]] = {
    "digits": digits,
    "breast_cancer": breast_cancer,
    "wine": wine,
    "waves": waves,
}
TABLE = "table"  # what stands before the path of a table


def load(
    name: str,
    data_dir: str | Path | None = None,
    channels: int | None = None,
    image_size: Size = None,
    modality: str | None = None,
    label: str | None = None,
    id_column: str | None = None,
    missing: str | None = None,
    stream: str = "never",
) -> Dataset:
    """The dataset of a name: one in `BUILT_IN`, of a file, or of TFDS.

    Args:
        name: a name in `BUILT_IN`, "folder:PATH", "npz:FILE", "table:FILE", or the name
            of a TFDS dataset.
        data_dir: folder of prepared TFDS datasets, see `from_tfds`.
        channels: 1 (grey) or 3 (RGB), to which images are converted; None keeps theirs.
        image_size: in pixels, a side or (H, W); images are cut to that shape about
            their centre and resized.
        modality: what the arrays of an .npz are, see `from_arrays`.
        label, id_column, missing: how a table is read, see `from_table`.
        stream: whether images stay on disk, one of `streaming.choice.STREAM`. Folders,
            archives and TFDS datasets are decoded to the disk; tables, and archives in
            Fortran order, have to fit into memory once.

    Raises:
        UserError: the dataset does not exist or cannot be read, or an argument is about
            data of another kind.
    """
    dataset = _read(
        name, data_dir, channels, image_size, modality, label, id_column, missing,
        stream,
    )  # fmt: skip
    return placed(dataset, stream)


def _read(
    name: str,
    data_dir: str | Path | None,
    channels: int | None,
    image_size: Size,
    modality: str | None,
    label: str | None,
    id_column: str | None,
    missing: str | None,
    stream: str,
) -> Dataset:
    """The dataset of `load`, on disk where its reader decodes to the disk."""
    kind, _, place = name.partition(":")
    form = form_of(channels, image_size)
    of_tables = {"label": label, "id_column": id_column, "missing": missing}
    given = next((flag for flag, x in of_tables.items() if x is not None), None)
    if given is not None and kind != TABLE:
        hint = f"is --dataset=table:{name} meant?" if Path(name).is_file() else (
            "leave it out"
        )  # fmt: skip
        raise UserError(f"--{given} is about tables (--dataset=table:FILE): {hint}")
    if modality is not None and kind != "npz":
        raise UserError(
            "--modality says what the arrays of an .npz are, and other data says so "
            "itself: leave it out"
        )
    if kind == "folder":
        return from_folder(place, channels, image_size, stream)
    if kind == "npz":
        return from_npz(place, channels, image_size, modality, stream)
    if kind != TABLE and name not in BUILT_IN:
        _refuse_lookalike(name)
        return from_tfds(name, data_dir, channels, image_size, stream)
    dataset = from_table(place, **of_tables) if kind == TABLE else BUILT_IN[name]()
    if form == Form():
        return dataset
    check_pixels("converting channels or sizes", dataset.image_shape)
    images = fit_arrays(name, np.asarray(dataset.images), form)
    test_images = fit_arrays(name, np.asarray(dataset.test_images), form)
    return replace(dataset, images=images, test_images=test_images)


# How a path is to be read, by its ending.
_READ_AS = {".csv": "table", ".tsv": "table", ".parquet": "table", ".npz": "npz"}


def _refuse_lookalike(name: str) -> None:
    """Raise UserError for a path without its kind, or a misspelt name."""
    path = Path(name)
    kind = "folder" if path.is_dir() else _READ_AS.get(path.suffix.lower())
    if kind is not None and path.exists() and (path.suffix or "/" in name):
        raise UserError(
            f"--dataset={shown(name)} does not say how to read it: give "
            f"--dataset={kind}:{shown(name)}"
        )
    close = difflib.get_close_matches(name, BUILT_IN, 1, cutoff=0.8)
    if close:
        raise UserError(f"there is no dataset {quoted(name)}: {close[0]} is meant?")
