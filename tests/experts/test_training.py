"""Training a bank: each expert by itself, stopped anywhere with the same bytes."""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.augment import on_images
from jaxdd.data.real import take
from jaxdd.devices import policy
from jaxdd.errors import UserError
from jaxdd.experts import Bank, Watch, train_bank, training
from jaxdd.modifiers.curriculum import Curriculum
from jaxdd.storage.signals import Interrupted
from jaxdd.training.fit import Training, make_epochs
from jaxdd.types import Learner
from tests.experts.helpers import toy_manifest
from tests.helpers import Killed, assert_close, refused, smooth_network, toy_real
from tests.toy_runs import every_compilation_cached

NETWORK = smooth_network(hidden=4)
REAL = toy_real()
EPOCHS, EXPERTS = 2, 4
TRAINING = Training(EPOCHS, learning_rate=0.1, batch_size=16, momentum=0.5)
LIKE = NETWORK.init(jax.random.key(0))[0]
MANIFEST = toy_manifest(NETWORK, experts=EXPERTS, last_epoch=EPOCHS, seed=7)


def jitter(key, images):
    """An augmentation, so that its keys count."""
    return images + 0.1 * jax.random.normal(key, images.shape)


def epochs_of(settings=TRAINING, members=None):
    return make_epochs(NETWORK, settings, on_images(jitter), take, members)


def train(folder, manifest=MANIFEST, epochs=None, **watch) -> Bank:
    folder.mkdir(exist_ok=True)
    epochs = epochs_of() if epochs is None else epochs
    return train_bank(folder, manifest, NETWORK, epochs, REAL, Watch(**watch))


def content(folder):
    return (folder / "snapshots.bin").read_bytes()


