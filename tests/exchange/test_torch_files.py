"""PyTorch's files are read without PyTorch, and hostile ones are refused by name."""

import contextlib
import pickle
import struct
import zipfile

import numpy as np
import pytest

from jaxdd.errors import UserError
from jaxdd.exchange import pickles
from jaxdd.exchange.torch_files import read_torch
from jaxdd.exchange.torch_writer import write_torch
from tests.exchange.containers import named, saved, saved_before, steps, tensor, zipped
from tests.helpers import refused

NUMBERS = np.arange(12, dtype=np.float32)
STORAGE = {"0": NUMBERS.tobytes()}


@pytest.mark.parametrize("write", [saved, saved_before])
def test_nested_content_is_read(tmp_path, write):
    images = NUMBERS.reshape(3, 1, 2, 2)
    content = {"data": [[images, NUMBERS[:3] + 0.5]], "accs": {"net": [0.25, 3]}}
    again = read_torch(write(content, tmp_path / "res.pt"))
    np.testing.assert_array_equal(again["data"][0][0], images)
    np.testing.assert_array_equal(again["data"][0][1], NUMBERS[:3] + 0.5)
    assert again["accs"] == {"net": [0.25, 3]}


@pytest.mark.parametrize("dtype", ["<f4", "<f8", "<f2", "<i8", "|u1"])
def test_types_of_numbers(tmp_path, dtype):
    array = np.arange(6).reshape(2, 3).astype(dtype)
    again = read_torch(saved([array], tmp_path / "x.pt"))[0]
    assert again.dtype == array.dtype
    np.testing.assert_array_equal(again, array)


def test_bfloat16_becomes_float32(tmp_path):
    values = np.array([1.0, -2.5, 3e38, 0.15625], np.float32)
    data = (values.view("<u4") >> 16).astype("<u2").tobytes()
    program = tensor("0", 4, (4,), kind="BFloat16")
    again = read_torch(zipped(tmp_path / "x.pt", program, {"0": data}))
    np.testing.assert_allclose(again, values, rtol=2**-8)
    assert again.dtype == np.float32


def test_views_parameters_and_names(tmp_path):
    turned = tensor("0", 12, (4, 3), (1, 4))
    part = tensor("0", 12, (2,), (3,), offset=5)
    parameter = named("torch._utils", "_rebuild_parameter")
    parameter += b"(" + tensor("0", 12, (12,)) + b"\x88" + b"NtR"
    size = named("torch", "Size") + b"(" + steps((2, 3)) + b"tR"
    program = b"](" + turned + part + parameter + size + b"e"
    again = read_torch(zipped(tmp_path / "x.pt", program, STORAGE))
    np.testing.assert_array_equal(again[0], NUMBERS.reshape(3, 4).T)
    np.testing.assert_array_equal(again[1], NUMBERS[[5, 8]])
    np.testing.assert_array_equal(again[2], NUMBERS)
    assert again[3] == (2, 3)


@pytest.mark.parametrize("protocol", [2, 4])
def test_numbers_and_arrays_of_numpy(tmp_path, protocol):
    """Accuracies in the files of DC are numbers of NumPy."""
    content = {"accs": [np.float64(0.5), np.int64(3)], "table": np.ones((2, 3), "f4")}
    again, _ = pickles.read_pickle(pickle.dumps(content, protocol))
    again = pickles.plain(again, lambda tensor: np.empty(0))
    assert again["accs"] == [0.5, 3]
    np.testing.assert_array_equal(again["table"], content["table"])


def laughs():
    """A pickle of a kilobyte whose lists hold each other 2^40 times."""
    program = b"]q\x00"
    for k in range(40):
        program += b"](" + b"h" + bytes([k]) * 1 + b"h" + bytes([k]) + b"e"
        program += b"q" + bytes([k + 1])
    return program


