"""Run states on disk: the same bits back, two of them, damage noticed."""

import errno
import gc
import os
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.errors import UserError
from jaxdd.storage.checkpoints import Checkpoints, newest
from tests.helpers import full_disk, refused


class State(NamedTuple):
    step: jax.Array
    images: jax.Array
    nested: dict[str, Any]


def state(step):
    noise = jax.random.normal(jax.random.key(step), (3, 2, 8, 8, 1))
    return State(
        jnp.int32(step),
        noise.at[0, 0, 0, 0, 0].set(jnp.float32(1e-42)),  # denormal
        {"flag": jnp.bool_(step % 2), "empty": (), "half": noise.astype(jnp.bfloat16)},
    )


def assert_same_bits(actual, expected):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


@pytest.fixture
def opened(tmp_path):
    """A function that opens the checkpoints of the test's folder as a new start."""
    managers = []

    def open_():
        for manager in managers:
            manager.close()
        managers.append(Checkpoints(tmp_path))
        return managers[-1]

    yield open_
    managers[-1].close()


def damage(tmp_path, step, how):
    folder = tmp_path / "checkpoints" / str(step)
    files = [f for f in folder.rglob("*") if f.is_file()]
    if how == "flipped":  # one bit within the array data, which Orbax does not notice
        largest = max(files, key=lambda f: f.stat().st_size)
        content = bytearray(largest.read_bytes())
        content[len(content) // 2] ^= 1
        largest.write_bytes(content)
        return
    for file in files:
        if how == "removed":
            file.unlink()
        else:
            size = 0 if how == "emptied" else file.stat().st_size // 2
            file.write_bytes(file.read_bytes()[:size])


def test_a_state_comes_back_bit_for_bit(opened):
    checkpoints = opened()
    assert checkpoints.restore(state(0)) is None
    checkpoints.save(7, state(7))
    step, found = opened().restore(state(0))
    assert step == 7
    assert_same_bits(found, state(7))


ODD = (
    "a b", "é", "日本", "50%", "a%20b", "#1", "*", "?", "{a,b}", "'q'", '"q"', "a\nb",
    "lr=0.1,layers=[1,2]", "[!a]", "]", "a\\b", "~x", "-x", "$(x)`;|&<>", "e\u0301",
    os.fsdecode(b"\xff\xfe"),
)  # fmt: skip


@pytest.mark.parametrize("name", ODD, ids=ascii)
def test_what_is_saved_below_any_name_can_be_read_back(tmp_path, monkeypatch, name):
    links = tmp_path / "links"
    links.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(links))
    (tmp_path / name).mkdir()
    for step in (3, 6):  # as two starts of one run
        checkpoints = Checkpoints(tmp_path / name)
        before = checkpoints.restore(state(0))
        assert before is None if step == 3 else before[0] == 3
        checkpoints.save(step, state(step))
        checkpoints.close()
    assert newest(tmp_path / name) == 6
    last = Checkpoints(tmp_path / name)
    step, again = last.restore(state(0))
    last.close()
    assert step == 6
    assert_same_bits(again, state(6))
    assert list(links.iterdir()) == []  # what was needed on the way is gone
    assert not (tmp_path / name / "checkpoints").is_symlink()


def test_a_name_that_needs_a_link_is_refused_where_none_can_be_made(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "absent"))
    (tmp_path / "[a]").mkdir()
    with refused("choose a --workdir of letters"):
        Checkpoints(tmp_path / "[a]")
    Checkpoints(tmp_path / "a").close()  # others need none


def test_the_first_save_of_a_start_is_read_back(opened, monkeypatch):
    def nothing(self, step, **kwargs):
        raise ValueError("there is nothing to see")

    checkpoints = opened()
    with monkeypatch.context() as patch:
        patch.setattr("orbax.checkpoint.CheckpointManager.restore", nothing)
        with pytest.raises(UserError, match=r"cannot be read back \(there is nothing"):
            checkpoints.save(3, state(3))
    checkpoints = opened()
    checkpoints.save(6, state(6))
    monkeypatch.setattr("orbax.checkpoint.CheckpointManager.restore", nothing)
    checkpoints.save(9, state(9))  # the later ones are believed


@pytest.mark.parametrize(
    ("names", "step"), [([], None), (["3", "12", "x", "²", "99.tmp"], 12)]
)
def test_the_newest_state_by_its_name(tmp_path, names, step):
    assert newest(tmp_path) is None
    for name in names:
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    assert newest(tmp_path) == step


def test_the_two_newest_are_kept(opened, tmp_path):
    checkpoints = opened()
    for step in (0, 3, 4, 9):
        checkpoints.save(step, state(step))
    assert sorted(f.name for f in (tmp_path / "checkpoints").iterdir()) == ["4", "9"]
    checkpoints.save(9, state(1))  # there already: nothing happens
    assert_same_bits(opened().restore(state(0))[1], state(9))


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("how", ["removed", "emptied", "cut", "flipped"])
def test_a_damaged_state_is_passed_over_and_replaced(
    opened, tmp_path, how, capfd, caplog
):
    for step in (3, 6):
        opened().save(step, state(step))
    damage(tmp_path, 6, how)
    checkpoints = opened()
    step, found = checkpoints.restore(state(0))
    assert step == 3
    assert_same_bits(found, state(3))
    for step in (4, 6):  # also below the damaged one
        checkpoints.save(step, state(step))
        found = opened().restore(state(0))
        assert found[0] == step
        assert_same_bits(found[1], state(step))
    gc.collect()  # abandoned tasks of Orbax are reported then
    assert "Traceback" not in capfd.readouterr().err
    assert caplog.records == []


def test_when_nothing_fits_the_folder_is_named(opened, tmp_path):
    opened().save(3, state(3))
    other = state(0)._replace(images=jnp.zeros((3, 2, 8, 8, 3)))
    with pytest.raises(UserError, match="no checkpoint in"):
        opened().restore(other)
    assert opened().restore(state(0))[0] == 3
    for step in (3, 6):
        opened().save(step, state(step))
        damage(tmp_path, step, "emptied")
    with refused("no checkpoint in", str(tmp_path / "checkpoints")):
        opened().restore(state(0))


def test_an_unfinished_save_is_ignored(opened, tmp_path):
    """What a kill amid a save leaves."""
    opened().save(3, state(3))
    opened().save(6, state(6))
    folder = tmp_path / "checkpoints"
    os.rename(folder / "6", folder / "6.orbax-checkpoint-tmp")
    checkpoints = opened()
    assert checkpoints.restore(state(0))[0] == 3
    checkpoints.save(6, state(6))
    assert opened().restore(state(0))[0] == 6


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        ValueError("RESOURCE_EXHAUSTED: " + 300 * "x" + ": No space left on device\n"),
    ],
)
def test_a_full_disk_keeps_the_earlier_state(opened, monkeypatch, error):
    checkpoints = opened()
    checkpoints.save(3, state(3))

    def refuse(*args, **kwargs):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.manager, "save", refuse)
        with pytest.raises(UserError, match="No space left") as raised:
            checkpoints.save(6, state(6))
    assert "step 6" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert opened().restore(state(0))[0] == 3


def test_a_disk_that_is_full_at_the_start_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("orbax.checkpoint.CheckpointManager", full_disk)
    with refused("No space left", str(tmp_path / "checkpoints")):
        Checkpoints(tmp_path)
