"""What can have happened to a file: seeded, small, and as odd as possible.

`rng` is a `random.Random` throughout; the same seed does the same damage.
"""

import copy
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

Members = dict[str, bytes]  # of an archive: the NPY file of each array
Damage = Callable[[Random, bytes], tuple[bytes, str]]


class Raw(str):
    """Text that goes into a JSON file as it is."""


def _deep(levels: int) -> Raw:
    return Raw("[" * levels + "]" * levels)


# What is put in the place of a JSON value.
ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 0.5, 2.5, -0.0, 3.0, 1e-320, 1e30, 1e308, -1e308,
    2**31 - 1, 2**31, 2**32, 2**63, 10**30, 10**400, Raw("9" * 5000), Raw("1e400"),
    Raw("NaN"), Raw("Infinity"), Raw("-Infinity"), Raw("\"\\ud800\""), Raw("'x'"), "",
    " ", "x", "x" * 3000, "\0", "\x1b[31m", "é", "🂡", "a\nb", "../x", "/", "2024-01-31",
    [], {}, [[]], [None], [0], [1, 2, 3], {"": 0}, {"x": {"y": []}}, ["x"] * 1000,
    list(range(2000)), {str(i): i for i in range(500)}, _deep(20), _deep(40),
    _deep(1000), _deep(100_000),
)  # fmt: skip
DTYPES = (
    "<f8", "<f2", ">f4", "<i4", "<i8", "|u1", "|b1", "<c8", "<M8[D]", "<m8[s]", "|S4",
    "<U4", "|O", "<f4",
)  # fmt: skip


def damage_bytes(rng: Random, content: bytes) -> tuple[bytes, str]:
    """A file as a bad disk, a cut transfer or another program leaves it."""
    data, size = bytearray(content), max(1, len(content))
    way = rng.choice(["flip", "flip", "cut", "zeros", "insert", "remove", "whole"])
    if way == "flip" and content:
        places = [rng.randrange(size) for _ in range(rng.choice([1, 1, 2, 8]))]
        for place in places:
            data[place] ^= 1 << rng.randrange(8)
        return bytes(data), f"bits flipped at {places}"
    start = rng.randrange(size)
    length = rng.choice([1, 4, 100, size])
    if way == "cut":
        return bytes(data[:start]), f"cut at {start}"
    if way == "zeros":
        data[start : start + length] = bytes(len(data[start : start + length]))
        return bytes(data), f"{length} zeros from {start}"
    if way == "insert":
        data[start:start] = rng.randbytes(length)
        return bytes(data), f"{length} random bytes at {start}"
    if way == "remove":
        del data[start : start + length]
        return bytes(data), f"{length} bytes fewer at {start}"
    other = rng.choice(
        [
            b"", b"\0", b"{}", b"[]", b"null", b"3", b"{", b"\xff\xfe",
            b"\xef\xbb\xbf{}", b" " * 1000, b"PK\x03\x04", b"PK\x05\x06" + bytes(18),
            b"\x93NUMPY\x01\x00",
            pickle.dumps([1]), b"<html>", rng.randbytes(300),
        ]
    )  # fmt: skip
    return other, f"{other[:20]!r} in its place"


def damage_value(rng: Random, value: Any) -> tuple[Any, str]:
    """A JSON value with one place changed."""
    whole = copy.deepcopy(value)
    places = list(_places(whole))
    if not places or rng.random() < 0.02:
        odd = rng.choice(ODD)
        return odd, f"{_short(odd)} in the place of all"
    holder, key, where = rng.choice(places)
    way = rng.choice(["odd"] * 8 + ["drop", "rename", "wrap", "text", "scale", "copy"])
    old = holder[key]
    if way == "drop":
        del holder[key]
    elif way == "rename" and isinstance(holder, dict):
        holder[rng.choice(["x", "", key + " ", key.upper()])] = holder.pop(key)
    elif way == "wrap":
        holder[key] = rng.choice([[old], {"x": old}, [old, old]])
    elif way == "text":
        holder[key] = json.dumps(old)
    elif way == "scale" and type(old) in (int, float):
        holder[key] = old * rng.choice([-1, 0.5, 2, 1000, 10**6, 10**12])
    elif way == "copy":
        other, name, _ = rng.choice(places)
        holder[key] = copy.deepcopy(other.get(name)) if type(other) is dict else old
    else:
        way = "odd"
        holder[key] = rng.choice(ODD)
    new = holder.get(key) if isinstance(holder, dict) else holder
    return whole, f"{where}: {way}, {_short(new)}"


def _places(value: Any, where: str = ""):
    """(holder, key, path) of everything inside."""
    entries: Any = ()
    if isinstance(value, dict):
        entries = value.items()
    elif isinstance(value, list):
        entries = enumerate(value)
    for key, inner in list(entries):
        yield value, key, f"{where}/{key}"
        yield from _places(inner, f"{where}/{key}")


def _short(value: Any) -> str:
    return value[:30] if isinstance(value, Raw) else repr(value)[:30]


def as_json(value: Any) -> str:
    """JSON text in which `Raw` values stand as they are."""
    raw: list[Raw] = []

    def marked(x: Any) -> Any:
        if isinstance(x, Raw):
            raw.append(x)
            return f"@{len(raw) - 1}@"
        if isinstance(x, dict):
            return {k: marked(v) for k, v in x.items()}
        return [marked(v) for v in x] if isinstance(x, list) else x

    text = json.dumps(marked(value))
    for index, token in enumerate(raw):
        text = text.replace(f'"@{index}@"', token)
    return text


