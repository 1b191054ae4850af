"""Trajectories on disk: what is written is what is read, or a sentence says why not."""

import dataclasses
import errno
import hashlib
import json
import os
import shutil
import zlib

import chex
import jax
import numpy as np
import pytest

from jaxdd.errors import UserError
from jaxdd.experts import Bank, describe_size
from jaxdd.storage.files import to_json
from tests.experts.helpers import CURRICULUM, DATA, NET, TRAINING, toy_manifest
from tests.helpers import full_disk, linear_network, refused, tiny_network

NETWORK = linear_network(4)
LIKE = NETWORK.init(jax.random.key(0))[0]


def params_of(expert, epoch):
    """Parameters that name their expert and epoch, and do not fit into bfloat16."""
    base = 100 * expert + 10 * epoch
    return {
        "kernel": base + np.arange(12, dtype=np.float32).reshape(4, 3) / 7,
        "bias": -base - np.arange(3, dtype=np.float32) / 7,
    }


def filled(folder, **changes) -> Bank:
    manifest = toy_manifest(NETWORK, **changes)
    bank = Bank.create(folder, manifest)
    for expert in range(manifest.experts):
        for epoch in range(manifest.last_epoch + 1):
            bank.write(expert, epoch, params_of(expert, epoch))
    bank.finish()
    return Bank.open(folder)


def same(actual, expected):
    chex.assert_trees_all_equal(actual, expected)
    for leaf in jax.tree.leaves(actual):
        assert leaf.dtype == np.float32


@pytest.mark.parametrize("first", [0, 2])
@pytest.mark.parametrize(("dtype", "size"), [("float32", 4), ("bfloat16", 2)])
def test_every_snapshot_is_read_as_it_was_written(tmp_path, dtype, size, first):
    bank = filled(tmp_path, dtype=dtype, first_epoch=first, last_epoch=first + 3)
    chex.assert_shape(bank.manifest, (3, 4, 15))
    assert (tmp_path / "snapshots.bin").stat().st_size == 3 * 4 * 15 * size
    for expert in range(3):
        for epoch in range(first, first + 4):
            expected = params_of(expert, epoch)
            rounded = jax.tree.map(lambda x: x.astype(dtype), expected)
            expected = jax.tree.map(lambda x: x.astype(np.float32), rounded)
            same(bank.snapshot(expert, epoch, LIKE), expected)


def test_rows_in_the_order_of_the_manifest_and_a_span(tmp_path):
    """[experts, epochs, P], so that others can read it without this library."""
    filled(tmp_path)
    rows = np.fromfile(tmp_path / "snapshots.bin", np.float32).reshape(3, 4, 15)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["leaves"] == [["bias", [3]], ["kernel", [4, 3]]]
    expected = params_of(2, 1)
    assert np.array_equal(rows[2, 1, :3], expected["bias"])
    assert np.array_equal(rows[2, 1, 3:], expected["kernel"].ravel())
    (tmp_path / "later").mkdir()
    bank = filled(tmp_path / "later", first_epoch=1, last_epoch=5)
    span = bank.span(1, 2, 3, LIKE)
    same(span.start, params_of(1, 2))
    same(span.target, params_of(1, 5))


def test_a_network_with_nested_parameters_makes_the_round_trip(tmp_path):
    """The order of a row is that of the tree, not of the names."""
    network = tiny_network("convnet", depth=2)
    params = network.init(jax.random.key(1))[0]
    manifest = toy_manifest(network, experts=1, last_epoch=1)
    bank = Bank.create(tmp_path, manifest)
    bank.write(0, 1, params)
    bank.finish()
    found = Bank.open(tmp_path).snapshot(0, 1, network.init(jax.random.key(2))[0])
    same(found, params)


@pytest.mark.parametrize(
    ("experts", "last", "size", "dtype", "expected"),
    [
        (100, 50, 320010, "float32", "100 experts x 51 snapshots x 320,010 parameters "
         "in float32: 6.53 GB"),
        (100, 50, 320010, "bfloat16", "3.26 GB"),
        (1, 0, 10, "float32", "1 experts x 1 snapshots x 10 parameters in float32: 40 "
         "bytes"),
        (10, 0, 100, "float32", "4 kB"),
        (10, 9, 10000, "float32", "4 MB"),
        (1000, 99, 10**8, "float32", "40 TB"),
        (10**5, 99, 10**8, "float32", "4e+03 TB"),
    ],
)  # fmt: skip
def test_the_weight_of_a_bank_is_told_before_it_is_made(
    experts, last, size, dtype, expected
):
    manifest = toy_manifest(
        NETWORK, experts=experts, last_epoch=last, dtype=dtype, leaves=(("x", (size,)),)
    )
    assert describe_size(manifest).endswith(expected)