@pytest.fixture(autouse=True, scope="module")
def cached():
    with every_compilation_cached():
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A bank that was trained without interruption."""
    return train(tmp_path_factory.mktemp("whole") / "bank")


@pytest.fixture
def expected(whole):
    return content(whole.folder)


@pytest.fixture
def eager(monkeypatch):
    """The state is saved after every epoch."""
    monkeypatch.setattr(training, "SAVE_SECONDS", -1.0)


def expert_key(purpose, expert):
    key = jax.random.fold_in(jax.random.key(MANIFEST.seed), purpose)
    return jax.random.fold_in(key, expert)


def test_the_first_snapshot_is_the_initialisation_of_the_expert(whole):
    starts = []
    for expert in range(EXPERTS):
        start = whole.snapshot(expert, 0, LIKE)
        params = NETWORK.init(expert_key(0, expert))[0]
        assert_close(start, jax.tree.map(np.asarray, params), rtol=1e-6)
        starts.append(start["head"]["kernel"].tobytes())
    assert len(set(starts)) == EXPERTS


def test_every_snapshot_is_an_epoch_more_of_the_same_training(whole):
    """By hand, with momentum carried on and keys that depend on the expert alone."""
    run = epochs_of()
    epoch = jax.jit(run.epoch)
    for expert in (0, 2):
        state = run.init(Learner(*NETWORK.init(expert_key(0, expert))))
        for e in range(EPOCHS):
            state = epoch(expert_key(1, expert), state, REAL, jnp.int32(e))
            found = whole.snapshot(expert, e + 1, LIKE)
            by_hand = jax.tree.map(np.asarray, state.learner.params)
            assert_close(found, by_hand, rtol=1e-4, atol=1e-5)
    moved = np.abs(
        found["head"]["kernel"] - whole.snapshot(2, 0, LIKE)["head"]["kernel"]
    )
    assert moved.max() > 1e-2


def test_the_bank_is_finished_and_leaves_no_states(whole):
    assert whole.manifest == dataclasses.replace(
        Bank.open(whole.folder).manifest, complete=True
    )
    assert sorted(x.name for x in whole.folder.iterdir()) == [
        "checksums.bin",
        "manifest.json",
        "snapshots.bin",
    ]


@pytest.mark.parametrize("size", [2, 4])
def test_an_expert_does_not_depend_on_its_group(tmp_path, monkeypatch, whole, size):
    """Nor on how many there are; up to rounding, which may follow the batching."""
    monkeypatch.setattr(training, "group_size", lambda experts: size)
    seen = []
    with policy.using(policy.TABLE["gpu"]):  # vmap
        bank = train(
            tmp_path, progress=lambda done, total, s: seen.append((done, total))
        )
    total = EXPERTS // size * EPOCHS
    assert seen == [(i + 1, total) for i in range(total)]
    np.testing.assert_allclose(bank.rows, whole.rows, rtol=1e-4, atol=1e-5)


def test_number_and_seed_of_the_experts(tmp_path, whole):
    bank = train(tmp_path / "two", dataclasses.replace(MANIFEST, experts=2))
    assert np.array_equal(bank.rows, whole.rows[:2])
    bank = train(tmp_path / "one", dataclasses.replace(MANIFEST, experts=1, seed=8))
    assert not np.any(np.isclose(bank.rows[0, :, -12:], whole.rows[0, :, -12:]).all(1))


@pytest.mark.parametrize(
    ("experts", "cpu", "accelerator"),
    [(1, 1, 1), (7, 1, 7), (10, 1, 10), (100, 1, 25), (64, 1, 32), (37, 1, 1)],
)
def test_groups_divide_the_experts(experts, cpu, accelerator):
    assert training.group_size(experts) == cpu
    with policy.using(policy.Choices(experts=32)):
        assert training.group_size(experts) == accelerator


def test_later_epochs_alone_are_kept(tmp_path, whole):
    manifest = dataclasses.replace(MANIFEST, first_epoch=1, dtype="bfloat16")
    bank = train(tmp_path, manifest)
    chex.assert_shape(bank.rows, (EXPERTS, 2, MANIFEST.parameters))
    assert np.array_equal(bank.rows, whole.rows[:, 1:].astype(jnp.bfloat16))


def test_a_curriculum_reaches_the_experts(tmp_path, whole):
    """The first epoch sees half of each class, the second everything."""
    curriculum = Curriculum(0.5, 1)
    members = curriculum.members
    bank = train(
        tmp_path,
        dataclasses.replace(MANIFEST, experts=1, last_epoch=2),
        epochs_of(members=members),
    )
    run = epochs_of(members=lambda data, e: members(REAL, 0) | (e > 0))
    state = run.init(Learner(*NETWORK.init(expert_key(0, 0))))
    for e in range(2):
        state = jax.jit(run.epoch)(expert_key(1, 0), state, REAL, jnp.int32(e))
        found = bank.snapshot(0, e + 1, LIKE)
        by_hand = jax.tree.map(np.asarray, state.learner.params)
        assert_close(found, by_hand, rtol=1e-4, atol=1e-5)
    assert not np.allclose(bank.rows[0, 1], whole.rows[0, 1], atol=1e-3)


# --- Stopped and continued ----------------------------------------------------------


def kill_at(epoch):
    def progress(done, total, seconds):
        if done == epoch:
            raise Killed

    return progress


LAST = EXPERTS * EPOCHS


@pytest.mark.parametrize("epoch", [1, 5, LAST])
def test_killed_and_continued(tmp_path, eager, expected, epoch):
    """The state of the killed epoch is not on disk: it is trained again."""
    with pytest.raises(Killed):
        train(tmp_path, progress=kill_at(epoch))
    with pytest.raises(UserError, match="unfinished"):
        Bank.open(tmp_path)
    resumed, seen = [], []
    train(
        tmp_path,
        on_resume=resumed.append,
        progress=lambda done, total, seconds: seen.append(done),
    )
    assert resumed == ([epoch - 1] if epoch > 1 else [])
    assert seen == list(range(epoch, LAST + 1))
    assert content(tmp_path) == expected


def test_killed_before_the_first_state(tmp_path, expected):
    """Within the seconds between two states everything is trained again."""
    with pytest.raises(Killed):
        train(tmp_path, progress=kill_at(3))
    resumed = []
    train(tmp_path, on_resume=resumed.append)
    assert resumed == []
    assert content(tmp_path) == expected


@pytest.mark.parametrize(
    ("epoch", "signum"),
    [(1, signal.SIGINT), (3, signal.SIGTERM), (LAST, signal.SIGINT)],
)
def test_a_signal_saves_the_state_of_that_epoch(tmp_path, expected, epoch, signum):
    def progress(done, total, seconds):
        if done == epoch:
            os.kill(os.getpid(), signum)

    before = signal.getsignal(signum)
    with pytest.raises(Interrupted) as stopped:
        train(tmp_path, progress=progress)
    assert (stopped.value.signum, stopped.value.step) == (signum, epoch)
    assert signal.getsignal(signum) is before
    resumed, seen = [], []
    train(
        tmp_path,
        on_resume=resumed.append,
        progress=lambda done, total, seconds: seen.append(done),
    )
    assert resumed == [epoch]
    assert seen == list(range(epoch + 1, LAST + 1))
    assert content(tmp_path) == expected


def test_a_signal_after_the_last_epoch_is_seen(tmp_path, monkeypatch, expected):
    usual = Bank.finish

    def finish(bank):
        os.kill(os.getpid(), signal.SIGTERM)
        usual(bank)

    with monkeypatch.context() as patch:
        patch.setattr(Bank, "finish", finish)
        with pytest.raises(Interrupted) as stopped:
            train(tmp_path)
    assert str(stopped.value) == f"stopped by SIGTERM at epoch {LAST}"
    seen = []
    train(tmp_path, progress=lambda done, total, seconds: seen.append(done))
    assert seen == []  # the bank was finished
    assert not (tmp_path / "checkpoints").exists()
    assert content(tmp_path) == expected


def flip(folder, place=None):
    """One bit of a snapshot: expert 0's after epoch 1, unless told."""
    path = folder / "snapshots.bin"
    content = bytearray(path.read_bytes())
    content[4 * MANIFEST.parameters + 9 if place is None else place] ^= 1
    path.write_bytes(content)


