"""Files of arrays, whatever is in them: each container gives plain data."""

import contextlib
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxdd.errors import UserError, quoted
from jaxdd.exchange.parquet import read_parquet
from jaxdd.exchange.safetensors import read_safetensors
from jaxdd.exchange.torch_files import read_torch
from jaxdd.storage.arrays import Member, read_arrays
from jaxdd.storage.paths import existing_file, reason, shown

_REMEDY = "give the path of a file that is whole"
_MOST_ARRAYS = 1000


def open_container(path: str | Path, what: str = "the file") -> Any:
    """The content of a file of arrays, by the ending of its name.

    Args:
        path: a .safetensors, .npz or .npy file, or one of PyTorch.
        what: its name in messages.

    Returns:
        Plain data: arrays by name, one array, or the lists and dicts of PyTorch. The
        texts of a safetensors file are under "__metadata__".

    Raises:
        UserError: the file is missing, damaged, or declares more than it holds.
    """
    place = existing_file(path, what, _REMEDY)
    reader = CONTAINERS.get(place.suffix.lower())
    if reader is not None:
        return reader(place, what)
    _refuse_unread(place, what)
    return read_torch(place, what)


def _refuse_unread(place: Path, what: str) -> None:
    """Refuse formats that the field has and nothing here reads, by their first bytes.

    Only what would be read as a file of PyTorch: one of safetensors may begin alike.

    Raises:
        UserError: it is such a file, which is whole for all we know.
    """
    try:
        with open(place, "rb") as file:
            start = file.read(8)
    except OSError as error:
        raise UserError(
            f"{what} {shown(place)} cannot be read ({reason(error)}): {_REMEDY}"
        ) from error
    kind = None
    if start == b"\x89HDF\r\n\x1a\n":
        kind = "an HDF5 file, as RaT-BPTT writes"
    elif start[:1] in _MAPS_OF_MSGPACK:
        kind = "a msgpack file, as Flax writes checkpoints (FRePo, RCIG)"
    if kind is not None:
        raise UserError(
            f"{what} {shown(place)} is {kind}, and not read: load it by the code that "
            "wrote it, and np.savez(path, images=..., labels=...) with images of four "
            "axes"
        )


# Maps of one to fifteen entries, and larger ones; a pickle begins with 0x80.
_MAPS_OF_MSGPACK = frozenset(bytes([x]) for x in (*range(0x81, 0x90), 0xDE, 0xDF))


def _safetensors(place: Path, what: str) -> dict[str, Any]:
    arrays, texts = read_safetensors(place, what)
    return {**arrays, "__metadata__": texts}


def _npz(place: Path, what: str) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(place) as archive:
            names = [x.removesuffix(".npy") for x in archive.namelist()]
    except Exception as error:  # a damaged zip archive can raise almost anything
        raise UserError(
            f"{what} {shown(place)} cannot be read ({reason(error)}): {_REMEDY}"
        ) from error
    if len(names) > _MOST_ARRAYS:
        raise UserError(f"{what} {shown(place)} has {len(names)} arrays: {_REMEDY}")
    members = {name: Member("biufU", None) for name in names}
    return read_arrays(place, members, _REMEDY, what)


def _npy(place: Path, what: str) -> np.ndarray:
    try:
        # The declared size is compared with the file before anything is allocated.
        return np.array(np.load(place, mmap_mode="r", allow_pickle=False))
    except Exception as error:  # a damaged header is parsed as Python
        raise UserError(
            f"{what} {shown(place)} cannot be read ({reason(error)}): {_REMEDY}"
        ) from error


CONTAINERS: Mapping[str, Callable[[Path, str], Any]] = {
    ".safetensors": _safetensors,
    ".npz": _npz,
    ".npy": _npy,
    ".parquet": read_parquet,
}


def beside(place: Path, first: str, other: str) -> Path | None:
    """The file beside another one whose name begins with `other` instead of `first`.

    Example:
        >>> beside(Path("no/images_best.pt"), "images", "labels") is None
        True
    """
    if not place.name.startswith(first):
        return None
    sibling = place.with_name(other + place.name.removeprefix(first))
    return sibling if sibling.is_file() else None


def number_of(value: Any, what: str) -> float:
    """One number, from a number or an array of one.

    Raises:
        UserError: it is something else.
    """
    if isinstance(value, np.ndarray) and value.size == 1 and value.dtype.kind in "iuf":
        return float(value.item())
    if isinstance(value, int | float) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):  # an integer beyond every float
            return float(value)
    raise UserError(f"{what} must be one number, not {quoted(value)}")
