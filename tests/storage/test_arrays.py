"""Archives: bounded before anything is unpacked, and never a pickle."""

import io
import pickle
import zipfile

import numpy as np
import pytest

from jaxdd.errors import UserError
from jaxdd.storage.arrays import Member, read_arrays
from tests.faults.fuzz import resident_mb

MEMBERS = {
    "scores": Member("f", 1),
    "ids": Member("iu", 1),
    "note": Member("U", 0, required=False),
}
SCORES = {"scores": np.ones(3, np.float32), "ids": np.arange(3)}


def read(path, **options):
    return read_arrays(path, MEMBERS, "give another", "--scores", **options)


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def archive(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)


def header(shape, dtype="<f4"):
    buffer = io.BytesIO()
    described = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, described)
    return buffer.getvalue()


def test_known_members_are_read_and_others_are_not(tmp_path):
    np.savez(tmp_path / "x.npz", **SCORES, other=np.array([{}], dtype=object))
    arrays = read(tmp_path / "x.npz")
    assert set(arrays) == {"scores", "ids"}
    np.testing.assert_array_equal(arrays["ids"], SCORES["ids"])


class Exploit:
    def __reduce__(self):
        return (pytest.fail, ("a pickle has run",))


ODD = {
    "missing": ({"scores": npy(SCORES["scores"])}, "no array 'ids'"),
    "dtype": ({"scores": npy(SCORES["scores"]), "ids": npy(np.ones(3))}, "type"),
    "axes": ({"scores": npy(np.ones((3, 1))), "ids": npy(np.arange(3))}, "1 axes"),
    "pickle": ({"scores": pickle.dumps(Exploit()), "ids": npy(np.arange(3))}, ""),
    "object": (
        {"scores": header((1,), "|O") + pickle.dumps(Exploit()), "ids": b""}, "type"
    ),
    "says more": ({"scores": header((2**40,)), "ids": npy(np.arange(3))}, "declares"),
    "overflow": ({"scores": header((2**70,)), "ids": npy(np.arange(3))}, "declares"),
    "negative": ({"scores": header((-3,)), "ids": npy(np.arange(3))}, "shape"),
    "holds more": (
        {"scores": npy(SCORES["scores"]) + b"xx", "ids": npy(np.arange(3))}, "holds"
    ),
    "no header": ({"scores": b"\x93NUMPY\x01\x00\xff\xff", "ids": b""}, ""),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_odd_archives_are_one_sentence(tmp_path, name):
    members, says = ODD[name]
    archive(tmp_path / "x.npz", **members)
    with pytest.raises(UserError, match=f"^--scores .*{says}.*give another$"):
        read(tmp_path / "x.npz")


@pytest.mark.parametrize("content", [b"", b"PK", pickle.dumps([1]), npy(np.ones(3))])
def test_what_is_no_archive_is_refused(tmp_path, content):
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"give another$"):
        read(tmp_path / "x.npz")


def test_zeros_stay_packed_and_flipped_bits_are_noticed(tmp_path):
    size = 200 * 2**20
    archive(tmp_path / "x.npz", scores=header((size // 4,)) + bytes(size),
            ids=npy(np.arange(3)))  # fmt: skip
    before = resident_mb(reset=True)
    with pytest.raises(UserError, match="as no data does"):
        read(tmp_path / "x.npz")
    assert resident_mb() - before < 50
    np.savez(tmp_path / "x.npz", scores=np.ones(1000, np.float32), ids=np.arange(3))
    content = bytearray((tmp_path / "x.npz").read_bytes())
    content[1000] ^= 1
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"give another$"):
        read(tmp_path / "x.npz")


def test_the_caller_agrees_before_anything_is_unpacked(tmp_path):
    np.savez(tmp_path / "x.npz", **SCORES)

    def agree(shapes):
        assert shapes == {"scores": (3,), "ids": (3,)}
        raise ValueError("they do not fit")

    with pytest.raises(UserError, match="they do not fit"):
        read(tmp_path / "x.npz", agree=agree)
    np.savez(tmp_path / "x.npz", **SCORES)
    with pytest.raises(KeyError):
        read(tmp_path / "x.npz", agree=lambda shapes: shapes["absent"])
