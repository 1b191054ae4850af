"""Archives that are there: found by name, compared with size and checksum."""

import hashlib
from pathlib import Path

from jaxdd.data.originals import Archive, Original
from jaxdd.errors import UserError
from jaxdd.storage.paths import existing_file, is_there, local_path, reason, shown

_PIECE = 2**20  # bytes
_REMEDY = "give the original file, or leave --archive out to have it fetched"


def given(place: str | Path, original: Original) -> list[Path]:
    """The archives of a dataset that a person has.

    Args:
        place: the archive, or a folder that holds all of them by their names.
        original: the dataset.

    Returns:
        The paths, in the order of `original.archives`, or the one path of an archive
        that stands instead of these.

    Raises:
        UserError: there is no such file, one is lacking, or one is not the original.
    """
    path = local_path(place, "--archive")
    if path.is_dir():
        lacking = [x.name for x in original.archives if not is_there(path / x.name)]
        for archive in original.instead:
            if lacking and is_there(path / archive.name):
                check(path / archive.name, archive)
                return [path / archive.name]
        if lacking:
            raise UserError(
                f"--archive={shown(path)} lacks {', '.join(lacking)}: give the folder "
                "that holds them"
            )
        for archive in original.archives:
            check(path / archive.name, archive)
        return [path / x.name for x in original.archives]
    path = existing_file(path, "--archive", _REMEDY)
    if len(original.archives) > 1:
        names = ", ".join(x.name for x in original.archives)
        raise UserError(
            f"--archive={shown(path)} is one file, but the dataset has several: give "
            f"the folder that holds {names}"
        )
    choices = [*original.archives, *original.instead]
    by_name = [x for x in choices if x.name == path.name]
    by_size = [x for x in choices if x.size == path.stat().st_size]
    check(path, (by_name or by_size or choices)[0])
    return [path]


def check(path: Path, archive: Archive) -> None:
    """Refuse a file that is not the original.

    Args:
        path: the file.
        archive: what it has to be.

    Raises:
        UserError: it has another size or checksum, or cannot be read.

    Example:
        >>> import tempfile
        >>> from jaxdd.data.originals import ORIGINALS
        >>> with tempfile.NamedTemporaryFile() as file:  # doctest: +ELLIPSIS
        ...     check(Path(file.name), ORIGINALS["mnist"].archives[0])
        Traceback (most recent call last):
        ...
        jaxdd.errors.UserError: ... is not the original train-images-idx3-ubyte.gz: ...
    """
    try:
        size = path.stat().st_size
        if size != archive.size:
            raise UserError(
                f"{shown(path)} is not the original {archive.name}: it has {size} "
                f"bytes, not {archive.size}; {_REMEDY}"
            )
        kind, _, expected = archive.checksum.partition(":")
        digest = hashlib.new(kind, usedforsecurity=False)
        with open(path, "rb") as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
    except OSError as error:
        raise UserError(
            f"the archive {shown(path)} cannot be read ({reason(error)}); {_REMEDY}"
        ) from error
    if digest.hexdigest() != expected:
        raise UserError(
            f"{shown(path)} is not the original {archive.name}: its {kind} is "
            f"{digest.hexdigest()}, not {expected}; {_REMEDY}"
        )