# --- Refusals -----------------------------------------------------------------------


def changed(folder, **changes):
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_what_is_no_finished_bank_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no bank of experts at .*experiments.experts"):
        Bank.open(tmp_path / "nowhere")
    Bank.create(tmp_path, toy_manifest(NETWORK))
    with pytest.raises(UserError, match=r"unfinished: start the command .* again"):
        Bank.open(tmp_path)


@pytest.mark.parametrize("left", [None, 0, 719, 721])
def test_a_bank_that_is_cut_off_is_refused(tmp_path, left):
    filled(tmp_path)
    path = tmp_path / "snapshots.bin"
    if left is None:
        path.unlink()
    else:
        path.write_bytes((path.read_bytes() + b"more")[:left])
    told = f"has {left or 0} bytes instead of 720"
    with pytest.raises(UserError, match=told):
        Bank.open(tmp_path)


def test_a_newer_format_is_refused_as_such(tmp_path):
    """Whatever fields it has."""
    filled(tmp_path)
    changed(tmp_path, format=3)
    with pytest.raises(UserError, match=r"format 3, newer than 2.*upgrade"):
        Bank.open(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": 3, "arrays": []}')
    with pytest.raises(UserError, match=r"format 3, newer than 2.*upgrade"):
        Bank.open(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', "\x00"])
def test_a_file_that_is_no_manifest_is_refused(tmp_path, text):
    filled(tmp_path)
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(UserError, match=r"manifest\.json"):
        Bank.open(tmp_path)


def test_a_bank_of_other_experts_is_not_overwritten(tmp_path):
    """Neither a finished nor an unfinished one."""
    bank = Bank.create(tmp_path, toy_manifest(NETWORK))
    for _ in range(2):
        with pytest.raises(UserError, match="experts is 3 there and 2 here"):
            Bank.create(tmp_path, toy_manifest(NETWORK, experts=2))
        assert (tmp_path / "snapshots.bin").stat().st_size == 720
        bank.finish()


def test_creating_a_bank_again_keeps_what_is_there(tmp_path):
    first = Bank.create(tmp_path, toy_manifest(NETWORK))
    first.write(1, 2, params_of(1, 2))
    first.rows.flush()
    again = Bank.create(tmp_path, toy_manifest(NETWORK))
    same(again.snapshot(1, 2, LIKE), params_of(1, 2))
    again.finish()
    assert Bank.create(tmp_path, toy_manifest(NETWORK)).manifest.complete


def test_a_bank_that_no_disk_holds_takes_nothing(tmp_path, monkeypatch):
    """Here 720 bytes; a bank larger than the disk used to fill it and keep it."""
    usage = lambda folder: shutil._ntuple_diskusage(10**6, 10**6 - 700, 700)
    monkeypatch.setattr(shutil, "disk_usage", usage)
    monkeypatch.setattr(os, "posix_fallocate", lambda *arguments: pytest.fail("taken"))
    told = (
        "no room for the bank of experts .*: it needs .* GB more, and 7e-07 GB are free"
    )
    with pytest.raises(UserError, match=told):
        Bank.create(tmp_path, toy_manifest(NETWORK))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("full", ["checksums.bin", "manifest.json", "the map"])
def test_all_files_of_a_bank_are_given_back(tmp_path, monkeypatch, full):
    taken, allocate = [], os.posix_fallocate

    def fallocate(*arguments):
        taken.append(arguments)
        if len(taken) == 2 and full == "checksums.bin":
            full_disk()
        allocate(*arguments)

    monkeypatch.setattr(os, "posix_fallocate", fallocate)
    if full == "manifest.json":
        monkeypatch.setattr(os, "replace", full_disk)
    if full == "the map":
        monkeypatch.setattr(np, "memmap", full_disk)
    with pytest.raises(UserError, match="No space left on device"):
        Bank.create(tmp_path, toy_manifest(NETWORK))
    assert len(taken) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("before", [None, b"earlier"])
def test_what_was_taken_of_a_full_disk_is_given_back(tmp_path, monkeypatch, before):
    path = tmp_path / "snapshots.bin"
    if before is not None:
        path.write_bytes(before)

    def fill(file, offset, size):
        os.ftruncate(file, size // 2)
        full_disk()

    monkeypatch.setattr(os, "posix_fallocate", fill)
    with pytest.raises(UserError, match=r"snapshots.bin: No space left on device"):
        Bank.create(tmp_path, toy_manifest(NETWORK))
    left = {x.name: x.read_bytes() for x in tmp_path.iterdir()}
    assert left == ({} if before is None else {"snapshots.bin": before})


def test_a_file_system_that_cannot_set_blocks_aside_will_do(tmp_path, monkeypatch):
    def unsupported(*arguments):
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "posix_fallocate", unsupported)
    same(filled(tmp_path).snapshot(1, 2, LIKE), params_of(1, 2))


# --- Checksums ----------------------------------------------------------------------


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "place"), [("snapshots.bin", (1 * 4 + 2) * 60 + 7), ("checksums.bin", 48)]
)
def test_a_flipped_bit_is_noticed_when_its_row_is_read(tmp_path, name, place):
    filled(tmp_path)
    flip(tmp_path / name, place)
    bank = Bank.open(tmp_path)
    for expert in range(3):
        for epoch in range(4):
            if (expert, epoch) == (1, 2):
                told = "parameters of expert 1 after epoch 2 differ from those written"
                with pytest.raises(UserError, match=told):
                    bank.snapshot(expert, epoch, LIKE)
            else:
                same(bank.snapshot(expert, epoch, LIKE), params_of(expert, epoch))