LOSSES = {
    "deleted": lambda folder: (folder / "snapshots.bin").unlink(),
    "cut": lambda folder: os.truncate(folder / "snapshots.bin", 100),
    "all zeros": lambda folder: (folder / "snapshots.bin").write_bytes(
        bytes((folder / "snapshots.bin").stat().st_size)
    ),
    "a flipped bit": flip,
    "no checksums": lambda folder: (folder / "checksums.bin").unlink(),
    "no manifest": lambda folder: (folder / "manifest.json").unlink(),
}


@pytest.mark.parametrize("name", LOSSES)
def test_snapshots_lost_on_the_way_are_no_zeros(tmp_path, expected, name):
    """A state on disk says that they are there."""

    def stop(done, total, seconds):
        if done == EPOCHS + 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        train(tmp_path, progress=stop)
    LOSSES[name](tmp_path)
    for _ in range(2):
        with pytest.raises(UserError, match=r"train the experts anew") as error:
            train(tmp_path)
        assert str(tmp_path) in str(error.value)
        assert len(str(error.value)) < 700
    shutil.rmtree(tmp_path / "checkpoints")  # as the sentence says
    train(tmp_path)
    assert content(tmp_path) == expected


def test_rows_that_will_be_trained_again_may_be_anything(tmp_path, expected):
    def stop(done, total, seconds):
        if done == EPOCHS + 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        train(tmp_path, progress=stop)
    flip(tmp_path, -1)
    train(tmp_path)
    assert content(tmp_path) == expected


KILLED = """
import sys, time
from pathlib import Path
import jax
jax.config.update("jax_disable_most_optimizations", True)
from jaxdd.experts import training
from tests.experts import test_training as test
training.SAVE_SECONDS = -1.0

def progress(done, total, seconds):
    if done == 5:
        print("here", flush=True)
        time.sleep(60)

test.train(Path(sys.argv[1]), progress=progress)
"""


def test_a_process_that_is_really_killed(tmp_path, expected):
    """What it wrote into the map is there, also without a flush."""
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": "."},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout.readline() == "here\n"
        finally:
            process.kill()
    assert process.returncode == -signal.SIGKILL
    resumed = []
    train(tmp_path, on_resume=resumed.append)
    assert resumed == [4]
    assert content(tmp_path) == expected


# --- Parameters that are not finite -------------------------------------------------


def diverging(at_expert=1, at_epoch=1):
    """The usual epochs, but one of one expert ends with a NaN."""
    usual = epochs_of()
    bad = jax.random.key_data(expert_key(1, at_expert))

    def epoch(key, state, data, index, rate=None):
        new = usual.epoch(key, state, data, index, rate)
        hit = jnp.all(jax.random.key_data(key) == bad) & (index == at_epoch)
        spoil = lambda x: jnp.where(hit, jnp.nan, x)
        params = new.learner.params
        params = {**params, "head": jax.tree.map(spoil, params["head"])}
        return new._replace(learner=new.learner._replace(params=params))

    return usual._replace(epoch=epoch)


@pytest.mark.parametrize(("size", "who"), [(1, "expert 1"), (2, "experts 0 to 1")])
def test_parameters_that_are_not_finite_end_the_training(
    tmp_path, monkeypatch, expected, size, who
):
    monkeypatch.setattr(training, "group_size", lambda experts: size)
    for _ in range(2):  # the same command again says the same
        with refused(
            None,
            f"the parameters of {who} are not finite after epoch 2",
            f"the state before it is kept in {tmp_path}",
            "lower --learning_rate",
        ):
            train(tmp_path, epochs=diverging())
    with pytest.raises(UserError, match="unfinished"):
        Bank.open(tmp_path)
    # What is kept is the state before: without the fault the training goes on from it.
    resumed = []
    bank = train(tmp_path, on_resume=resumed.append)
    assert resumed == [3 if size == 1 else 1]
    chex.assert_tree_all_finite(bank.rows)
    if size == 1:
        assert content(tmp_path) == expected


# --- Short runs from elsewhere ------------------------------------------------------


def begun_at(folder, begin):
    folder.mkdir(exist_ok=True)
    return train_bank(folder, MANIFEST, NETWORK, epochs_of(), REAL, begin=begin)


def test_experts_may_begin_with_given_parameters(tmp_path):
    """Snapshot 0 is what was given, and training goes on from there."""
    given = [NETWORK.init(jax.random.key(100 + e))[0] for e in range(EXPERTS)]
    bank = begun_at(tmp_path / "given", lambda expert: given[expert])
    run = epochs_of()
    epoch = jax.jit(run.epoch)
    for expert in range(EXPERTS):
        chex.assert_trees_all_equal(bank.snapshot(expert, 0, LIKE), given[expert])
        # The key of `train_bank`'s own experts: only the start differs.
        root = jax.random.fold_in(jax.random.key(MANIFEST.seed), 1)
        key = jax.random.fold_in(root, expert)
        state = run.init(Learner(given[expert], {}))
        for index in range(EPOCHS):
            state = epoch(key, state, REAL, jnp.int32(index))
        found = bank.snapshot(expert, EPOCHS, LIKE)
        assert_close(found, state.learner.params, rtol=1e-4, atol=1e-6)
