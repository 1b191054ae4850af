"""Rows of a bank are those that were written, and banks of before have no checksums."""

import dataclasses
import hashlib
import os
import zlib

import pytest

from jaxdd.errors import UserError
from jaxdd.experts import Bank
from jaxdd.storage.files import to_json
from tests.experts.helpers import (
    LIKE,
    NETWORK,
    changed,
    filled,
    params_of,
    same,
    toy_manifest,
)


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
