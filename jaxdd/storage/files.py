"""Files that are written atomically, and the folders to write to."""

import binascii
import contextlib
import json
import math
import os
import platform
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from jaxdd.devices import hosts
from jaxdd.errors import UserError
from jaxdd.storage.paths import local_path, reason, shown
from jaxdd.storage.recognising import Kind, is_regular, may_be_replaced

_PART = "part"  # temporary files: .part-HOST-PROCESS-RANDOM
_OLD_SECONDS = 24 * 3600.0  # a temporary file of another machine is abandoned by then


@contextlib.contextmanager
def atomic_file(path: Path, mode: str = "w") -> Iterator[IO]:
    """Write a file atomically: a sibling is written, then renamed.

    As `whole_file`, but only the primary of several processes writes; the output of the
    others is dropped.

    Raises:
        UserError: the disk refuses; the message names the path.
    """
    hosts.meet()
    if hosts.primary():
        with whole_file(path, mode) as file:
            yield file
    else:
        with tempfile.TemporaryFile(mode, **_encoding(mode)) as file:
            yield file
    hosts.meet()


def _encoding(mode: str) -> dict[str, Any]:
    if "b" in mode:
        return {}
    return {"encoding": "utf-8", "errors": "backslashreplace"}


@contextlib.contextmanager
def whole_file(path: Path, mode: str = "w") -> Iterator[IO]:
    """Write a file of this process atomically; text is UTF-8.

    The name of the sibling is unique to the call, so that two writers never mix: the
    last one to finish wins.

    Raises:
        UserError: the disk refuses; the message names the path.
    """
    if os.path.lexists(path) and not (is_regular(path) or path.is_symlink()):
        raise UserError(
            f"cannot write {shown(path)}: it is no regular file, but a folder, a "
            "device or a pipe; choose another name"
        )
    part = temporary_sibling(path)
    try:
        try:
            with open(part, mode.replace("w", "x"), **_encoding(mode)) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(part)
            raise
    except OSError as error:
        # What the caller could not read meanwhile is no fault of this file.
        if error.filename not in (None, str(part)):
            raise
        raise UserError(
            f"cannot write {shown(path)}: {reason(error)}; free the disk or choose "
            "another folder"
        ) from error


def temporary_sibling(path: Path, kind: str = _PART) -> Path:
    """A hidden name beside a path, unique to the call.

    Files that will be renamed to the path are of the kind "part"; `remove_abandoned`
    removes those of writers that were killed.

    Args:
        path: the file or folder that will be written.
        kind: first part of the name, by which `abandoned` finds it.
    """
    owner = f"{_host()}-{os.getpid()}-{secrets.token_hex(4)}"
    return path.with_name(f".{kind}-{owner}")


def _host() -> str:
    """A hash of this machine's name, 8 characters."""
    return f"{binascii.crc32(platform.node().encode()):08x}"


def remove_abandoned(folder: Path) -> None:
    """Delete temporary files and folders (`temporary_sibling`) of dead writers.

    The caller owns the folder. Whether a writer on another machine is alive is unknown,
    so its files are deleted once they are a day old.
    """
    for path in abandoned(folder):
        with contextlib.suppress(OSError):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()


def abandoned(folder: Path, kind: str = _PART) -> list[Path]:
    """Temporary files and folders (`temporary_sibling`) that dead processes left."""
    left, prefix = [], f".{kind}-"
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            with contextlib.suppress(OSError):
                if entry.name.startswith(prefix) and _is_abandoned(entry, prefix):
                    left.append(Path(entry.path))
    return sorted(left)


# What `temporary_sibling` appends: host, process, and a number of its own.
_OWNER = re.compile(r"([0-9a-f]{8})-(\d+)-[0-9a-f]{8}")


def _is_abandoned(entry: os.DirEntry, prefix: str) -> bool:
    owner = _OWNER.fullmatch(entry.name.removeprefix(prefix))
    if owner is None:  # somebody else's, however its name begins
        return False
    host, process = owner.groups()
    # On Windows `os.kill` would end the process instead of testing for it.
    if host == _host() and os.name == "posix":
        return not _is_alive(int(process))
    return time.time() - entry.stat(follow_symlinks=False).st_mtime > _OLD_SECONDS


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's, or no number of a process
        return True
    return True