def test_a_row_is_verified_once(tmp_path, monkeypatch):
    filled(tmp_path)
    bank = Bank.open(tmp_path)
    bank.span(0, 1, 2, LIKE)
    monkeypatch.setattr(zlib, "crc32", lambda data: pytest.fail("again"))
    bank.span(0, 1, 2, LIKE)
    assert bank.verified.sum() == 2


def test_a_row_that_was_never_written_is_no_row_of_zeros(tmp_path):
    bank = Bank.create(tmp_path, toy_manifest(NETWORK))
    bank.write(0, 0, params_of(0, 0))
    bank.finish()
    with pytest.raises(UserError, match="expert 0 after epoch 1"):
        Bank.open(tmp_path).snapshot(0, 1, LIKE)


@pytest.mark.parametrize("left", [None, 95])
def test_a_bank_without_its_checksums_is_refused(tmp_path, left):
    filled(tmp_path)
    path = tmp_path / "checksums.bin"
    path.unlink() if left is None else os.truncate(path, left)
    with pytest.raises(UserError, match=f"has {left or 0} bytes instead of 96"):
        Bank.open(tmp_path)


def as_format_1(folder):
    (folder / "checksums.bin").unlink()
    changed(folder, format=1)


def test_a_bank_of_format_1_is_read_and_says_what_it_lacks(tmp_path):
    filled(tmp_path)
    as_format_1(tmp_path)
    bank = Bank.open(tmp_path)
    same(bank.snapshot(1, 2, LIKE), params_of(1, 2))
    told = bank.check(toy_manifest(NETWORK), (0, 3))
    assert len(told) == 1
    assert "format 1, which has no checksums" in told[0]


def test_an_unfinished_bank_of_format_1_goes_on(tmp_path):
    Bank.create(tmp_path, toy_manifest(NETWORK)).write(1, 2, params_of(1, 2))
    as_format_1(tmp_path)
    again = Bank.create(tmp_path, toy_manifest(NETWORK), begun=True)
    same(again.snapshot(1, 2, LIKE), params_of(1, 2))
    again.finish()
    assert Bank.open(tmp_path).version == 1


def test_what_tells_banks_apart_is_what_it_was_in_format_1(tmp_path):
    """Runs have it in their configuration."""
    manifest = filled(tmp_path).manifest
    content = dataclasses.asdict(manifest)
    assert content.pop("precision") == "float32"
    text = to_json({"format": 1, **content})
    assert manifest.digest == hashlib.sha256(text.encode()).hexdigest()[:16]
    rounded = dataclasses.replace(manifest, precision="bfloat16")
    assert rounded.digest != manifest.digest


