"""Tensors as PyTorch's files describe them: a view of a storage, checked, then read."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from jaxdd.errors import quoted

BFLOAT16 = "bfloat16"  # NumPy has no such type
# PyTorch's names of storages, and the types of their numbers, little-endian.
STORAGES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": BFLOAT16,
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "|i1",
    "ByteStorage": "|u1",
    "BoolStorage": "|b1",
}
LARGEST = 8 * 2**30  # bytes of one tensor
# A view may repeat numbers of its storage (a stride of 0) up to this many.
_UNSUSPICIOUS = 2**20
_MOST_AXES = 16


class Storage(NamedTuple):
    """The place of a tensor's numbers.

    Attributes:
        dtype: NumPy's name of their type, or `BFLOAT16`.
        key: the name of the place in the file.
        numel: how many numbers it is declared to hold.
    """

    dtype: str
    key: str
    numel: int

    @property
    def size(self) -> int:
        """Bytes."""
        return self.numel * item_size(self.dtype)


def item_size(dtype: str) -> int:
    """Bytes of one number.

    Example:
        >>> item_size("<f4"), item_size(BFLOAT16)
        (4, 2)
    """
    return 2 if dtype == BFLOAT16 else np.dtype(dtype).itemsize


@dataclass(frozen=True)
class Tensor:
    """A tensor of a file that has been described and not been read.

    Attributes:
        storage: where its numbers are.
        offset: the first of them, counted in numbers.
        size, stride: per axis, counted in numbers.
    """

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def __setstate__(self, state: Any) -> None:
        raise ValueError("it changes a tensor after it was built")

    def check(self) -> None:
        """Check that the view lies within the declared storage.

        Raises:
            ValueError: it does not, or it is larger than any image set.
        """
        numbers = (self.offset, *self.size, *self.stride)
        if not all(type(n) is int and 0 <= n < 2**62 for n in numbers):
            raise ValueError(
                f"a tensor has the offset {quoted(self.offset)}, the size "
                f"{quoted(self.size)} and the strides {quoted(self.stride)}"
            )
        if len(self.size) != len(self.stride) or len(self.size) > _MOST_AXES:
            raise ValueError(
                f"a tensor has {len(self.size)} axes and {len(self.stride)} strides"
            )
        count = math.prod(self.size)
        if count * item_size(self.storage.dtype) > LARGEST:
            raise ValueError(f"a tensor declares the size {quoted(self.size)}")
        if count > max(self.storage.numel, _UNSUSPICIOUS):
            raise ValueError(
                f"a tensor of size {quoted(self.size)} repeats a storage of "
                f"{quoted(self.storage.numel)} numbers"
            )
        pairs = zip(self.size, self.stride, strict=True)
        last = self.offset + sum((n - 1) * step for n, step in pairs)
        if count and last >= self.storage.numel:
            raise ValueError(
                f"a tensor of size {quoted(self.size)} reaches beyond its storage of "
                f"{quoted(self.storage.numel)} numbers"
            )

    def read(self, data: bytes) -> np.ndarray:
        """The numbers, copied.

        Args:
            data: the bytes of the storage.

        Raises:
            ValueError: the view does not fit, or the storage has another length.
        """
        self.check()
        if len(data) != self.storage.size:
            raise ValueError(
                f"the storage {quoted(self.storage.key)} declares "
                f"{quoted(self.storage.size)} bytes and holds {len(data)}"
            )
        flat = numbers_of(data, self.storage.dtype)
        if not math.prod(self.size):
            return np.empty(self.size, flat.dtype)
        step = flat.itemsize
        view = np.lib.stride_tricks.as_strided(
            flat[self.offset :], self.size, [step * n for n in self.stride]
        )
        return np.array(view)


def numbers_of(data: bytes, dtype: str) -> np.ndarray:
    """The numbers in bytes; bfloat16 becomes float32, exactly.

    Example:
        >>> numbers_of(b"\\x80?", BFLOAT16).tolist()
        [1.0]
    """
    if dtype != BFLOAT16:
        return np.frombuffer(data, dtype)
    return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
