"""The safetensors container, read and written: a JSON header, then raw numbers.

Eight bytes hold the length of the header, little-endian. The header names every tensor
with its type, its shape and the range of its bytes, and may hold texts by name in
`__metadata__`.
"""

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxdd.errors import UserError, quoted
from jaxdd.exchange.tensors import BFLOAT16, LARGEST, item_size, numbers_of
from jaxdd.storage.files import atomic_file
from jaxdd.storage.paths import existing_file, reason, shown

REMEDY = "give a .safetensors file; if this is one, it may be cut off: copy it again"
DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": BFLOAT16, "I64": "<i8",
    "I32": "<i4", "I16": "<i2", "I8": "|i1", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_LARGEST_HEADER = 100_000_000  # bytes, the format's own bound
_METADATA = "__metadata__"
_ALIGNMENT = 8  # bytes


def read_safetensors(
    path: str | Path, what: str = "the file"
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The tensors of a file, and its texts.

    Sizes are checked against the file before anything is allocated. A bfloat16 becomes
    a float32.

    Args:
        path: the file.
        what: its name in messages.

    Raises:
        UserError: it is no such file, or a tensor's declared size is not that of its
            bytes.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "set.safetensors"
        ...     write_safetensors({"images": np.arange(3)}, path, {"by": "hand"})
        ...     arrays, texts = read_safetensors(path)
        >>> arrays["images"].tolist(), texts
        ([0, 1, 2], {'by': 'hand'})
    """
    place = existing_file(path, what, REMEDY)
    try:
        return _read(place)
    except MemoryError:
        raise UserError(
            f"{what} {shown(place)} does not fit into this machine's memory: {REMEDY}"
        ) from None
    except (ValueError, OSError, RecursionError) as error:
        raise UserError(
            f"{what} {shown(place)} cannot be read ({reason(error)}): {REMEDY}"
        ) from error


def _read(place: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    size = place.stat().st_size
    with open(place, "rb") as file:
        if size < 8:
            raise ValueError(f"it has {size} bytes")
        (length,) = struct.unpack("<Q", file.read(8))
        if length > min(_LARGEST_HEADER, size - 8):
            raise ValueError(f"its header declares {quoted(length)} bytes")
        header = json.loads(file.read(length).decode())
        if not isinstance(header, dict):
            raise ValueError("its header is no JSON object")
        texts = header.pop(_METADATA, {})
        if not isinstance(texts, dict) or not all(
            isinstance(x, str) for x in texts.values()
        ):
            raise ValueError("its metadata are no texts by name")
        entries = {
            name: _entry(name, entry, size - 8 - length)
            for name, entry in header.items()
        }
        lengths = (end - start for _, _, start, end in entries.values())
        if sum(lengths) > size - 8 - length:
            raise ValueError("its tensors overlap")
        arrays = {}
        for name, (dtype, shape, start, end) in entries.items():
            file.seek(8 + length + start)
            arrays[name] = numbers_of(file.read(end - start), dtype).reshape(shape)
    return arrays, texts


def _entry(name: str, entry: Any, room: int) -> tuple[str, tuple[int, ...], int, int]:
    """The type of a tensor, its shape and the range of its bytes.

    Raises:
        ValueError: they do not fit each other or the file.
    """
    if not isinstance(entry, dict) or entry.get("dtype") not in DTYPES:
        kind = entry.get("dtype") if isinstance(entry, dict) else entry
        raise ValueError(f"the tensor {quoted(name)} has the type {quoted(kind)}")
    shape: Any = entry.get("shape")
    place: Any = entry.get("data_offsets")
    dtype = DTYPES[entry["dtype"]]
    for numbers in (shape, place):
        if not isinstance(numbers, list) or not all(
            type(n) is int and 0 <= n < 2**62 for n in numbers
        ):
            raise ValueError(f"the tensor {quoted(name)} has no shape or place")
    if len(place) != 2 or len(shape) > 16:
        raise ValueError(f"the tensor {quoted(name)} has no shape or place")
    size = math.prod(shape) * item_size(dtype)
    start, end = place
    if end - start != size or not start <= end <= room or size > LARGEST:
        raise ValueError(
            f"the tensor {quoted(name)} of shape {quoted(shape)} needs {quoted(size)} "
            f"bytes, declares {quoted(end - start)} and ends at {quoted(end)} of {room}"
        )
    return dtype, tuple(shape), start, end


def write_safetensors(
    arrays: Mapping[str, np.ndarray], path: Path, texts: Mapping[str, str] | None = None
) -> None:
    """Write arrays and texts by name, atomically.

    Args:
        arrays: of the types of `DTYPES`.
        path: the file.
        texts: the metadata.

    Raises:
        UserError: an array has another type, or the disk refuses.
    """
    header: dict[str, Any] = {_METADATA: dict(texts)} if texts else {}
    parts, end = [], 0
    for name, array in arrays.items():
        little = array.astype(array.dtype.newbyteorder("<"))
        if little.dtype.str not in _NAMES:
            raise UserError(
                f"the array {quoted(name)} of {array.dtype} cannot be written as "
                "safetensors: use float32 or int64"
            )
        data = little.tobytes()
        header[name] = {
            "dtype": _NAMES[little.dtype.str],
            "shape": list(array.shape),
            "data_offsets": [end, end + len(data)],
        }
        parts.append(data)
        end += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    with atomic_file(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for data in parts:
            file.write(data)
