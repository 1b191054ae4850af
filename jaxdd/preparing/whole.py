"""From the name of a dataset to the form that `--dataset` reads."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxdd.calling import called
from jaxdd.data.originals import ORIGINALS, Original
from jaxdd.data.readers.tfds_info import INFO_FILE, read_info
from jaxdd.data.readers.tfds_paths import default_data_dir
from jaxdd.errors import UserError, choose
from jaxdd.preparing.checked import given
from jaxdd.preparing.content import Content
from jaxdd.preparing.readers import cifar, idx, svhn, tiny_imagenet
from jaxdd.preparing.transfer import fetch
from jaxdd.preparing.writing import write
from jaxdd.progress import Callback, say
from jaxdd.storage.files import make_folder, temporary_sibling
from jaxdd.storage.lock import owned
from jaxdd.storage.paths import is_there, reason, shown

DOWNLOADS = "downloads"  # folder in the data_dir, as TFDS calls it
READERS: Mapping[str, Callable[[Sequence[Path]], Content]] = {
    "mnist": idx.read,
    "fashion_mnist": idx.read,
    "svhn_cropped": svhn.read,
    "cifar10": cifar.read,
    "cifar100": cifar.read,
    "tiny_imagenet": tiny_imagenet.read,
}


class Prepared(NamedTuple):
    """A dataset that `--dataset` reads.

    Attributes:
        folder: its version's folder, DATA_DIR/NAME/VERSION.
        counts: number of records by split.
        anew: whether it was written now; False if it was there.
    """

    folder: Path
    counts: dict[str, int]
    anew: bool


def prepare(
    name: str,
    archive: str | Path | None = None,
    data_dir: str | Path | None = None,
    original: Original | None = None,
    *,
    progress: Callback | None = None,
) -> Prepared:
    """Write a dataset in the form of TFDS, without TensorFlow.

    The folder of the version appears whole or not at all. A dataset that is there stays
    as it is. Archives that are fetched lie in DATA_DIR/downloads and may be deleted.

    Args:
        name: a name in `ORIGINALS`.
        archive: the original archive, or the folder of several; None to fetch them.
        data_dir: as in TFDS (default: TFDS_DATA_DIR or ~/tensorflow_datasets).
        original: where the archives are and what they have to be; by default those of
            the table `ORIGINALS`.
        progress: called with events, see `jaxdd.progress`; `jaxdd.report.bar` draws a
            bar.

    Raises:
        UserError: the name is unknown, an archive cannot be had, is not the original or
            damaged, the folder is used by another process, or the disk refuses.

    Example:
        >>> prepare("mnist", "no/such/file")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        jaxdd.errors.UserError: ...
    """
    arguments = {"dataset": "name", "archive": "archive", "data_dir": "data_dir"}
    with called(None, progress, arguments):
        return write_dataset(name, archive, data_dir, original)


def write_dataset(
    name: str,
    archive: str | Path | None = None,
    data_dir: str | Path | None = None,
    original: Original | None = None,
) -> Prepared:
    """`prepare`, for a program.

    Raises:
        UserError: as `prepare`.
    """
    read = choose("--dataset to prepare", name, READERS)
    original = original or ORIGINALS[name]
    root = default_data_dir() if data_dir is None else Path(data_dir)
    if archive is not None:  # wrong archives leave no folders behind
        sources = given(archive, original)
    root = make_folder(root, "--data_dir")
    target = root / name / original.version
    if is_there(target / INFO_FILE):
        return _counted(target, anew=False)
    if is_there(target):
        raise UserError(
            f"{shown(target)} is there but has no {INFO_FILE}: remove it, or choose "
            "another --data_dir"
        )
    with owned(root / name):
        if archive is None:
            sources = _fetched(name, original, root)
        part = temporary_sibling(target)
        try:
            part.mkdir()
            write(name, original.version, read(sources), part)
            part.rename(target)
        except OSError as error:
            raise UserError(
                f"cannot write {shown(target)} ({reason(error)}): free the disk or "
                "choose another --data_dir"
            ) from error
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return _counted(target, anew=True)


def _fetched(name: str, original: Original, root: Path) -> list[Path]:
    """The archives in DATA_DIR/downloads/NAME."""
    folder = make_folder(root / DOWNLOADS / name, "--data_dir")
    lacking = [x for x in original.archives if not is_there(folder / x.name)]
    size, free = sum(x.size for x in lacking), shutil.disk_usage(folder).free
    if size > free:
        raise UserError(
            f"the archives of {name} take {size} bytes, and {free} are free in "
            f"{shown(root)}: free the disk or choose another --data_dir"
        )
    if lacking:
        say(f"fetching {size / 1e6:.0f} MB into {shown(folder)}")
    return [fetch(archive, folder) for archive in original.archives]


def _counted(folder: Path, anew: bool) -> Prepared:
    splits = read_info(folder).splits
    return Prepared(folder, {x: sum(splits[x].lengths) for x in splits}, anew)
