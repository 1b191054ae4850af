"""Stores: built once, resumed, trusted only with their hashes."""

import errno
import json
import os
import shutil

import numpy as np
import pytest

from jaxdd.data.streaming import building, store
from jaxdd.data.streaming.building import Part
from jaxdd.data.streaming.store import stored
from jaxdd.errors import UserError
from jaxdd.progress import Message, Progress, listening
from tests.helpers import Killed, refused

SHAPE = (4, 4, 3)
RNG = np.random.default_rng(0)
TRAIN = RNG.integers(0, 256, (20, *SHAPE)).astype(np.uint8)
TEST = RNG.integers(0, 256, (6, *SHAPE)).astype(np.uint8)


def part(name, images, seen=None, fails_at=None, error=Killed) -> Part:
    """Images with their places as labels; notes which are asked for, and may fail."""

    def samples(first):
        for i in range(first, len(images)):
            if i == fails_at:
                raise error
            if seen is not None:
                seen.append(i)
            yield images[i], i

    return Part(name, len(images), samples)


def opened(folder, *parts):
    return stored(
        folder, "toys", parts or (part("train", TRAIN), part("test", TEST)), SHAPE
    )


def check(there):
    for name, images in (("train", TRAIN), ("test", TEST)):
        np.testing.assert_array_equal(there[name].rows[:], images)
        np.testing.assert_array_equal(there[name].labels, np.arange(len(images)))
        assert there[name].labels.dtype == np.int32


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache" / "toys.rows"


def never(name, images):
    return part(name, images, fails_at=0, error=AssertionError("decoded again"))


def test_samples_are_decoded_once(folder):
    events = []
    with listening(events.append):
        check(opened(folder))
    counts = [e.done for e in events if isinstance(e, Progress)]
    assert counts[-1] == len(TRAIN) + len(TEST)
    check(opened(folder, never("train", TRAIN), never("test", TEST)))
    assert not (folder / "progress.json").exists()


@pytest.mark.parametrize("at", [0, 7, 19])
def test_a_kill_costs_what_was_not_saved_yet(folder, monkeypatch, at):
    monkeypatch.setattr(building, "SAFE_SECONDS", 0.0)
    with pytest.raises(Killed):
        opened(folder, part("train", TRAIN, fails_at=at), part("test", TEST))
    # What was being written when the power failed.
    with (folder / "train.rows").open("ab") as file:
        file.write(b"half a sample")
    seen = []
    check(opened(folder, part("train", TRAIN, seen), part("test", TEST, [])))
    assert seen == list(range(at, len(TRAIN)))


def test_a_sample_that_cannot_be_decoded_is_said_and_loses_nothing(folder):
    broken = part("test", TEST, fails_at=3, error=UserError("image 3 is broken"))
    with refused("image 3 is broken"):
        opened(folder, part("train", TRAIN), broken)
    seen = []
    check(opened(folder, never("train", TRAIN), part("test", TEST, seen)))
    assert seen == [3, 4, 5]


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def edited(**changes):
    def edit(path):
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return edit


DAMAGES = {
    "a bit": ("train.rows", flip),
    "a label": ("test.labels", flip),
    "cut short": ("train.rows", lambda path: os.truncate(path, 100)),
    "longer": ("train.rows", lambda path: path.write_bytes(path.read_bytes() + b"x")),
    "a file is gone": ("test.rows", lambda path: path.unlink()),
    "another size": ("manifest.json", edited(shape=[2, 8, 3])),
    "another version": ("manifest.json", edited(version=99)),
    "no part": ("manifest.json", edited(parts={})),
    "no JSON": ("manifest.json", lambda path: path.write_text("{")),
    "a pipe": ("train.rows", lambda path: (path.unlink(), os.mkfifo(path))),
    "a pipe for a manifest": (
        "manifest.json",
        lambda path: (path.unlink(), os.mkfifo(path)),
    ),
}


def test_another_start_builds_while_a_run_reads(folder, monkeypatch):
    there = opened(folder)
    (folder / "manifest.json").unlink()
    with pytest.raises(Killed):
        opened(folder, part("train", TRAIN, fails_at=3), part("test", TEST))
    check(there)
    check(opened(folder))


