"""PyTorch's files, read without PyTorch: the zip container, and the one before it.

The zip container holds `NAME/data.pkl`, a pickle that describes tensors, and
`NAME/data/KEY`, the bytes of each storage, never compressed. The container of PyTorch
before 1.6 is a row of pickles, then the storages one behind the other.
"""

import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from jaxdd.errors import UserError, quoted
from jaxdd.exchange.pickles import plain, read_pickle
from jaxdd.exchange.tensors import Storage, Tensor
from jaxdd.storage.paths import existing_file, reason, shown

REMEDY = "give a file of torch.save; if this is one, it may be cut off: copy it again"
_LEGACY_MAGIC, _LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_LARGEST_LEGACY = 4 * 2**30  # bytes; such a file is read as a whole
_MOST_MEMBERS = 100_000
_SPARE = 16 * 2**20  # bytes that tensors may take beyond their file


def read_torch(path: str | Path, what: str = "the file") -> Any:
    """The content of a file of `torch.save`: plain data with arrays for tensors.

    Nothing in the file is run, and PyTorch is not needed. A bfloat16 becomes a float32.

    Args:
        path: the file.
        what: its name in messages.

    Raises:
        UserError: it is no such file, is damaged, declares more than it holds, or asks
            for an object that is no plain data; the message names it.

    Example:
        >>> import tempfile
        >>> from jaxdd.exchange.torch_writer import write_torch
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "images.pt"
        ...     write_torch({"images": np.arange(3)}, path)
        ...     read_torch(path)["images"].tolist()
        [0, 1, 2]
    """
    place = existing_file(path, what, REMEDY)
    try:
        if zipfile.is_zipfile(place):
            with zipfile.ZipFile(place) as archive:
                return _Zipped(archive, place.stat().st_size).content()
        return _legacy(place)
    except MemoryError:
        raise UserError(
            f"{what} {shown(place)} does not fit into this machine's memory: {REMEDY}"
        ) from None
    except Exception as error:  # a damaged zip archive can raise almost anything
        raise UserError(
            f"{what} {shown(place)} cannot be read ({reason(error)}): {REMEDY}"
        ) from error


class _Zipped:
    """The zip container.

    Args:
        archive: the opened file.
        size: its bytes on the disk.
    """

    def __init__(self, archive: zipfile.ZipFile, size: int):
        members = archive.infolist()
        if len(members) > _MOST_MEMBERS:
            raise ValueError(f"it has {len(members)} members")
        self.archive, self.size = archive, size
        self.members = {info.filename: info for info in members}
        pickles = [x for x in self.members if x.endswith("/data.pkl")]
        pickles = [x for x in pickles if x.count("/") == 1]
        if len(pickles) != 1:
            raise ValueError("it is a zip archive without PyTorch's data.pkl")
        self.folder = pickles[0].removesuffix("data.pkl")

    def content(self) -> Any:
        if f"{self.folder}byteorder" in self.members:
            order = self._bytes("byteorder")
            if order != b"little":
                raise ValueError(f"its numbers have the byte order {quoted(order)}")
        described, _ = read_pickle(self._bytes("data.pkl"))
        return plain(described, self._read, 4 * self.size + _SPARE)

    def _read(self, tensor: Tensor) -> np.ndarray:
        name = f"data/{tensor.storage.key}"
        info = self.members.get(f"{self.folder}{name}")
        if info is None:
            raise ValueError(f"it lacks the storage {quoted(tensor.storage.key)}")
        if info.file_size != tensor.storage.size:
            raise ValueError(
                f"the storage {quoted(tensor.storage.key)} declares "
                f"{quoted(tensor.storage.size)} bytes and holds {info.file_size}"
            )
        return tensor.read(self._bytes(name))

    def _bytes(self, name: str) -> bytes:
        info = self.members[f"{self.folder}{name}"]
        packed = info.compress_type != zipfile.ZIP_STORED
        if packed or info.file_size > self.size or info.flag_bits & 1:
            raise ValueError(
                f"its part {quoted(name)} is compressed or larger than the file, as "
                "PyTorch writes none"
            )
        with self.archive.open(info) as file:
            return file.read()


def _legacy(place: Path) -> Any:
    """The content of a file from before PyTorch 1.6.

    Raises:
        ValueError: it is no such file.
    """
    size = place.stat().st_size
    if size > _LARGEST_LEGACY:
        raise ValueError("it is no zip archive; save it again with a current PyTorch")
    data = place.read_bytes()
    if not data.startswith(b"\x80"):
        raise ValueError("it is neither a zip archive nor a pickle")
    magic, end = read_pickle(data, 0)
    if magic != _LEGACY_MAGIC:
        raise ValueError("it is a pickle, but not of torch.save")
    protocol, end = read_pickle(data, end)
    system, end = read_pickle(data, end)
    if protocol != _LEGACY_PROTOCOL or not isinstance(system, dict):
        raise ValueError(
            "it is of an unknown PyTorch: save it again with a current one"
        )
    if system.get("little_endian") is not True:
        raise ValueError("its numbers are big-endian")
    described, end = read_pickle(data, end)
    keys, end = read_pickle(data, end)
    if not isinstance(keys, list):
        raise ValueError("it lists no storages")
    starts = {str(key): k for k, key in enumerate(keys)}
    storages: dict[str, Storage] = {}

    def note(tensor: Tensor) -> np.ndarray:
        storages[tensor.storage.key] = tensor.storage
        return np.empty(0)

    plain(described, note, 4 * size + _SPARE)
    places: dict[str, int] = {}
    for key in sorted(starts, key=starts.__getitem__):
        if key not in storages or end + 8 + storages[key].size > size:
            raise ValueError(f"its storage {quoted(key)} is cut off or belongs nowhere")
        places[key] = end + 8
        (numel,) = struct.unpack_from("<q", data, end)
        if numel != storages[key].numel:
            raise ValueError(f"its storage {quoted(key)} has another length")
        end += 8 + storages[key].size

    def read(tensor: Tensor) -> np.ndarray:
        key = tensor.storage.key
        if key not in places:
            raise ValueError(f"it lacks the storage {quoted(key)}")
        return tensor.read(data[places[key] : places[key] + tensor.storage.size])

    return plain(described, read, 4 * size + _SPARE)
