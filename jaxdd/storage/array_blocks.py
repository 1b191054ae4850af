"""An array of an .npz archive that memory does not hold, read some rows at a time.

What is checked of an archive is what `arrays` checks. Its checksum is only known to
agree once all of an array is read: whoever keeps rows before that drops them where
`Damaged` is raised.
"""

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxdd.errors import UserError
from jaxdd.storage.arrays import Member, members_of, open_archive, read_header
from jaxdd.storage.paths import existing_file, reason, shown

BLOCK = 16 * 2**20  # bytes of the rows that are in memory at once
_PIECE = 2**20  # bytes that are unpacked at once


class Damaged(UserError):
    """A file that turned out, while it was read, not to hold what it declares.

    What was read of it so far may be wrong.
    """


def array_blocks(
    path: str | Path,
    name: str,
    member: Member,
    remedy: str,
    what: str = "the file",
    first: int = 0,
) -> Iterator[np.ndarray]:
    """The rows of an array from one on, in order, about 16 MB at a time.

    The last block comes when the checksum of the whole array agrees.

    Args:
        path: the archive.
        name, member: the array and its schema. It has at least one axis, and its rows
            are `Declared.in_order`.
        remedy: end of the message that says what to do if the file cannot be used.
        what: name of the file in messages.
        first: the row to begin with; those before it are unpacked and dropped.

    Raises:
        Damaged: the archive does not hold what it declares, or was cut short.
        UserError: it is no regular file, or cannot be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     place = Path(folder) / "toy.npz"
        ...     np.savez(place, images=np.arange(6).reshape(3, 2))
        ...     blocks = array_blocks(place, "images", Member("iu", 2), "", first=1)
        ...     np.concatenate(list(blocks)).tolist()
        [[2, 3], [4, 5]]
    """
    place = existing_file(path, what, remedy)
    with contextlib.ExitStack() as stack:
        with _reading(place, remedy, what):
            archive = stack.enter_context(open_archive(place))
            there = members_of(archive, {name: member})[name]
            file = stack.enter_context(archive.open(f"{name}.npy"))
            read_header(name, file)
            count, *axes = there.shape
            each = max(1, math.prod(axes) * there.dtype.itemsize)
            for begin in range(0, first * each, _PIECE):
                _fill(file, memoryview(bytearray(min(_PIECE, first * each - begin))))
        rows = max(1, BLOCK // each)
        for begin in range(first, count, rows):
            with _reading(place, remedy, what):
                block = np.empty((min(rows, count - begin), *axes), there.dtype)
                _fill(file, block.reshape(-1).view(np.uint8).data)
                # The checksum is only compared at the end of the member.
                if begin + rows >= count and file.read(1):
                    raise ValueError(f"{name!r} is longer than it declares")
            yield block


def _fill(file: Any, target: memoryview) -> None:
    """Read as many bytes as the target has.

    Raises:
        EOFError: there are fewer.
    """
    while len(target):
        size = file.readinto(target[:_PIECE])
        if size == 0:
            raise EOFError
        target = target[size:]


@contextlib.contextmanager
def _reading(place: Path, remedy: str, what: str) -> Iterator[None]:
    """Turn any exception while rows are read into a sentence about the archive.

    Raises:
        Damaged: the archive's content is at fault.
        UserError: the disk or the memory is.
    """
    file = f"{what} {shown(place)}"
    try:
        yield
    except (OSError, MemoryError) as error:
        raise UserError(f"{file} cannot be read ({reason(error)})") from error
    except EOFError as error:
        raise Damaged(f"{file} was cut short while it was read: {remedy}") from error
    except Exception as error:  # a damaged zip archive can raise almost anything
        raise Damaged(f"{file} cannot be used ({reason(error)}): {remedy}") from error
