"""Files that `torch.load(weights_only=True)` reads, written without PyTorch.

The zip container of PyTorch since 1.6: a pickle of protocol 2, instruction by
instruction, and the storages beside it, uncompressed and aligned.
"""

import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from jaxdd.errors import UserError, quoted
from jaxdd.exchange.tensors import BFLOAT16, STORAGES
from jaxdd.storage.files import atomic_file

_NAMES = {dtype: name for name, dtype in STORAGES.items() if dtype != BFLOAT16}
_ALIGNMENT = 64  # bytes, as PyTorch's own
_PREFIX = "archive"
_TIME = (1980, 1, 1, 0, 0, 0)  # the same set gives the same bytes


def write_torch(content: Any, path: Path) -> None:
    """Write nested dicts, lists, numbers, texts and arrays as `torch.save` does.

    Args:
        content: dicts, lists, tuples, texts, integers, floats, booleans, None, and
            arrays, which become tensors.
        path: the file.

    Raises:
        UserError: the disk refuses, or a value is none of these.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "set.pt"
        ...     write_torch([np.zeros(3, np.float32)], path)
        ...     zipfile.ZipFile(path).namelist()[0]
        'archive/data.pkl'
    """
    pickle = _Pickle()
    pickle.save(content)
    parts = {"data.pkl": b"\x80\x02" + b"".join(pickle.steps) + b"."}
    parts["byteorder"] = b"little"
    for key, array in enumerate(pickle.arrays):
        parts[f"data/{key}"] = array.tobytes()
    parts["version"] = b"3\n"
    with atomic_file(path, "wb") as file, zipfile.ZipFile(file, "w") as archive:
        for name, data in parts.items():
            info = zipfile.ZipInfo(f"{_PREFIX}/{name}", _TIME)
            info.extra = _padding(file.tell() + 30 + len(info.filename))
            archive.writestr(info, data)


def _padding(start: int) -> bytes:
    """An extra field after which the bytes of a member begin at a multiple of 64."""
    length = -(start + 4) % _ALIGNMENT
    return b"FB" + struct.pack("<H", length) + b"Z" * length


class _Pickle:
    """The instructions of a pickle of plain data, and the arrays that it describes."""

    def __init__(self) -> None:
        self.steps: list[bytes] = []
        self.arrays: list[np.ndarray] = []

    def save(self, value: Any) -> None:
        """Append the instructions that build a value.

        Raises:
            UserError: the value is no plain data.
        """
        if isinstance(value, np.ndarray):
            self._tensor(value)
        elif value is None:
            self.steps.append(b"N")
        elif isinstance(value, bool):
            self.steps.append(b"\x88" if value else b"\x89")
        elif isinstance(value, int):
            data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            self.steps.append(b"\x8a" + bytes([len(data)]) + data)
        elif isinstance(value, float):
            self.steps.append(b"G" + struct.pack(">d", value))
        elif isinstance(value, str):
            data = value.encode("utf-8", "backslashreplace")
            self.steps.append(b"X" + struct.pack("<I", len(data)) + data)
        elif isinstance(value, tuple):
            self._marked(b"", value, b"t")
        elif isinstance(value, list):
            self._marked(b"]", value, b"e")
        elif isinstance(value, dict):
            self._marked(b"}", [x for pair in value.items() for x in pair], b"u")
        else:
            raise UserError(
                f"{quoted(type(value).__name__)} cannot be written for PyTorch: give "
                "arrays, numbers, texts, lists and dicts"
            )

    def _marked(self, first: bytes, values: Any, last: bytes) -> None:
        self.steps.append(first + b"(")
        for value in values:
            self.save(value)
        self.steps.append(last)

    def _tensor(self, array: np.ndarray) -> None:
        array = np.ascontiguousarray(array).reshape(array.shape)
        array = array.astype(array.dtype.newbyteorder("<"))
        name = _NAMES.get(array.dtype.str)
        if name is None:
            raise UserError(
                f"an array of {array.dtype} cannot be written for PyTorch: use float32 "
                "or int64"
            )
        stride = tuple(step // array.itemsize for step in array.strides)
        self.steps.append(b"ctorch._utils\n_rebuild_tensor_v2\n((")
        self.save("storage")
        self.steps.append(f"ctorch\n{name}\n".encode())
        for value in (str(len(self.arrays)), "cpu", array.size):
            self.save(value)
        self.steps.append(b"tQ")
        self.arrays.append(array)
        view: tuple[Any, ...] = (0, array.shape, stride, False)
        for entry in view:
            self.save(entry)
        self.steps.append(b"ccollections\nOrderedDict\n)RtR")
