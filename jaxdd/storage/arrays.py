""".npz archives read by a schema: no member is unpacked before its size is bounded.

An archive of 3 MB can declare gigabytes of zeros. Therefore the headers of all members
are read first, only members in the schema are unpacked, and pickles are refused.
"""

import contextlib
import math
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxdd.errors import UserError, quoted
from jaxdd.storage.paths import existing_file, reason, shown

# Up to this size a member may be compressed by any factor; deflate reaches 1000:1,
# images and parameters hardly 3:1.
_UNSUSPICIOUS, _LARGEST_RATIO = 64 * 2**20, 100  # bytes, unpacked by packed size
_ONE_BY_ONE = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the two that NumPy writes
_LONGEST_HEADER = 10_000  # characters of a member's NPY header, as NumPy's own bound


@dataclass(frozen=True)
class Member:
    """The schema of one member of an archive.

    Attributes:
        kinds: allowed kinds of its dtype in NumPy's letters, such as "f" for floats,
            "iu" for integers, "U" for text, "b" for booleans.
        ndim: its number of axes; None for any number.
        largest: largest number of bytes in memory.
        required: whether the archive must have it.
        repetitive: whether it may be compressed by any factor, as one-hot labels are.
    """

    kinds: str
    ndim: int | None
    largest: int = 8 * 2**30
    required: bool = True
    repetitive: bool = False

    def check(self, name: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
        """Check the kind and the number of axes of an array.

        Raises:
            ValueError: the array does not fit.
        """
        if dtype.kind not in self.kinds:
            raise ValueError(f"{name!r} has the type {quoted(str(dtype))}")
        if self.ndim is not None and len(shape) != self.ndim:
            raise ValueError(
                f"{name!r} has shape {quoted(shape)}, not {self.ndim} axes"
            )

    def check_size(self, name: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
        """Check the size of an array.

        Raises:
            ValueError: it is larger than `largest`.
        """
        size = math.prod(shape) * dtype.itemsize
        if size > self.largest:
            raise ValueError(f"{name!r} takes {size} bytes, more than {self.largest}")


Shapes = dict[str, tuple[int, ...]]


class Declared(NamedTuple):
    """What an archive says of a member that fits its schema.

    Attributes:
        shape, dtype: of the array.
        in_order: whether its rows follow one another and are unpacked one by one: the
            array is in C order, and stored or deflated.
        checksum: CRC-32 of the member.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    in_order: bool
    checksum: int


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
        members: schemas by name; other members are not read.
        remedy: end of the message that says what to do if the file cannot be used.
        what: name of the file in messages.
        agree: (declared shapes by name) -> None, called before any member is unpacked;
            raises ValueError if the shapes do not fit each other.

    Raises:
        UserError: it is no regular file or no archive, a member is missing, or a member
            does not fit its schema.
    """
    place = existing_file(path, what, remedy)
    with contextlib.ExitStack() as stack:
        with refusing(place, remedy, what):
            archive = stack.enter_context(open_archive(place))
            members_there = members_of(archive, members)
        shapes = {name: x.shape for name, x in members_there.items()}
        try:
            agree(shapes)
        except UserError:
            raise
        except ValueError as error:
            raise _refusal(place, remedy, what, error) from error
        with refusing(place, remedy, what):
            return _unpacked(archive, shapes)


def declared(
    path: str | Path,
    members: Mapping[str, Member],
    remedy: str,
    what: str = "the file",
) -> dict[str, Declared]:
    """What the archive says of the members that it has; no member is unpacked.

    Arguments and errors are those of `read_arrays`.
    """
    place = existing_file(path, what, remedy)
    with refusing(place, remedy, what), open_archive(place) as archive:
        return members_of(archive, members)


@contextlib.contextmanager
def refusing(place: Path, remedy: str, what: str) -> Iterator[None]:
    """Turn any exception while an archive is read into a sentence about the archive.

    Raises:
        UserError: an exception was raised inside the context.
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


def open_archive(place: Path) -> zipfile.ZipFile:
    """The zip archive at a path.

    Raises:
        ValueError, OSError, zipfile.BadZipFile: it is none.
    """
    # An .npz is a zip archive; NumPy would take other files for pickles.
    if not zipfile.is_zipfile(place):
        raise ValueError("it is no .npz archive")
    return zipfile.ZipFile(place)


def members_of(
    archive: zipfile.ZipFile, members: Mapping[str, Member]
) -> dict[str, Declared]:
    """What an open archive says of the members that it has, checked.

    Raises:
        ValueError: a member is missing or does not fit its schema.
    """
    infos = {info.filename: info for info in archive.infolist()}
    there: dict[str, Declared] = {}
    for name, member in members.items():
        info = infos.get(f"{name}.npy")
        if info is None:
            if member.required:
                raise ValueError(f"it has no array {name!r}")
            continue
        with archive.open(info) as file:
            shape, fortran, dtype = read_header(name, file)
            _check(name, member, info, shape, dtype, file.tell())
        in_order = not fortran and info.compress_type in _ONE_BY_ONE
        there[name] = Declared(shape, dtype, in_order, info.CRC)
    return there


def _unpacked(archive: zipfile.ZipFile, names: Iterable[str]) -> dict[str, np.ndarray]:
    arrays = {}
    for name in names:
        with archive.open(f"{name}.npy") as file:
            arrays[name] = np.lib.format.read_array(
                file, allow_pickle=False, max_header_size=_LONGEST_HEADER
            )
            # The checksum is only compared at the end of the member.
            if file.read(1):
                raise ValueError(f"{name!r} is longer than it declares")
    return arrays


def read_header(name: str, file: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether it is in Fortran order, and dtype of a member, read to its data.

    Raises:
        ValueError: the header cannot be read.
    """
    readers: dict[Any, Callable] = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    version = np.lib.format.read_magic(file)
    if version not in readers:
        raise ValueError(f"{name!r} has the unknown NPY version {quoted(version)}")
    return readers[version](file, max_header_size=_LONGEST_HEADER)


def _check(
    name: str,
    member: Member,
    info: zipfile.ZipInfo,
    shape: tuple[int, ...],
    dtype: np.dtype,
    header: int,
) -> None:
    """Check the member whose header has so many bytes.

    Raises:
        ValueError: it does not fit its schema.
    """
    member.check(name, shape, dtype)
    if any(n < 0 for n in shape):
        raise ValueError(f"{name!r} has the shape {quoted(shape)}")
    size = math.prod(shape) * dtype.itemsize
    if info.file_size != size + header:
        raise ValueError(
            f"{name!r} declares {quoted(size)} bytes and holds "
            f"{info.file_size - header}"
        )
    member.check_size(name, shape, dtype)
    packed = max(1, info.compress_size)
    suspicious = size > _UNSUSPICIOUS and size > _LARGEST_RATIO * packed
    if suspicious and not member.repetitive:
        raise ValueError(
            f"{name!r} takes {size} bytes unpacked from {packed}, as no data does"
        )
