"""Paths from flags and arguments: expanded, bounded, and refused if unusable.

Every path of a flag or of a function's argument passes through `local_path` once, so
that `~` works in all of them and none creates a folder called "gs:".
"""

import errno
import os
import re
import stat
from pathlib import Path

from jaxdd.errors import UserError, quoted

# Limits of common file systems; beyond them the system's message names no cause.
_LONGEST_NAME, _LONGEST_PATH = 255, 4095  # bytes
# A drive letter is no scheme; a `Path` has lost one of the two slashes.
_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+):/")


def local_path(path: str | os.PathLike, what: str) -> Path:
    """A path on this machine, with `~` expanded.

    Args:
        path: the path as the user wrote it.
        what: name of the path in messages, such as "--workdir".

    Raises:
        UserError: it is no path, is empty, is an address such as gs://bucket, begins
            with an unknown user, contains a zero byte or is too long for a file system.

    Example:
        >>> local_path("runs/x", "--workdir").as_posix()
        'runs/x'
    """
    if not isinstance(path, str | bytes | os.PathLike):
        raise UserError(f"{what} must name a path, not {quoted(path)}")
    text = os.fspath(path)
    if isinstance(text, bytes):
        text = os.fsdecode(text)
    scheme = _SCHEME.match(text)
    if scheme is not None:
        raise UserError(
            f"{_named(what, text)} is an address ({scheme[1]}), but only folders and "
            "files of this machine can be used: mount it or copy it, and give that path"
        )
    if not text or "\0" in text:
        raise UserError(f"{what} must name a path, not {shown(text)!r}")
    try:
        expanded = Path(text).expanduser()
    except RuntimeError:  # no such user, or no home folder at all
        user = text.split("/")[0]
        raise UserError(
            f"{_named(what, text)} begins with {shown(user)}, whose home folder is not "
            "known: give the whole path"
        ) from None
    longest = max((len(os.fsencode(part)) for part in expanded.parts), default=0)
    if longest > _LONGEST_NAME or len(os.fsencode(expanded)) > _LONGEST_PATH:
        raise UserError(
            f"{_named(what, text)} is too long: a name may have {_LONGEST_NAME} bytes "
            f"and a path {_LONGEST_PATH}"
        )
    return expanded


def _named(what: str, text: str) -> str:
    """A path in a message: "--flag=PATH" for flags and variables, else "what PATH"."""
    is_assigned = what.startswith("--") or what.isupper()
    return f"{what}{'=' if is_assigned else ' '}{shown(text)}"


def existing_file(path: str | os.PathLike, what: str, remedy: str) -> Path:
    """A regular file that can be read.

    Args:
        path, what: as for `local_path`.
        remedy: end of the message that says what to do, such as "give the path of a
            distilled.npz".

    Raises:
        UserError: as `local_path`; or the file does not exist, is a folder, a pipe or
            a device, or is not readable.
    """
    place = local_path(path, what)
    _check(place, what, remedy, stat.S_ISREG, "a regular file", os.R_OK)
    return place


def is_there(path: Path) -> bool:
    """Whether a file or folder exists.

    A path that cannot be examined counts as existing: its reader reports the cause.

    Example:
        >>> is_there(Path("no/such/file")), is_there(Path("x" * 1000))
        (False, False)
    """
    try:
        path.stat()
    except OSError as error:
        # No file can have a name that is too long.
        return error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
    except ValueError:  # nor one with a zero byte
        return False
    return True


def existing_folder(path: str | os.PathLike, what: str, remedy: str) -> Path:
    """A folder whose content can be read; arguments and errors as `existing_file`."""
    place = local_path(path, what)
    _check(place, what, remedy, stat.S_ISDIR, "a folder", os.R_OK | os.X_OK)
    return place


def _check(place: Path, what: str, remedy: str, is_kind, kind: str, access) -> None:
    label = f"{what} {shown(place)}"
    try:
        mode = place.stat().st_mode
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise UserError(f"{label} does not exist: {remedy}") from None
        raise UserError(f"{label} cannot be read ({reason(error)}): {remedy}") from None
    if not is_kind(mode):
        raise UserError(f"{label} is not {kind}: {remedy}")
    if not os.access(place, access):
        raise UserError(f"{label} cannot be read (permission denied): {remedy}")


def shown(path: object) -> str:
    """A path or name for a message: printable, and shortened to 300 characters.

    Example:
        >>> print(shown("a\\nb"), shown("\\udcff"))
        a\\nb \\udcff
    """
    escaped = "".join(c if c.isprintable() else _escape(c) for c in str(path))
    return escaped if len(escaped) <= 300 else f"{escaped[:150]}...{escaped[-100:]}"


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def reason(error: Exception) -> str:
    """The cause of an error: the first line of its message, shortened and printable.

    Example:
        >>> reason(PermissionError(13, "Permission denied"))
        'Permission denied'
    """
    text = getattr(error, "strerror", None) or str(error).strip()
    lines = text.splitlines() or [type(error).__name__]
    return shown(lines[0][:200])
