"""Room on the disk for a bank of experts, taken before its training begins."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from jaxdd.errors import UserError
from jaxdd.storage.paths import shown


def check_room(folder: Path, sizes: dict[str, int], beside: int) -> None:
    """Check that the disk has room for a bank.

    Args:
        folder: folder of the bank.
        sizes: bytes of its files by name; space that they have already counts.
        beside: further bytes that are needed.

    Raises:
        UserError: the disk has no room.
        OSError: its free space cannot be determined.
    """
    paths = [folder / name for name in sizes]
    reserved = sum(512 * path.stat().st_blocks for path in paths if path.exists())
    needed = sum(sizes.values()) + beside - reserved
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"no room for the bank of experts {shown(folder)}: it needs "
            f"{needed / 1e9:.3g} GB more, and {free / 1e9:.3g} GB are free; free the "
            "disk, choose another --workdir, or store fewer experts or epochs"
        )


@contextlib.contextmanager
def undone_on_failure(paths: list[Path], whole: Path) -> Iterator[None]:
    """Restore the sizes of files if an exception is raised inside the context.

    Args:
        paths: the files, which need not exist.
        whole: the one of them that is written atomically, and is never cut.
    """
    before = {path: path.stat().st_size if path.exists() else None for path in paths}
    try:
        yield
    except BaseException:
        for path, size in before.items():
            with contextlib.suppress(OSError):
                if size is None:
                    path.unlink()
                elif path.stat().st_size > size and path != whole:
                    os.truncate(path, size)
        raise


def reserve(path: Path, size: int) -> None:
    """Reserve the space of a file: writing to a map on a full disk kills the process.

    Existing content stays.

    Raises:
        OSError: the disk refuses.
    """
    with open(path, "ab") as file:
        _allocate(file.fileno(), size)
        file.truncate(size)


def _allocate(file: int, size: int) -> None:
    """Have the file system allocate blocks, if it can."""
    allocate = getattr(os, "posix_fallocate", None)  # not on macOS
    try:
        if allocate is not None:
            allocate(file, 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