UNFINISHED = {
    "a bit": ("train.rows", flip),
    "a label": ("train.labels", flip),
    "zeros": ("train.rows", lambda path: path.write_bytes(bytes(9 * 48))),
    "cut short": ("train.rows", lambda path: os.truncate(path, 100)),
    "a file is gone": ("train.labels", lambda path: path.unlink()),
    "too many": (
        "progress.json",
        edited(train={"count": 99, "rows": "0" * 64, "labels": "0" * 64}),
    ),
    "no hashes": ("progress.json", edited(train=9)),
}


@pytest.mark.parametrize("name", UNFINISHED)
def test_what_changed_in_an_unfinished_store_is_decoded_again(folder, name):
    with pytest.raises(Killed):
        opened(folder, part("train", TRAIN, fails_at=9), part("test", TEST))
    file, damage = UNFINISHED[name]
    damage(folder / file)
    events = []
    with listening(events.append):
        check(opened(folder))
    assert "it is built again" in " ".join(map(str, events))


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_nothing_is_written_through_a_link(folder, tmp_path, link):
    mine = tmp_path / "mine"
    mine.write_text("precious")
    folder.mkdir(parents=True)
    link(mine, folder / "train.rows")
    check(opened(folder))
    assert mine.read_text() == "precious"


def test_only_files_of_the_store_are_deleted(folder):
    opened(folder)
    (folder / "of somebody else").mkdir()
    (folder / "manifest.json").write_text("{")
    (folder / ".lock").unlink()
    os.mkfifo(folder / ".lock")  # nor does it wait for ever
    check(opened(folder))
    assert (folder / "of somebody else").exists()
    (folder / "train.rows").unlink()
    (folder / "train.rows").mkdir()
    with refused("is a folder where decoded images belong: remove it"):
        opened(folder)


def test_a_whole_store_is_opened_where_nobody_may_write(folder, monkeypatch):
    opened(folder)
    real = os.open

    def read_only(path, flags, *mode):
        if flags & (os.O_RDWR | os.O_WRONLY):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path, flags, *mode)

    monkeypatch.setattr(store.os, "open", read_only)
    check(opened(folder, never("train", TRAIN), never("test", TEST)))


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_store_is_built_again_and_says_so(folder, name):
    opened(folder)
    file, damage = DAMAGES[name]
    damage(folder / file)
    events = []
    with listening(events.append):
        check(opened(folder))
    said = " ".join(str(e) for e in events if isinstance(e, Message))
    assert "it is built again" in said


def test_a_full_disk_is_one_sentence_and_the_rest_is_kept(folder, monkeypatch):
    monkeypatch.setattr(building, "SAFE_SECONDS", 0.0)
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with refused("No space left", "JAXDD_CACHE", "--stream=never"):
        opened(folder, part("train", TRAIN, fails_at=9, error=full), part("test", TEST))
    seen = []
    check(opened(folder, part("train", TRAIN, seen), part("test", TEST)))
    assert seen[0] == 9


def test_too_small_a_disk_is_refused_before_anything_is_decoded(folder, monkeypatch):
    usage = shutil.disk_usage("/")._replace(free=building.SPARE + 100)
    monkeypatch.setattr(building.shutil, "disk_usage", lambda path: usage)
    with refused("100 B are free", "JAXDD_CACHE"):
        opened(folder, never("train", TRAIN), never("test", TEST))


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with refused("JAXDD_CACHE", "Not a directory"):
        opened(tmp_path / "file" / "toys.rows")


def test_two_programs_decode_once(folder, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    opened(folder)
    events = []
    with (folder / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        wait = lambda opened, how: (
            (_ for _ in ()).throw(BlockingIOError()) if how & fcntl.LOCK_NB else None
        )
        monkeypatch.setattr(store.fcntl, "flock", wait)
        with listening(events.append):
            check(opened(folder, never("train", TRAIN), never("test", TEST)))
    assert "waiting for it" in str(events[0])
