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
    """Whether files of these sizes and `beside` bytes more fit on the disk.

    Raises:
        UserError: there is no room.
        OSError: the disk cannot be asked.
    """
    paths = [folder / name for name in sizes]
    held = sum(512 * path.stat().st_blocks for path in paths if path.exists())
    needed = sum(sizes.values()) + beside - held
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"no room for the bank of experts {shown(folder)}: it needs "
            f"{needed / 1e9:.3g} GB more, and {free / 1e9:.3g} GB are free; free the "
            "disk, choose another --workdir, or store fewer experts or epochs"
        )


@contextlib.contextmanager
def undone_on_failure(paths: list[Path], whole: Path) -> Iterator[None]:
    """Give back what was taken of a disk that then refuses: files keep their sizes."""
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
    """Take the disk now: writing to a map on a full one would kill the process.

    What was there stays.

    Raises:
        OSError: the disk refuses.
    """
    with open(path, "ab") as file:
        _allocate(file.fileno(), size)
        file.truncate(size)


def _allocate(file: int, size: int) -> None:
    """Have the file system set blocks aside, where it can."""
    allocate = getattr(os, "posix_fallocate", None)  # not on macOS
    try:
        if allocate is not None:
            allocate(file, 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
