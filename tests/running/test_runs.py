"""The resumable loop: stopped anywhere and continued, the bits are the same."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
import pytest

from jaxdd.errors import Diverged, UserError
from jaxdd.fields import override
from jaxdd.methods.build import build
from jaxdd.methods.recipes import METHODS
from jaxdd.running import resume as runs
from jaxdd.running.schedule import RunSchedule
from jaxdd.storage.checkpoints import Checkpoints
from jaxdd.storage.metrics import Metrics
from jaxdd.types import Method
from tests.helpers import Killed, die, full_disk, refused, tiny_network, toy_start
from tests.toy_runs import (
    BAD_STEP,
    SCHEDULE,
    go,
    inputs,
    kill_at,
    leaves_of,
    lines,
    measure,
    outcome,
    pixel,
    saved_steps,
    toy_method,
    track,
    uninterrupted,
)


def test_the_lines_and_the_states_are_those_of_the_plan(tmp_path, expected):
    metrics = expected[1]
    assert [line["step"] for line in metrics] == [0, 2, 3, 4, 6, 8, 9, 10]
    for line in metrics:
        keys = set() if line["step"] == 0 else {"first", "loss"}
        if line["step"] % 3 == 0:
            keys |= {"measured"}
        assert set(line) == keys | {"step"}
    state, written, timings, program = go(tmp_path)
    assert int(state.method.step) == 10
    assert [{**x, "seconds": 0} for x in written.lines] == [
        {**x, "seconds": 0} for x in metrics
    ]
    assert min(timings) > 0
    assert len(program.executables) == 1
    assert saved_steps(tmp_path) == [8, 10]
    measured = {x["step"]: x["measured"] for x in metrics if "measured" in x}
    best = max(measured, key=lambda step: measured[step])
    assert best == 6
    assert int(state.best.step) == best
    assert float(state.best.accuracy) == measured[best]
    assert pixel(state.best.synthetic) == measured[best]


def test_a_run_in_memory_gives_the_same_and_writes_nothing(
    tmp_path, monkeypatch, expected
):
    """Of the state, the best set and the metrics; there is nothing to continue."""
    monkeypatch.chdir(tmp_path)
    resumed = []
    for _ in range(2):
        state, metrics, timings, _ = go(None, resumed=resumed)
        assert leaves_of(state) == expected[0]
        without = [{**x, "seconds": 0} for x in metrics.lines]
        assert without == [{**x, "seconds": 0} for x in expected[1]]
        assert min(timings) > 0
    assert resumed == []
    assert list(tmp_path.iterdir()) == []


def test_a_fault_in_memory_says_nothing_of_a_folder():
    with pytest.raises(Diverged) as error:
        go(None, method=toy_method(BAD_STEP))
    assert str(error.value) == (
        f"the loss of step {BAD_STEP} is not finite: lower --image_lr or the weights"
    )


def test_a_solve_that_failed_is_named_as_such():
    """Whatever else is not finite then."""
    method = toy_method(BAD_STEP)

    def step(key, state, inputs):
        new, info = method.step(key, state, inputs)
        return new, {**info, "residual": 0 * info["loss"]}

    with pytest.raises(Diverged) as error:
        go(None, method=method._replace(step=step))
    assert str(error.value) == (
        f"the linear system of step {BAD_STEP} could not be solved: raise the ridge or "
        "lower --image_lr"
    )


@pytest.mark.parametrize("seconds", [0.0, 1e9])
def test_chunk_boundaries_do_not_change_bits(tmp_path, monkeypatch, expected, seconds):
    monkeypatch.setattr(runs, "CHUNK_SECONDS", seconds)
    chunks = []
    count = lambda step, loss, seconds: chunks.append(step)
    state = go(tmp_path, progress=count).state
    assert outcome(tmp_path, state) == expected
    single = list(range(1, 11))
    assert chunks == (single if seconds == 0 else [1, 3, 4, 6, 8, 9, 10])


def test_another_plan_takes_the_same_steps(tmp_path, expected):
    schedule = RunSchedule(steps=10, log_every=1, measure_every=10, save_every=10)
    leaves, found = uninterrupted(tmp_path, schedule=schedule, track=None)
    without_best = len(jax.tree.leaves(toy_method().init(None, toy_start(inputs()))))
    assert leaves == expected[0][:without_best]
    for line in expected[1]:
        if line["step"] > 0:
            assert found[line["step"]]["loss"] == line["loss"]


def test_another_seed_gives_another_run(tmp_path, expected):
    assert uninterrupted(tmp_path, seed=1)[0] != expected[0]


# On both sides of every saved state.
@pytest.mark.parametrize("step", [1, 4, 5, 8, 9, 10])
def test_killed_after_any_step_and_continued(tmp_path, single_steps, expected, step):
    with pytest.raises(Killed):
        go(tmp_path, progress=kill_at(step))
    resumed = []
    state = go(tmp_path, resumed=resumed).state
    assert outcome(tmp_path, state) == expected
    assert resumed == [(step - 1) // 4 * 4]


def nth_call(function, n, instead):
    """`function`, but its n-th call is `instead(*arguments)`."""
    calls = []

    def wrapper(*args, **kwargs):
        calls.append(None)
        return (instead if len(calls) == n else function)(*args, **kwargs)

    return wrapper


def write_half(metrics, line):
    with open(metrics.path, "a") as file:
        file.write(json.dumps(line)[:9])
    raise Killed


def save_then_die(checkpoints, step, state):
    SAVE(checkpoints, step, state)
    raise Killed


SAVE, WRITE = Checkpoints.save, Metrics.write


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("where", ["measure", "track", "before", "after", "line"])
def test_killed_anywhere_in_the_host_s_work(tmp_path, monkeypatch, expected, where, n):
    hooks = {}
    with monkeypatch.context() as patch:
        if where == "measure":
            hooks["measure"] = nth_call(measure, n, die)
        elif where == "track":
            hooks["track"] = nth_call(track, n, die)
        elif where == "line":
            patch.setattr(Metrics, "write", nth_call(WRITE, n, write_half))
        else:
            instead = die if where == "before" else save_then_die
            patch.setattr(Checkpoints, "save", nth_call(SAVE, n, instead))
        with pytest.raises(Killed):
            go(tmp_path, **hooks)
    state = go(tmp_path).state
    assert outcome(tmp_path, state) == expected


@pytest.mark.parametrize("seconds", [0.0, 1e9])
def test_a_step_that_is_not_finite_is_undone_and_named(
    tmp_path, monkeypatch, expected, seconds
):
    monkeypatch.setattr(runs, "CHUNK_SECONDS", seconds)
    for _ in range(2):  # the same command again says the same
        with pytest.raises(UserError, match=f"the loss of step {BAD_STEP} is not"):
            go(tmp_path, method=toy_method(BAD_STEP))
        assert saved_steps(tmp_path)[-1] == BAD_STEP - 1
    assert lines(tmp_path) == [x for x in expected[1] if x["step"] < BAD_STEP]
    # What is kept is the state before: without the fault the run goes on from it.
    resumed = []
    state = go(tmp_path, resumed=resumed).state
    assert resumed == [BAD_STEP - 1]
    assert outcome(tmp_path, state) == expected


def shrinking_method(start=0.35, by=0.1) -> Method:
    """The usual walk with a step size that falls by a constant."""
    usual = toy_method()

    def init(key, synthetic):
        return usual.init(key, synthetic._replace(step_size=jnp.float32(start)))

    def step(key, state, inputs):
        new, info = usual.step(key, state, inputs)
        smaller = new.codes._replace(step_size=new.codes.step_size - by)
        return new._replace(codes=smaller), info

    return usual._replace(init=init, step=step)


@pytest.mark.parametrize("seconds", [0.0, 1e9])
def test_a_negative_step_size_ends_the_run_before_it(tmp_path, monkeypatch, seconds):
    """0.35 - 4 * 0.1 < 0: the fourth step is undone and named."""
    monkeypatch.setattr(runs, "CHUNK_SECONDS", seconds)
    for _ in range(2):  # the same command again says the same
        with refused(
            None,
            "the step size would be negative after step 4:",
            f"the state before it is kept in {tmp_path}",
            "lower --step_size_lr",
        ):
            go(tmp_path, method=shrinking_method())
        assert saved_steps(tmp_path)[-1] == 3
    assert [x["step"] for x in lines(tmp_path)] == [0, 2, 3]
    # What is kept is the state before: with a smaller fall the run goes on from it.
    resumed = []
    state = go(tmp_path, method=shrinking_method(by=0.005), resumed=resumed).state
    assert resumed == [3]
    assert float(state.method.codes.step_size) == pytest.approx(0.05 - 7 * 0.005)


def test_a_step_size_of_zero_is_no_fault(tmp_path):
    """1.25 - 10 / 8 is exactly zero after the last step."""
    state = go(tmp_path, method=shrinking_method(1.25, 0.125)).state
    assert int(state.method.step) == 10
    assert float(state.method.codes.step_size) == 0


def test_more_steps_go_on_and_fewer_are_refused(tmp_path, expected):
    short = dataclasses.replace(SCHEDULE, steps=5)
    go(tmp_path, schedule=short)
    resumed = []
    state = go(tmp_path, resumed=resumed).state
    assert resumed == [5]
    assert outcome(tmp_path, state) == expected
    resumed.clear()
    with pytest.raises(UserError, match="already at step 10, beyond --steps=5"):
        go(tmp_path, schedule=short, resumed=resumed)
    assert resumed == []
    assert outcome(tmp_path, go(tmp_path).state) == expected


def test_damaged_lines_are_told(tmp_path, expected):
    go(tmp_path, schedule=dataclasses.replace(SCHEDULE, steps=5))
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text().replace('"step": 2', '"step": NaN'))
    sentences = []
    go(tmp_path, warn=sentences.append)
    assert len(sentences) == 1
    assert f"1 of the lines of {path} cannot be read" in sentences[0]
    assert lines(tmp_path) == [x for x in expected[1] if x["step"] != 2]
    go(tmp_path, warn=sentences.append)  # and only once
    assert len(sentences) == 1


def test_time_is_counted_over_all_starts(tmp_path):
    go(tmp_path, schedule=dataclasses.replace(SCHEDULE, steps=4))
    path = tmp_path / "metrics.jsonl"
    old = [{**json.loads(x), "seconds": 100.0} for x in path.open()]
    path.write_text("".join(json.dumps(x) + "\n" for x in old))
    _, metrics, timings, _ = go(tmp_path)
    assert [x["seconds"] >= 100 for x in metrics.lines] == [True] * 8
    assert 100 < timings.seconds < 200


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("what", ["line", "rewrite", "state"])
def test_a_full_disk_is_told_and_the_run_can_go_on(
    tmp_path, monkeypatch, expected, what, n
):
    with monkeypatch.context() as patch:
        if what == "line":
            wrapped = nth_call(open, n, full_disk)
            patch.setattr("jaxdd.storage.metrics.open", wrapped, raising=False)
        elif what == "rewrite":
            patch.setattr("jaxdd.storage.files.os.replace", full_disk)
        else:
            saving = nth_call(ocp.CheckpointManager.save, n, full_disk)
            patch.setattr("orbax.checkpoint.CheckpointManager.save", saving)
        with pytest.raises(UserError, match="No space left on device") as error:
            go(tmp_path)
    assert str(tmp_path) in str(error.value)
    assert outcome(tmp_path, go(tmp_path).state) == expected


def damage(folder, step):
    for file in (folder / "checkpoints" / str(step)).rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def test_a_damaged_newest_state_falls_back_to_the_older(
    tmp_path, single_steps, expected
):
    with pytest.raises(Killed):
        go(tmp_path, progress=kill_at(9))
    assert saved_steps(tmp_path) == [4, 8]
    damage(tmp_path, 8)
    resumed, closer = [], dataclasses.replace(SCHEDULE, save_every=2)
    with pytest.raises(Killed):  # states below the damaged one are saved again
        go(tmp_path, progress=kill_at(7), resumed=resumed, schedule=closer)
    assert saved_steps(tmp_path)[-1] == 6
    with pytest.raises(Killed):
        go(tmp_path, progress=kill_at(9), resumed=resumed)
    assert saved_steps(tmp_path)[-1] == 8
    state = go(tmp_path, resumed=resumed).state
    assert resumed == [4, 6, 8]
    assert outcome(tmp_path, state) == expected


def test_two_damaged_states_are_told_and_left(tmp_path):
    go(tmp_path)
    for step in (8, 10):
        damage(tmp_path, step)
    before = (tmp_path / "metrics.jsonl").read_text()
    with pytest.raises(UserError, match="no checkpoint in"):
        go(tmp_path)
    assert (tmp_path / "metrics.jsonl").read_text() == before


@pytest.mark.slow  # `tests/experiments` and `tests/distillation` stop real runs, too
def test_a_real_method_stopped_and_continued(tmp_path, single_steps):
    """DSA with SDC: networks, momentum and augmentation are all carried over."""
    flags = {
        "augmentation": "flip_scale",
        "batch_real": 4,
        "matches": 3,
        "sdc_weight": 1.0,
    }
    method = build(tiny_network("mlp", width=4), override(METHODS["dsa"], flags))
    schedule = RunSchedule(steps=8, log_every=1, measure_every=8, save_every=3)
    whole = uninterrupted(tmp_path / "whole", method=method, schedule=schedule)
    assert len(whole[1]) == 9
    stopped = tmp_path / "stopped"
    with pytest.raises(Killed):
        go(stopped, method=method, schedule=schedule, progress=kill_at(5))
    state = go(stopped, method=method, schedule=schedule).state
    assert outcome(stopped, state) == whole
