"""Trajectories on disk: what is written is what is read, or a sentence says why not."""

import errno
import json
import os
import shutil

import chex
import jax
import numpy as np
import pytest

from jaxdd.errors import UserError
from jaxdd.experts import Bank, describe_size
from tests.experts.helpers import (
    LIKE,
    NETWORK,
    changed,
    filled,
    params_of,
    same,
    toy_manifest,
)
from tests.helpers import full_disk, tiny_network


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


def test_what_is_no_finished_bank_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no bank of experts at .*experiments.experts"):
        Bank.open(tmp_path / "nowhere")
    (tmp_path / "replay_buffer_0.pt").touch()
    with pytest.raises(
        UserError, match="but experts of other code, which are not read"
    ):
        Bank.open(tmp_path)
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
