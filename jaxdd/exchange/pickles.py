"""Pickles of arrays and tensors, read without running anything in them.

A pickle is a program. Ours admits the instructions that build lists, dicts, tuples,
numbers and texts, and calls by name a short list of functions, all of which are written
here: they describe tensors and NumPy's numbers. Any other name is refused. The
instructions are looked through first, because some of them allocate as much as they
declare.
"""

import io
import math
import pickle
import pickletools
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxdd.errors import quoted
from jaxdd.exchange.tensors import STORAGES, Storage, Tensor, item_size

_MOST_BYTES, _MOST_STEPS = 64 * 2**20, 500_000
_LARGEST_NUMBER = 2**62
# Instructions that ask registries, share buffers or allocate what they declare. Those
# that build objects stay: what they build has to be named first.
_REFUSED = {
    "EXT1", "EXT2", "EXT4", "PERSID", "NEXT_BUFFER", "READONLY_BUFFER", "BYTEARRAY8",
}  # fmt: skip
# Types of NumPy's numbers that a pickle may name.
_NUMBERS = {x + n for x in "iu" for n in "1248"} | {"f2", "f4", "f8", "b1"}


class _Named:
    """What a name in a pickle stands for; a pickle cannot change it."""

    __slots__ = ("_function", "name")
    name: str
    _function: Callable[..., Any] | None

    def __init__(self, name: str, function: Callable[..., Any] | None):
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "_function", function)

    def __setattr__(self, name: str, value: Any) -> None:
        raise ValueError(f"it changes {self.name}")

    def __setstate__(self, state: Any) -> None:
        raise ValueError(f"it changes {self.name}")

    def __call__(self, *arguments: Any) -> Any:
        if self._function is None:
            raise ValueError(f"it calls {self.name}")
        try:
            return self._function(*arguments)
        except TypeError as error:
            raise ValueError(f"it calls {self.name} with other arguments") from error


class _Ordered(dict):
    """An OrderedDict, whose attributes (such as versions of modules) are dropped."""

    def __setstate__(self, state: Any) -> None:
        del state


class _NumpyType:
    """A type of NumPy's numbers, whose byte order comes after its name."""

    def __init__(self, code: Any, *rest: Any):
        del rest
        if code not in _NUMBERS:
            raise ValueError(f"it has numbers of NumPy's type {quoted(code)}")
        self.code, self.order = code, "="

    def __setstate__(self, state: Any) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        if order not in ("<", ">", "|", "="):
            raise ValueError(f"it has numbers of the byte order {quoted(order)}")
        self.order = order

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(f"{self.order}{self.code}")


class _NumpyArray:
    """An array of NumPy, whose numbers come after it was named."""

    def __init__(self, *arguments: Any):
        del arguments
        self.array: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        fits = isinstance(state, tuple) and len(state) == 5
        if not fits or not isinstance(state[2], _NumpyType):
            raise ValueError("it has an array of NumPy in an unknown form")
        _, shape, kind, fortran, data = state
        if isinstance(data, str):  # Python 2 wrote bytes as texts
            data = data.encode("latin1")
        if not isinstance(data, bytes) or not isinstance(shape, tuple):
            raise ValueError("it has an array of NumPy that is not made of numbers")
        if not all(type(n) is int and 0 <= n < _LARGEST_NUMBER for n in shape):
            raise ValueError(f"it has an array of the shape {quoted(shape)}")
        if math.prod(shape) * kind.dtype.itemsize != len(data):
            raise ValueError(
                f"an array of shape {quoted(shape)} comes with {len(data)} bytes"
            )
        order: Any = "F" if fortran else "C"
        self.array = np.frombuffer(data, kind.dtype).reshape(shape, order=order)


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any):
    del rest  # whether it is differentiated, and hooks, which are dropped
    if not isinstance(storage, Storage):
        raise ValueError("a tensor has no storage")
    if not isinstance(size, tuple) or not isinstance(stride, tuple):
        raise ValueError("a tensor has no size")
    if not all(type(n) is int for n in (offset, *size, *stride)):
        raise ValueError(f"a tensor has the size {quoted((offset, size, stride))}")
    tensor = Tensor(storage, offset, size, stride)
    tensor.check()
    return tensor


def _rebuild_parameter(data: Any, *rest: Any) -> Tensor:
    del rest
    if not isinstance(data, Tensor):
        raise ValueError("a parameter has no tensor")
    return data


def _scalar(kind: Any, data: Any) -> int | float | bool:
    if not isinstance(kind, _NumpyType) or not isinstance(data, bytes):
        raise ValueError("it has a number of NumPy in an unknown form")
    return np.frombuffer(data, kind.dtype, count=1).item()


def _encoded(text: Any, encoding: Any) -> bytes:
    """Bytes as early pickles write them: a text in Latin-1."""
    if not isinstance(text, str) or encoding != "latin1":
        raise ValueError("it has bytes in an unknown form")
    return text.encode("latin1")