def damage_json(rng: Random, content: bytes) -> tuple[bytes, str]:
    """A JSON file whose values or bytes are changed."""
    if rng.random() < 0.25:
        return damage_bytes(rng, content)
    value, how = json.loads(content), []
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        try:
            value, what = damage_value(rng, value)
        except RecursionError:  # copying what is deep
            break
        how.append(what)
        if isinstance(value, Raw):
            break
    return as_json(value).encode("utf-8", "surrogatepass"), "; ".join(how)


def damage_lines(rng: Random, content: bytes) -> tuple[bytes, str]:
    """A file with a JSON value per line."""
    if rng.random() < 0.3:
        return damage_bytes(rng, content)
    lines = content.splitlines()
    index = rng.randrange(len(lines))
    way = rng.choice(["value", "value", "value", "drop", "twice", "order", "blank"])
    if way == "value":
        lines[index], way = damage_json(rng, lines[index])
    elif way == "drop":
        del lines[index]
    elif way == "twice":
        lines.insert(index, lines[index])
    elif way == "order":
        rng.shuffle(lines)
    else:
        lines.insert(index, b"")
    return b"".join(line + b"\n" for line in lines), f"line {index}: {way}"


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def unpacked(content: bytes) -> Members:
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        return {name.removesuffix(".npy"): file.read(name) for name in file.namelist()}


def packed(members: Members) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return buffer.getvalue()


def damage_archive(
    rng: Random, content: bytes, headers: Callable[[Random, Members], str] | None = None
) -> tuple[bytes, str]:
    """An .npz archive with bytes, members or a JSON header changed.

    Args:
        content: a whole archive.
        headers: changes the JSON header among the members, where there is one.
    """
    way = rng.random()
    if way < 0.3:
        return damage_bytes(rng, content)
    members = unpacked(content)
    if headers is not None and way < 0.7:
        how = headers(rng, members)
    else:
        how = _damage_member(rng, members)
    return packed(members), how


def damage_header(rng: Random, members: Members) -> str:
    """Change the JSON text that the member "header" holds."""
    text = str(np.load(io.BytesIO(members["header"])))
    changed, how = damage_json(rng, text.encode())
    members["header"] = npy(np.array(changed.decode("utf-8", "surrogateescape")))
    return f"header{how}"


def _damage_member(rng: Random, members: Members) -> str:
    name = rng.choice(list(members))
    array = np.load(io.BytesIO(members[name]))
    way = rng.choice(
        ["drop", "rename", "swap", "dtype", "dtype", "shape", "value", "value", "lie",
         "lie", "bytes", "unknown", "zeros"]
    )  # fmt: skip
    if way == "drop":
        del members[name]
    elif way == "rename":
        members[rng.choice(["x", "", "../x", name + "/", name.upper()])] = members.pop(
            name
        )
    elif way == "swap":
        other = rng.choice(list(members))
        members[name], members[other] = members[other], members[name]
    elif way == "dtype":
        way = f"dtype {_change_dtype(rng, members, name, array)}"
    elif way == "shape":
        shapes = [array[None], array[..., None], array.reshape(-1), array[:0] if
                  array.ndim else array, array.T, np.concatenate([array, array]) if
                  array.ndim else array]  # fmt: skip
        members[name] = npy(np.asfortranarray(rng.choice(shapes)))
    elif way == "value" and array.dtype.kind in "fiub" and array.size:
        odd = rng.choice([np.nan, np.inf, -np.inf, -1, 0, 2, 1e-30, 1e30, 1e38, -1e38])
        changed = array.copy().reshape(-1)
        with np.errstate(all="ignore"):
            at = rng.randrange(changed.size)
            changed[at if rng.random() < 0.5 else slice(None)] = np.array(odd).astype(
                array.dtype
            )
        members[name] = npy(changed.reshape(array.shape))
        way = f"value {odd}"
    elif way == "lie":
        shape = rng.choice([(2**40,), (-1,), (2**70, 2), (0,), (10**5,) * 3, (3, "x")])
        described = {"descr": rng.choice(DTYPES), "fortran_order": False,
                     "shape": shape}  # fmt: skip
        buffer = io.BytesIO()
        np.lib.format.write_array_header_1_0(buffer, described)
        members[name] = buffer.getvalue() + members[name][128:]
        way = f"header of shape {shape}"
    elif way == "unknown":
        members["x"] = rng.choice([b"", pickle.dumps([1]), npy(np.zeros(2**20))])
    elif way == "zeros" and rng.random() < 0.1:  # 80 MB, packed into 80 kB
        members[rng.choice([name, "x"])] = npy(np.zeros(20 * 2**20, np.float32))
    else:
        members[name], way = damage_bytes(rng, members[name])
    return f"{name}: {way}"


def _change_dtype(rng: Random, members: Members, name: str, array: np.ndarray) -> str:
    dtype = rng.choice(DTYPES)
    try:
        with np.errstate(all="ignore"):
            changed = array.astype(dtype)
    except (ValueError, TypeError):
        changed = np.zeros(array.shape, dtype)
    members[name] = npy(changed)
    return dtype


def of_file(name: str, damage: Damage) -> Callable[[Random, Path], str]:
    """Damage of one file of a folder."""

    def change(rng: Random, folder: Path) -> str:
        path = folder / name
        content, how = damage(rng, path.read_bytes())
        path.write_bytes(content)
        return f"{name}: {how}"

    return change