def write_atomically(path: Path, text: str) -> None:
    """Write a text file atomically; see `atomic_file`."""
    with atomic_file(path) as file:
        file.write(text)


def to_json(value: Any) -> str:
    """JSON with a final line break. NaN and infinity become null."""
    return json.dumps(finite(value), indent=2, allow_nan=False) + "\n"


def finite(value: Any) -> Any:
    """A copy of nested lists, tuples and mappings with None for non-finite numbers.

    Example:
        >>> finite({"loss": float("nan"), "steps": (1, 2.5)})
        {'loss': None, 'steps': [1, 2.5]}
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    return value


def make_folder(path: str | Path, what: str = "--workdir") -> Path:
    """Create a folder to write to.

    Args:
        path: the path as the user wrote it.
        what: name of the path in messages.

    Raises:
        UserError: the path cannot be created or written.
    """
    folder = local_path(path, what)
    try:
        if hosts.primary():
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
    except OSError as error:
        raise UserError(
            f"cannot write to the folder {shown(folder)}: {reason(error)}; choose "
            f"another {what}"
        ) from error
    hosts.meet()
    return folder


def refuse_unwritable(folder: Path, named: str) -> None:
    """Refuse a folder that cannot be made or written to; nothing is made yet.

    Args:
        folder: which may not be there.
        named: what is to be written, in messages.

    Raises:
        UserError: a file stands in its place, or the nearest folder above it that is
            there may not be written to.
    """
    above = next((x for x in (folder, *folder.parents) if os.path.lexists(x)), None)
    if above is None:
        return
    if not above.is_dir():
        raise UserError(
            f"cannot write {named}: {shown(above)} is no folder; choose another place"
        )
    if not os.access(above, os.W_OK | os.X_OK):
        raise UserError(
            f"cannot write {named}: {shown(above)} does not allow it; choose another "
            "place"
        )


def output_file(
    path: str | Path, flag: str, *endings: str, kind: Kind | None = None
) -> Path:
    """A file that was named for a result, on this machine; nothing is written yet.

    Only what is of the same kind is replaced: not a table with the data, nor a device.
    A link stays, and the file that it leads to is replaced.

    Args:
        path: the file.
        flag: what names it, such as "--out".
        endings: that it may have, such as ".json"; "" for none.
        kind: of what is written; with None every file that is there stays.

    Raises:
        UserError: it is a folder, has another ending, is there and of another kind, or
            its folder cannot be made or written to.

    Example:
        >>> output_file("kept.json", "--out", ".json").name
        'kept.json'
    """
    target = local_path(path, flag)
    named = f"{flag}={shown(path)}" if flag.startswith("--") else shown(path)
    if target.is_dir():
        raise UserError(f"{named} is a folder: give the name of a file in it")
    if target.suffix.lower() not in endings:
        raise UserError(
            f"{named} must be a file that ends in "
            f"{' or '.join(filter(None, endings))}, as what is written there does"
        )
    if target.is_symlink():
        target = Path(os.path.realpath(target))
    refuse_unwritable(target.parent, named)
    if not may_be_replaced(target, kind):
        which = "" if kind is None else f" and is not {kind.name}"
        raise UserError(
            f"{named} is there already{which}: it would be replaced; give another name"
        )
    return target


def set_aside(path: Path) -> Path:
    """Rename a result before it is written anew: NAME.json to NAME.before.json.

    The absence of NAME.json marks the run as unfinished. An older NAME.before.json is
    replaced.

    Raises:
        UserError: the disk refuses.
    """
    target = path.with_suffix(f".before{path.suffix}")
    hosts.meet()  # the other processes have read it
    try:
        if hosts.primary() and path.exists():
            os.replace(path, target)
    except OSError as error:
        raise UserError(
            f"cannot rename {shown(path)} ({reason(error)}): choose another --workdir"
        ) from error
    hosts.meet()
    return target