# --- Damaged manifests --------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"leaves": [["bias", [3]], ["kernel", [-4, -3]]]},
        {"leaves": [["x", [10**9, 10**9]]]},
        {"experts": 0},
        {"experts": 10**30},
        {"last_epoch": 2**31 - 1, "experts": 2**31 - 1},
        {"seed": -1},
        {"training": {"batch_size": 1.5}},
        {"curriculum": {"removals": [[1, "x"]]}},
        {"augmentation": None},
        {"complete": "yes"},
        {"data": []},
    ],
    ids=str,
)
def test_a_manifest_that_is_none_is_refused(tmp_path, changes):
    filled(tmp_path)
    changed(tmp_path, **changes)
    with pytest.raises(
        UserError, match=r"manifest\.json .*copy the bank again"
    ) as error:
        Bank.open(tmp_path)
    assert len(str(error.value)) < 700
    with pytest.raises(UserError):
        Bank.is_finished(tmp_path)


def test_a_difference_is_told_in_a_sentence_of_bounded_length(tmp_path):
    filled(tmp_path)
    changed(tmp_path, data={f"{i}" * 300: ["x" * 300] * 300 for i in range(50)})
    with pytest.raises(UserError, match="and 50 more") as error:
        Bank.open(tmp_path).check(toy_manifest(NETWORK), (0, 3))
    assert len(str(error.value)) < 700


# --- Does a bank fit a distillation? ------------------------------------------------


def check(folder, needed=(0, 3), **changes):
    wanted = toy_manifest(NETWORK, **changes)
    return filled(folder).check(wanted, needed)


def test_what_a_bank_was_made_with_fits(tmp_path):
    """Also where the file has lists and the distillation tuples."""
    assert check(tmp_path) == []
    # How many, how long and how precise is not the distillation's business.
    free = {"experts": 9, "seed": 5, "first_epoch": 1, "last_epoch": 9}
    bank = Bank.open(tmp_path)
    assert bank.check(toy_manifest(NETWORK, dtype="bfloat16", **free), (0, 3)) == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"network": {**NET, "width": 16}},
            r"another network \(width is 8 there and 16 here\)",
        ),
        (
            {"network": {"name": "lenet", "image_shape": (8, 8, 1)}},
            r"\(name is 'mlp' there and 'lenet' here, width is 8 there and None here\)",
        ),
        (
            {"preprocess": {"kind": "zca", "digest": "123"}},
            r"another preprocessing \(kind is 'standard' there and 'zca' here\)",
        ),
        (
            {"data": {**DATA, "fingerprint": "abd"}},
            r"other data \(fingerprint is 'abc' there and 'abd' here\)",
        ),
        ({"leaves": (("bias", (3,)), ("kernel", (5, 3)))}, "of other shapes"),
        ({"leaves": (("bias", (3,)), ("weight", (4, 3)))}, "of other shapes"),
    ],
)
def test_a_bank_of_something_else_is_refused(tmp_path, changes, told):
    with refused(told, str(tmp_path)):
        check(tmp_path, **changes)


@pytest.mark.parametrize("needed", [(0, 4), (3, 5)])
def test_too_few_epochs_are_refused(tmp_path, needed):
    told = f"has the epochs 0 to 3, but {needed[0]} to {needed[1]} are needed"
    with pytest.raises(UserError, match=told):
        check(tmp_path, needed)


def test_epochs_that_were_not_kept_are_refused(tmp_path):
    bank = filled(tmp_path, first_epoch=1)
    wanted = toy_manifest(NETWORK)
    assert bank.check(wanted, (1, 3)) == []
    with pytest.raises(UserError, match="has the epochs 1 to 3, but 0 to 3 are needed"):
        bank.check(wanted, (0, 3))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"training": {**TRAINING, "gsam_rho": 0.01}},
            "another optimiser than this method's (gsam_rho is 0.0 there and 0.01 "
            "here)",
        ),
        (
            {"curriculum": {**CURRICULUM, "removals": ((40, 0.1),)}},
            "another curriculum than this method's (removals is [[40, 0.1], [60, 0.2]] "
            "there and [[40, 0.1]] here)",
        ),
        (
            {"augmentation": "flip"},
            "another augmentation than this method's ('none' there and 'flip' here)",
        ),
    ],
)
def test_other_experts_that_can_be_used_are_told(tmp_path, changes, told):
    assert check(tmp_path, **changes) == [f"the experts were trained with {told}"]


def test_all_differences_are_told(tmp_path):
    changes = {"training": {}, "curriculum": {}, "augmentation": "flip"}
    assert len(check(tmp_path, **changes)) == 3
