""".npz archives read by a schema: nothing is unpacked before its size is bounded.

An archive of 3 MB can declare gigabytes of zeros. So the headers of all members are
read first, only members that the schema names are unpacked, and none is a pickle.
"""

import contextlib
import math
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxdd.errors import UserError, quoted
from jaxdd.storage.paths import existing_file, reason, shown

# Up to this size a member may compress as well as it likes; deflate reaches 1000:1,
# stored images and parameters hardly 3:1.
_UNSUSPICIOUS, _LARGEST_RATIO = 64 * 2**20, 100  # bytes, unpacked by packed size
_LONGEST_HEADER = 10_000  # characters of a member's NPY header, as NumPy's own bound


@dataclass(frozen=True)
class Member:
    """What an archive's member has to be.

    Attributes:
        kinds: NumPy's kinds of its dtype, such as "f" for floats, "iu" for integers,
            "U" for text, "b" for booleans.
        ndim: its number of axes; None for any.
        largest: the most bytes it may take in memory.
        required: whether it must be there.
        repetitive: whether it may compress by any factor, as one-hot labels do.
    """

    kinds: str
    ndim: int | None
    largest: int = 8 * 2**30
    required: bool = True
    repetitive: bool = False

    def check(self, name: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
        """Whether an array has the kind and the axes of this member.

        Raises:
            ValueError: it is not.
        """
        if dtype.kind not in self.kinds:
            raise ValueError(f"{name!r} has the type {quoted(str(dtype))}")
        if self.ndim is not None and len(shape) != self.ndim:
            raise ValueError(
                f"{name!r} has shape {quoted(shape)}, not {self.ndim} axes"
            )


Shapes = dict[str, tuple[int, ...]]


def read_arrays(
    path: str | Path,
    members: Mapping[str, Member],
    remedy: str,
    what: str = "the file",
    agree: Callable[[Shapes], None] = lambda shapes: None,
) -> dict[str, np.ndarray]:
    """The named arrays of an archive.

    Args:
        path: the archive.
        members: what may be in it; other members are left unread.
        remedy: what to do where it cannot be used, for the end of the sentence.
        what: what the file is in a sentence.
        agree: given the declared shape of every member that is there, before any is
            unpacked; raises ValueError where they do not fit each other.

    Raises:
        UserError: no regular file, no archive, a missing member, or one that is not as
            `members` says.
    """
    place = existing_file(path, what, remedy)
    with contextlib.ExitStack() as stack:
        with _refused(place, remedy, what):
            archive = stack.enter_context(_archive(place))
            shapes = _shapes(archive, members)
        try:
            agree(shapes)
        except UserError:
            raise
        except ValueError as error:
            raise _refusal(place, remedy, what, error) from error
        with _refused(place, remedy, what):
            return _unpacked(archive, shapes)


def shapes_of(
    path: str | Path,
    members: Mapping[str, Member],
    remedy: str,
    what: str = "the file",
) -> Shapes:
    """The declared shapes of those members that are there; none is unpacked.

    Arguments and errors are those of `read_arrays`.
    """
    place = existing_file(path, what, remedy)
    with _refused(place, remedy, what), _archive(place) as archive:
        return _shapes(archive, members)


@contextlib.contextmanager
def _refused(place: Path, remedy: str, what: str) -> Iterator[None]:
    """Around the reading of an archive: whatever goes wrong is the archive's fault.

    Raises:
        UserError: anything went wrong.
    """
    try:
        yield
    except MemoryError:
        raise UserError(
            f"{what} {shown(place)} does not fit into this machine's memory: {remedy}"
        ) from None
    except Exception as error:  # a damaged zip archive can raise almost anything
        raise _refusal(place, remedy, what, error) from error


def _refusal(place: Path, remedy: str, what: str, error: Exception) -> UserError:
    return UserError(
        f"{what} {shown(place)} cannot be used ({reason(error)}): {remedy}"
    )


def _archive(place: Path) -> zipfile.ZipFile:
    # An .npz is a zip archive; NumPy would take other files for pickles.
    if not zipfile.is_zipfile(place):
        raise ValueError("it is no .npz archive")
    return zipfile.ZipFile(place)


def _shapes(archive: zipfile.ZipFile, members: Mapping[str, Member]) -> Shapes:
    """The shapes of the members that are there, each checked.

    Raises:
        ValueError: a member is missing or not as it should be.
    """
    there = {info.filename: info for info in archive.infolist()}
    shapes: Shapes = {}
    for name, member in members.items():
        info = there.get(f"{name}.npy")
        if info is None:
            if member.required:
                raise ValueError(f"it has no array {name!r}")
            continue
        with archive.open(info) as file:
            shapes[name] = _check(name, member, info, *_header(name, file))
    return shapes


def _unpacked(archive: zipfile.ZipFile, names: Iterable[str]) -> dict[str, np.ndarray]:
    arrays = {}
    for name in names:
        with archive.open(f"{name}.npy") as file:
            arrays[name] = np.lib.format.read_array(
                file, allow_pickle=False, max_header_size=_LONGEST_HEADER
            )
            # The checksum is compared at the member's end only.
            if file.read(1):
                raise ValueError(f"{name!r} is longer than it says")
    return arrays


def _header(name: str, file: Any) -> tuple[tuple[int, ...], np.dtype, int]:
    """Shape, dtype and length of the header of a member."""
    readers: dict[Any, Callable] = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    version = np.lib.format.read_magic(file)
    if version not in readers:
        raise ValueError(f"{name!r} has the unknown NPY version {quoted(version)}")
    shape, _, dtype = readers[version](file, max_header_size=_LONGEST_HEADER)
    return shape, dtype, file.tell()


def _check(
    name: str,
    member: Member,
    info: zipfile.ZipInfo,
    shape: tuple[int, ...],
    dtype: np.dtype,
    header: int,
) -> tuple[int, ...]:
    """The member's shape, once it is what it should be.

    Raises:
        ValueError: it is not.
    """
    member.check(name, shape, dtype)
    if any(n < 0 for n in shape):
        raise ValueError(f"{name!r} has the shape {quoted(shape)}")
    size = math.prod(shape) * dtype.itemsize
    if info.file_size != size + header:
        raise ValueError(
            f"{name!r} says {quoted(size)} bytes and holds {info.file_size - header}"
        )
    if size > member.largest:
        raise ValueError(f"{name!r} takes {size} bytes, more than {member.largest}")
    packed = max(1, info.compress_size)
    suspicious = size > _UNSUSPICIOUS and size > _LARGEST_RATIO * packed
    if suspicious and not member.repetitive:
        raise ValueError(
            f"{name!r} takes {size} bytes unpacked from {packed}, as no data does"
        )
    return shape