_FUNCTIONS: dict[tuple[str, str], Callable[..., Any] | None] = {
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch", "Size"): lambda sizes=(): tuple(sizes),
    ("collections", "OrderedDict"): lambda pairs=(): _Ordered(pairs),
    ("_codecs", "encode"): _encoded,
    ("numpy", "ndarray"): None,
    ("numpy", "dtype"): _NumpyType,
    **{
        (f"numpy.{core}.multiarray", name): function
        for core in ("core", "_core")
        for name, function in (("scalar", _scalar), ("_reconstruct", _NumpyArray))
    },
    **{("torch", name): None for name in STORAGES},
}
_NAMED = {
    name: _Named(".".join(name), function) for name, function in _FUNCTIONS.items()
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NAMED:
            raise ValueError(
                f"it asks for {quoted(f'{module}.{name}')}, and only tensors, numbers, "
                "texts, lists and dicts are read"
            )
        return _NAMED[module, name]

    def persistent_load(self, pid: Any) -> Storage:
        fits = isinstance(pid, tuple) and len(pid) in (5, 6) and pid[0] == "storage"
        kind = pid[1].name.removeprefix("torch.") if fits and _is_storage(pid) else None
        if kind is None or type(pid[2]) is not str or type(pid[4]) is not int:
            raise ValueError("it has a storage in an unknown form")
        if len(pid) == 6 and pid[5] is not None:
            raise ValueError("a storage is a view of another one")
        if not 0 <= pid[4] < _LARGEST_NUMBER:
            raise ValueError(f"a storage declares {quoted(pid[4])} numbers")
        return Storage(STORAGES[kind], pid[2], pid[4])


def _is_storage(pid: tuple) -> bool:
    named = pid[1]
    return isinstance(named, _Named) and named.name.removeprefix("torch.") in STORAGES


def read_pickle(
    data: bytes, start: int = 0, most: int = _MOST_BYTES
) -> tuple[Any, int]:
    """One pickle of plain data.

    Args:
        data: the bytes of a file.
        start: where the pickle begins.
        most: bytes that it may take.

    Returns:
        The content, in which `Tensor` describes a tensor, and where the pickle ends.

    Raises:
        ValueError: it is damaged, too large, or asks for anything but plain data; the
            message names what.

    Example:
        >>> read_pickle(pickle.dumps({"data": [1, 2.5]}))[0]
        {'data': [1, 2.5]}
        >>> read_pickle(pickle.dumps(print))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        ValueError: it asks for 'builtins.print', and only tensors, numbers, ...
    """
    end = _checked_end(data, start)
    if end - start > most:
        raise ValueError(f"its pickle takes more than {most} bytes")
    reader = _Reader(io.BytesIO(data[start:end]), encoding="latin1")
    try:
        return reader.load(), end
    except ValueError:
        raise
    except Exception as error:  # a damaged pickle can raise almost anything
        raise ValueError(f"its pickle is damaged ({type(error).__name__})") from error


def _checked_end(data: bytes, start: int) -> int:
    """Where a pickle ends, if its instructions are those of plain data.

    Raises:
        ValueError: they are not.
    """
    file = io.BytesIO(data)
    file.seek(start)
    steps = 0
    try:
        for step, argument, _ in pickletools.genops(file):
            steps += 1
            if step.name in _REFUSED:
                raise ValueError(f"it has the instruction {step.name}")
            # The table of remembered objects grows to the largest index.
            remembers = step.name in ("PUT", "BINPUT", "LONG_BINPUT")
            if steps > _MOST_STEPS or (
                remembers and not 0 <= int(argument or 0) <= _MOST_STEPS
            ):
                raise ValueError("its pickle is larger than that of any image set")
    except ValueError as error:
        if str(error).startswith("it"):
            raise
        raise ValueError("its pickle is cut off or damaged") from error
    except Exception as error:
        raise ValueError("its pickle is damaged") from error
    return file.tell()


def plain(
    content: Any, read: Callable[[Tensor], np.ndarray], largest: int = 2**31
) -> Any:
    """The content of a pickle with arrays in the place of tensors.

    Args:
        content: what `read_pickle` returns.
        read: a tensor's numbers.
        largest: bytes of all arrays together.

    Raises:
        ValueError: it is nested deeply or holds more than it should.
    """
    arrays: dict[int, np.ndarray] = {}
    left = {"entries": _MOST_STEPS, "bytes": largest}

    def walk(value: Any, depth: int) -> Any:
        left["entries"] -= 1
        if depth > 16 or left["entries"] < 0:
            raise ValueError("it is nested as no image set is")
        if isinstance(value, Tensor):
            if id(value) not in arrays:
                value.check()
                # Those of bfloat16 become float32.
                each = max(4, item_size(value.storage.dtype))
                left["bytes"] -= each * math.prod(value.size)
                if left["bytes"] < 0:
                    raise ValueError("its tensors take more memory than the file")
                arrays[id(value)] = read(value)
            return arrays[id(value)]
        if isinstance(value, _NumpyArray):
            if value.array is None:
                raise ValueError("it has an array of NumPy without numbers")
            return value.array
        if isinstance(value, dict):
            if not all(isinstance(key, str | int) for key in value):
                raise ValueError("a dict has keys that are no texts or numbers")
            return {key: walk(entry, depth + 1) for key, entry in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(walk(entry, depth + 1) for entry in value)
        if value is None or isinstance(value, str | bytes | int | float | complex):
            return value
        raise ValueError(f"it holds {quoted(type(value).__name__.strip('_'))}")

    return walk(content, 0)
