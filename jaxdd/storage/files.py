"""Files that appear whole or not at all, and the folders they are written to."""

import binascii
import contextlib
import json
import math
import os
import platform
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

_PART = "part"  # temporary files: .part-HOST-PROCESS-RANDOM
_OLD_SECONDS = 24 * 3600.0  # a temporary file of another machine is abandoned by then


@contextlib.contextmanager
def atomic_file(path: Path, mode: str = "w") -> Iterator[IO]:
    """A file that appears whole or not at all: a sibling is written, then renamed.

    As `whole_file`, but of several processes the primary one writes, and what the
    others write is dropped.

    Raises:
        UserError: the disk refuses; it names the path.
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
    """A file of this process that appears whole or not at all; text is UTF-8.

    The sibling's name belongs to this call alone, so that two writers never mix: the
    last one to finish wins.

    Raises:
        UserError: the disk refuses; it names the path.
    """
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
        raise UserError(
            f"cannot write {shown(path)}: {reason(error)}; free the disk or choose "
            "another folder"
        ) from error


def temporary_sibling(path: Path, kind: str = _PART) -> Path:
    """A name beside a path, this call's alone; hidden, of a kind that says what it is.

    What will be renamed to the path is a "part": who is killed meanwhile leaves it to
    `remove_abandoned`.
    """
    owner = f"{_host()}-{os.getpid()}-{secrets.token_hex(4)}"
    return path.with_name(f".{kind}-{owner}")


def _host() -> str:
    """This machine in a file's name, 8 characters."""
    return f"{binascii.crc32(platform.node().encode()):08x}"


def remove_abandoned(folder: Path) -> None:
    """Delete temporary files and folders (`temporary_sibling`) of dead writers.

    For whoever owns the folder. A writer on another machine cannot be asked: its files
    go when they are a day old.
    """
    for path in abandoned(folder):
        with contextlib.suppress(OSError):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()


def abandoned(folder: Path, kind: str = _PART) -> list[Path]:
    """What dead processes left in a folder under a name of `temporary_sibling`."""
    left, prefix = [], f".{kind}-"
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            with contextlib.suppress(OSError):
                if entry.name.startswith(prefix) and _is_abandoned(entry, prefix):
                    left.append(Path(entry.path))
    return sorted(left)


def _is_abandoned(entry: os.DirEntry, prefix: str) -> bool:
    host, _, rest = entry.name.removeprefix(prefix).partition("-")
    process = rest.partition("-")[0]
    # On Windows asking for a process would end it.
    if host == _host() and process.isdigit() and os.name == "posix":
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
    """Write a whole text file or nothing; see `atomic_file`."""
    with atomic_file(path) as file:
        file.write(text)


def to_json(value: Any) -> str:
    """JSON with a line end. JSON has no NaN and no infinity: they become null."""
    return json.dumps(finite(value), indent=2, allow_nan=False) + "\n"


def finite(value: Any) -> Any:
    """The same lists, tuples and mappings with None for numbers that are not finite.

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
        path: as it was given.
        what: what it is in a sentence.

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


def set_aside(path: Path) -> Path:
    """Rename a result that is about to be made again: NAME.json to NAME.before.json.

    Its absence says that the run is not finished; a previous one that was set aside is
    replaced.

    Raises:
        UserError: the disk refuses.
    """
    target = path.with_suffix(f".before{path.suffix}")
    hosts.meet()  # the others have looked at it
    try:
        if hosts.primary() and path.exists():
            os.replace(path, target)
    except OSError as error:
        raise UserError(
            f"cannot rename {shown(path)} ({reason(error)}): choose another --workdir"
        ) from error
    hosts.meet()
    return target
