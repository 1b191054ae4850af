"""What a file that is there is: whether a result may take its place."""

import os
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

_AT_ONCE = 2**20  # bytes


class Kind(NamedTuple):
    """A kind of file that is written.

    Attributes:
        name: with its article, such as "a distilled set".
        recognises: whether a regular file is one.
    """

    name: str
    recognises: Callable[[Path], bool]


def is_regular(path: Path) -> bool:
    """Whether a path leads to a file that can be read to an end: no device, no pipe."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def members(path: Path) -> set[str]:
    """The names in a zip archive; none where it is no archive, or a damaged one.

    Example:
        >>> members(Path("no/such/file"))
        set()
    """
    if not is_regular(path):
        return set()
    try:
        with zipfile.ZipFile(path) as archive:
            return set(archive.namelist())
    except Exception:  # a damaged zip archive can raise almost anything
        return set()


def marked(mark: bytes, within: int | None = None) -> Callable[[Path], bool]:
    """Recognise files by what their writer leaves in them.

    Args:
        mark: the bytes.
        within: how many bytes from the beginning on are searched; None for all.
    """

    def recognises(path: Path) -> bool:
        try:
            with open(path, "rb") as file:
                if within is not None:
                    return mark in file.read(within)
                before = b""
                while part := file.read(_AT_ONCE):
                    if mark in before + part:
                        return True
                    before = part[-len(mark) :]
        except OSError:
            pass
        return False

    return recognises


def may_be_replaced(path: Path, kind: Kind | None) -> bool:
    """Whether a result may take a place: it is free, or has a file of the same kind, or
    an empty one.

    Args:
        path: the place.
        kind: of the result; None where such files cannot be recognised.
    """
    if not os.path.lexists(path):
        return True
    if not is_regular(path):
        return False
    is_empty = path.stat().st_size == 0
    return is_empty or (kind is not None and kind.recognises(path))
