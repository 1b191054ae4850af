"""Replacement of an earlier export as a whole, and of nothing but an export."""

import os
import re
import shutil
import zlib
from pathlib import Path

from jaxdd.artifact.description import ARRAYS, KIND, MARK
from jaxdd.errors import UserError
from jaxdd.storage.files import abandoned, remove_abandoned, temporary_sibling
from jaxdd.storage.paths import reason, shown
from jaxdd.storage.records import list_of, mapping, one_of, read_json, text

_MARKED = mapping(kind=one_of(KIND), images=list_of(mapping(file=text())))
_PICTURE = re.compile(r"[^/]+/[0-9]{4,}\.png")
# Files that viewers of pictures create.
_LEFT_BY_VIEWERS = {".DS_Store", "Thumbs.db", "desktop.ini"}


def strangers(folder: Path) -> list[str]:
    """The entries of a folder that are not part of an earlier export, sorted.

    Raises:
        UserError: the `export.json` of an earlier export is damaged.
        OSError: the folder cannot be read.
    """
    files: set[str] = set()
    mark = folder / MARK
    if mark.is_file() and not mark.is_symlink():
        remedy = "choose another folder for the export"
        images = read_json(mark, _MARKED, remedy)["images"]
        files = {x["file"] for x in images if _PICTURE.fullmatch(x["file"])}
    folders = {file.split("/")[0] for file in files}
    if files:
        files |= {MARK, ARRAYS}
    strange = []
    for place in _entries(folder):
        relative = place.relative_to(folder).as_posix()
        if place.is_dir() and not place.is_symlink():
            ours = relative in folders
        else:
            ours = relative in files and not place.is_symlink()
            ours |= place.name in _LEFT_BY_VIEWERS
        if not ours:
            strange.append(relative)
    return sorted(strange)


def _entries(folder: Path) -> list[Path]:
    """All files and folders below a folder; links are not followed.

    Raises:
        OSError: a folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise error

    walk = os.walk(folder, onerror=refuse)
    return [Path(root, name) for root, dirs, files in walk for name in (*dirs, *files)]


def _older(target: Path) -> str:
    """The kind (see `temporary_sibling`) of an export while it is being replaced."""
    return f"older-{zlib.crc32(os.fsencode(target.name)):08x}"


def recover(target: Path) -> bool:
    """Clean up after exports that were killed.

    Returns:
        Whether an older export was put back.

    Raises:
        UserError: the disk refuses.
    """
    remove_abandoned(target.parent)
    older = abandoned(target.parent, _older(target))
    recovered = False
    try:
        if older and not target.exists():
            older.pop().rename(target)
            recovered = True
    except OSError as error:
        raise UserError(
            f"cannot put the earlier export back to {shown(target)}: {reason(error)}; "
            "choose another folder"
        ) from error
    for replaced in older:
        shutil.rmtree(replaced, ignore_errors=True)
    return recovered


def replace(target: Path, part: Path) -> None:
    """Move a finished folder to a place that is free, empty, or an older export.

    There are two renames: a process that is killed between them leaves the older export
    under a hidden name, and `recover` puts it back.
    """
    if not target.exists():
        part.rename(target)
        return
    older = temporary_sibling(target, _older(target))
    target.rename(older)
    try:
        part.rename(target)
    except OSError:
        older.rename(target)
        raise
    shutil.rmtree(older, ignore_errors=True)
