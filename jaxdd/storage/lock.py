"""The lock of a workdir: a folder has one owner at a time."""

import contextlib
import errno
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

from jaxdd.devices import hosts
from jaxdd.errors import UserError
from jaxdd.storage.files import make_folder, remove_abandoned
from jaxdd.storage.paths import reason, shown

PATIENCE = 30.0  # seconds that `turn` waits for others
# Errors if another live process holds the lock; others are the file system's.
_HELD = (errno.EWOULDBLOCK, errno.EAGAIN)


@contextlib.contextmanager
def owned(path: str | Path, lock: str = ".lock") -> Iterator[Path]:
    """Create and lock a workdir for as long as the context lasts.

    The lock belongs to the process, so a killed run leaves none behind. If the system
    or the file system has no locks, a warning is issued and the run continues.

    Args:
        path: the folder.
        lock: name of the lock's file. Programs that write the same files share it.

    Raises:
        UserError: the folder is not writable, or another live run owns it.
    """
    folder = make_folder(path)
    if not hosts.primary():  # the primary process holds the lock for all
        yield folder
        return
    try:
        file = open(folder / lock, "a+")  # noqa: SIM115
    except OSError as error:
        raise UserError(
            f"cannot open {shown(folder / lock)} ({reason(error)}): remove it or "
            "choose another --workdir"
        ) from error
    with file:
        _acquire(file, folder)
        remove_abandoned(folder)
        yield folder


@contextlib.contextmanager
def turn(path: str | Path, lock: str) -> Iterator[Path]:
    """Have a folder for a moment, after others that have it for a moment.

    Args:
        path: the folder, which is created.
        lock: name of the lock's file.

    Raises:
        UserError: the folder is not writable, or another program keeps it.
    """
    end = time.monotonic() + PATIENCE
    with contextlib.ExitStack() as stack:
        while True:
            try:
                folder = stack.enter_context(owned(path, lock))
                break
            except UserError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)
        yield folder


def _acquire(file: IO, folder: Path) -> None:
    """Lock an open file, or warn if the system has no locks.

    Raises:
        UserError: another process holds it.
    """
    why = "this system has none"
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno in _HELD:
                raise UserError(
                    f"another live run owns {shown(folder)}: wait for it or choose "
                    "another --workdir"
                ) from error
            why = reason(error)
    warnings.warn(
        f"{shown(folder)} cannot be locked ({why}): start no second run in this folder "
        "while one is live",
        stacklevel=4,
    )