HOSTILE = {
    "a call of the system": (
        named("posix", "system") + b"(Vtouch x\ntR",
        "posix.system",
    ),
    "a call of eval": (named("builtins", "eval") + b"(V1\ntR", "builtins.eval"),
    "an import by parts": (steps("os") + steps("system") + b"\x93", "os.system"),
    "an instance": (b"(ios\nsystem\n", "os.system"),
    "a class": (named("torch.nn", "Linear") + b")\x81", "torch.nn.Linear"),
    "a private name of the reader": (
        named("jaxdd.exchange.pickles", "plain"),
        "jaxdd.exchange.pickles.plain",
    ),
    "an extension": (b"\x82\x01", "EXT1"),
    "a change of a function": (
        named("torch._utils", "_rebuild_tensor_v2") + b"}b",
        "changes torch._utils._rebuild_tensor_v2",
    ),
    "a change of a tensor": (tensor("0", 12, (12,)) + b"}b", "changes a tensor"),
    "a huge tensor": (tensor("0", 2**40, (2**40,)), "declares the size"),
    "a huge storage": (tensor("0", 2**40, (12,)), "declares"),
    "a negative size": (tensor("0", 12, (-12,)), "-12"),
    "a negative stride": (tensor("0", 12, (12,), (-1,)), "-1"),
    "a negative offset": (tensor("0", 12, (2,), (1,), offset=-3), "-3"),
    "a size that is no number": (tensor("0", 12, (1.5,), (1,)), "1.5"),
    "a view beyond the storage": (tensor("0", 12, (4,), (4,)), "beyond"),
    "a storage declared too short": (tensor("0", 11, (11,)), "declares 44 bytes"),
    "a storage declared too long": (tensor("0", 13, (13,)), "declares 52 bytes"),
    "a storage that is not there": (tensor("1", 12, (12,)), "lacks"),
    "one number repeated endlessly": (tensor("0", 12, (2**28,), (0,)), "repeats"),
    "an unknown storage": (tensor("0", 12, (12,), kind="ComplexFloat"), "Complex"),
    "more axes than strides": (tensor("0", 12, (3, 4), (1,)), "axes"),
    "a remembered object far away": (b"Nr\xff\xff\xff\x7f", "larger"),
    "a text of 4 GB": (b"X\xff\xff\xff\xffabc", "damaged"),
    "a byte array of 2^60": (b"\x96" + struct.pack("<Q", 2**60), "damaged"),
    "lists in lists": (b"]" * 100_000 + b"a" * 99_999, "nested"),
    "lists that hold each other": (laughs(), "nested"),
    "nothing": (b"", "damaged"),
    "an empty stack": (b"0000", "damaged"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_are_refused_by_name(tmp_path, monkeypatch, name):
    program, word = HOSTILE[name]
    monkeypatch.chdir(tmp_path)
    path = zipped(tmp_path / "set.pt", program, STORAGE)
    with refused(None, "set.pt", word):
        read_torch(path)
    assert [x.name for x in tmp_path.iterdir()] == ["set.pt"]


class Trap:
    """Leaves a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("protocol", range(5))
def test_a_trap_does_not_spring(tmp_path, protocol):
    program = pickle.dumps({"data": Trap(tmp_path / "sprung")}, protocol)
    path = tmp_path / "set.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("set/data.pkl", program)
    for trapped in (path, tmp_path / "legacy.pt"):
        with refused(None, trapped.name):
            read_torch(trapped)
        (tmp_path / "legacy.pt").write_bytes(program)
    assert not (tmp_path / "sprung").exists()


def test_containers_that_are_none(tmp_path):
    whole = saved([NUMBERS], tmp_path / "whole.pt").read_bytes()
    before = saved_before([NUMBERS], tmp_path / "before.pt").read_bytes()
    bomb = zipped(
        tmp_path / "bomb.pt", tensor("0", 2**24, (2**24,)), {"0": bytes(2**26)},
        packed=zipfile.ZIP_DEFLATED,
    )  # fmt: skip
    with refused(None, "compressed"):
        read_torch(bomb)
    swapped = zipped(tmp_path / "big.pt", tensor("0", 12, (12,)), STORAGE, order=b"big")
    with refused(None, "byte order"):
        read_torch(swapped)
    other = tmp_path / "other.zip"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("a/b.txt", "text")
    with refused(None, "data.pkl"):
        read_torch(other)
    for data in (whole[:-30], whole[:100], before[:-4], before[:40], b"", b"text"):
        (tmp_path / "cut.pt").write_bytes(data)
        with refused(None, "cut.pt"):
            read_torch(tmp_path / "cut.pt")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of escapes in texts
def test_damaged_pickles_are_read_or_refused(tmp_path):
    """Whatever a byte is changed to, the answer is content or one sentence."""
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(saved({"data": [[NUMBERS, 3]]}, tmp_path / "x.pt")) as archive:
        program = archive.read("set/data.pkl")[2:-1]
    accepted = 0
    for _ in range(200):
        changed = bytearray(program)
        changed[rng.integers(len(changed))] = rng.integers(256)
        path = zipped(tmp_path / "y.pt", bytes(changed), STORAGE)
        with contextlib.suppress(UserError):
            read_torch(path)
            accepted += 1
    assert 0 < accepted < 150


def test_what_is_written_is_read(tmp_path):
    content = {
        "images": NUMBERS.reshape(3, 1, 2, 2).swapaxes(0, 3),
        "targets": np.arange(3),
        "rate": np.array(0.5, np.float32),
        "texts": ["ä", (1, -300, 2**40), None, True, 0.1],
    }
    write_torch(content, tmp_path / "a.pt")
    again = read_torch(tmp_path / "a.pt")
    for name in ("images", "targets", "rate"):
        np.testing.assert_array_equal(again[name], content[name])
        assert again[name].dtype == content[name].dtype
    assert again["texts"] == content["texts"]
    write_torch(content, tmp_path / "b.pt")
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()
    with refused(None, "set"):
        write_torch({"a": {1, 2}}, tmp_path / "c.pt")
    assert not (tmp_path / "c.pt").exists()


def test_pytorch_and_we_read_each_other(tmp_path):
    torch = pytest.importorskip("torch", reason="the other side needs PyTorch")
    images = torch.arange(12.0).reshape(3, 1, 2, 2)
    content = {"data": [[images.half().permute(0, 2, 3, 1), images]], "b": 0.5}
    for zipped_ in (True, False):
        path = tmp_path / f"{zipped_}.pt"
        torch.save(content, path, _use_new_zipfile_serialization=zipped_)
        pair = read_torch(path)["data"][0]
        np.testing.assert_array_equal(pair[0], content["data"][0][0].numpy())
        np.testing.assert_array_equal(pair[1], images.numpy())
    write_torch({"images": images.numpy(), "names": ["cat"]}, tmp_path / "ours.pt")
    again = torch.load(tmp_path / "ours.pt", weights_only=True)
    assert torch.equal(again["images"], images)
    assert again["names"] == ["cat"]
