"""The formats that a set is written in, by name. Another one is a line here."""

from collections.abc import Callable, Mapping
from pathlib import Path

from jaxdd.artifact.artifact import Artifact
from jaxdd.artifact.csv_file import write_csv
from jaxdd.artifact.export import export_pngs
from jaxdd.artifact.file import SET, save
from jaxdd.artifact.given import Source, artifact_of
from jaxdd.calling import called
from jaxdd.errors import choose
from jaxdd.exchange.content import HEADER
from jaxdd.exchange.parquet import write_parquet
from jaxdd.exchange.writers.arrays import as_safetensors, as_torch
from jaxdd.exchange.writers.hub import as_hub_folder
from jaxdd.storage.arrow import pyarrow
from jaxdd.storage.files import make_folder, output_file, refuse_unwritable
from jaxdd.storage.paths import local_path, shown
from jaxdd.storage.recognising import Kind, marked


def _as_pngs(artifact: Artifact, path: Path) -> Path:
    export_pngs(artifact, path)
    return path


# (set, file or folder) -> the same path.
TARGETS: Mapping[str, Callable[[Artifact, Path], Path]] = {
    "npz": save,
    "safetensors": as_safetensors,
    "pt": as_torch,
    "png": _as_pngs,
    "parquet": write_parquet,
    "csv": write_csv,
    "hub": as_hub_folder,
}


# How the files of a format end; the others are folders.
ENDINGS: Mapping[str, tuple[str, ...]] = {
    "npz": (".npz",),
    "safetensors": (".safetensors",),
    "pt": (".pt", ".pth"),
    "parquet": (".parquet",),
    "csv": (".csv",),
}


# Formats that are written with pyarrow.
ARROW = ("parquet", "hub")


# By which an earlier file of a format is known; a table of numbers could be anybody's.
_EXPORT = Kind("a set that this library wrote", marked(HEADER.encode()))
KINDS: Mapping[str, Kind] = {
    "npz": SET,
    "safetensors": _EXPORT,
    "pt": _EXPORT,
    "parquet": _EXPORT,
}


def write_as(artifact: Source, to: str, path: str | Path) -> Path:
    """Write a set in one of the formats, as a whole or not at all.

    Args:
        artifact: the set, as `artifact_of` takes it.
        to: "npz" (the library's own file), "safetensors", "pt" (for
            `torch.load(weights_only=True)`), "png" (a folder), "parquet", "csv" (of
            rows and sequences) or "hub" (a folder for the Hugging Face hub).
        path: the file or folder; folders above it are made.

    Raises:
        UserError: the format is unknown, cannot hold the set, or the disk refuses; the
            file ends otherwise than those of the format, or is there already and no
            set that was written like this.

    Example:
        >>> import tempfile
        >>> from jaxdd.artifact.artifact import _example
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.safetensors"
        ...     path = write_as(_example(), "safetensors", path)
        ...     again = jaxdd.load_foreign(path)
        >>> again.digest == _example().digest
        True
    """
    with called(None, renamed={"to": "to", "out": "path"}):
        return write_set(artifact_of(artifact), to, path)


def write_set(artifact: Artifact, to: str, path: str | Path) -> Path:
    """`write_as`, for a program.

    Raises:
        UserError: as `write_as`.
    """
    target = target_of(to, path)
    make_folder(target.parent, "--out")
    return TARGETS[to](artifact, target)


def target_of(to: str, path: str | Path) -> Path:
    """The file or folder of a format; nothing is written yet.

    Args:
        to: a name in `TARGETS`.
        path: as the user wrote it.

    Raises:
        UserError: the format is unknown or needs a package that is not there, or
            nothing can be written there.
    """
    choose("--to", to, TARGETS)
    if to in ARROW:
        pyarrow()
    if to in ENDINGS:
        return output_file(path, "--out", *ENDINGS[to], "", kind=KINDS.get(to))
    target = local_path(path, "--out")
    refuse_unwritable(target.parent, f"--out={shown(target)}")
    return target
