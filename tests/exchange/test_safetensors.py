"""Safetensors are read by our own reader, which believes no declared size."""

import json
import struct

import numpy as np
import pytest

from jaxdd.exchange.safetensors import read_safetensors, write_safetensors
from tests.helpers import refused

ARRAYS = {
    "images": np.arange(12, dtype=np.float32).reshape(3, 4),
    "labels": np.arange(3),
    "flags": np.array([True, False]),
    "scalar": np.array(2.5, np.float16),
    "empty": np.empty((0, 3), np.uint8),
}


def test_arrays_and_texts_come_back(tmp_path):
    write_safetensors(ARRAYS, tmp_path / "x.safetensors", {"by": "ä"})
    again, texts = read_safetensors(tmp_path / "x.safetensors")
    assert texts == {"by": "ä"}
    assert list(again) == list(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(again[name], array)
        assert again[name].dtype == array.dtype
    with refused(None, "complex64"):
        write_safetensors({"x": np.ones(2, np.complex64)}, tmp_path / "y.safetensors")


def test_numbers_begin_at_multiples_of_eight(tmp_path):
    """As the format asks for."""
    write_safetensors(ARRAYS, tmp_path / "x.safetensors")
    (length,) = struct.unpack("<Q", (tmp_path / "x.safetensors").read_bytes()[:8])
    assert length % 8 == 0


def test_bfloat16_becomes_float32(tmp_path):
    entry = {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}
    path = by_hand(tmp_path, {"x": entry}, b"\x80?\x20\xc0")
    assert read_safetensors(path)[0]["x"].tolist() == [1.0, -2.5]


def by_hand(folder, header, data=b"", length=None):
    """A file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    length = len(text) if length is None else length
    path = folder / "set.safetensors"
    path.write_bytes(struct.pack("<Q", length) + text + data)
    return path


def entry(**changes):
    return {"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}}


BAD = {
    "a huge header": ({}, {"length": 2**60}, "declares"),
    "a header beyond the file": ({}, {"length": 50}, "declares"),
    "no JSON": (b"{x", {}, "set.safetensors"),
    "a list": ([1], {}, "no JSON object"),
    "lists in lists": (b"[" * 100_000, {}, "set.safetensors"),
    "a huge tensor": (entry(shape=[2**40], data_offsets=[0, 2**42]), {}, "ends at"),
    "a wrong size": (entry(shape=[3]), {}, "needs 12 bytes"),
    "beyond the end": (entry(data_offsets=[8, 16]), {}, "ends at 16 of 8"),
    "turned around": (entry(data_offsets=[8, 0]), {}, "needs 8 bytes"),
    "a negative size": (entry(shape=[-2]), {}, "no shape"),
    "no shape": (entry(shape=None), {}, "no shape"),
    "three places": (entry(data_offsets=[0, 8, 8]), {}, "no shape"),
    "an unknown type": (entry(dtype="F4"), {}, "F4"),
    "no entry": ({"x": 3}, {}, "type 3"),
    "overlapping": (
        {f"x{i}": entry()["x"] for i in range(200)}, {}, "overlap",
    ),
    "metadata of numbers": ({"__metadata__": {"a": 1}}, {}, "no texts"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_damaged_files_are_refused(tmp_path, name):
    header, more, word = BAD[name]
    path = by_hand(tmp_path, header, bytes(8), **more)
    with refused(None, word):
        read_safetensors(path)


@pytest.mark.parametrize("size", [0, 5, 8, 60])
def test_files_that_are_cut_off(tmp_path, size):
    write_safetensors(ARRAYS, tmp_path / "x.safetensors")
    data = (tmp_path / "x.safetensors").read_bytes()[:size]
    (tmp_path / "cut.safetensors").write_bytes(data)
    with refused(None, "cut.safetensors"):
        read_safetensors(tmp_path / "cut.safetensors")
