"""The resumable loop: stopped anywhere and continued, the bits are the same."""

import dataclasses
import errno
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from jaxdd import runs, workdir
from jaxdd.checkpoints import Checkpoints
from jaxdd.errors import UserError
from jaxdd.methods import METHODS, build
from jaxdd.runs import Best, Hooks, Plan
from jaxdd.signals import Interrupted
from jaxdd.types import Method, MethodState, Span
from tests.helpers import tiny_network, toy_inputs, toy_start

PLAN = Plan(steps=10, log_every=2, measure_every=3, save_every=4)
BAD_STEP = 7  # the step whose loss is not finite, where a test asks for one


class Killed(BaseException):
    """Ends a run as SIGKILL does: nothing catches it, nothing is saved."""


def toy_method(bad_step=None) -> Method:
    """A noisy walk of the images; quick to compile, and every step counts."""

    def init(key, start):
        return MethodState(jnp.int32(0), start, jnp.zeros(()), (), ())

    def step(key, state, inputs):
        noise = jax.random.normal(key, state.codes.images.shape)
        images = jnp.sin(1.3 * state.codes.images) + 0.1 * noise
        loss = jnp.sum(images**2)
        if bad_step is not None:
            loss = jnp.where(state.step + 1 == bad_step, jnp.nan, loss)
        codes = state.codes._replace(images=images)
        new = MethodState(state.step + 1, codes, state.optimizer + loss, (), ())
        return new, {"loss": loss, "first": images.ravel()[0]}

    return Method(init, step, lambda state: state.codes)


INPUTS = toy_inputs()


def pixel(synthetic):
    return float(synthetic.images.ravel()[9])  # this one is largest at step 6


def measure(state):
    return {"measured": pixel(state.codes)}


def track(best, synthetic, step):
    """Best by a number that goes up and down."""
    score = pixel(synthetic)
    if score <= float(best.accuracy):
        return best
    return Best(jnp.float32(score), jnp.int32(step), synthetic)


def go(folder, method=None, plan=PLAN, seed=0, resumed=None, **hooks):
    method = toy_method() if method is None else method
    folder.mkdir(exist_ok=True)
    return runs.run(
        folder,
        method,
        lambda: method.init(jax.random.key(5), toy_start(INPUTS)),
        INPUTS,
        seed,
        plan,
        Hooks(**{"measure": measure, "track": track, **hooks}),
        (lambda step: None) if resumed is None else resumed.append,
    )


def outcome(folder, state):
    """Everything that has to be the same: the state's bits, the lines of metrics."""
    leaves = [(x.dtype, np.asarray(x).tobytes()) for x in jax.tree.leaves(state)]
    return leaves, lines(folder)


def lines(folder):
    found = [json.loads(x) for x in (folder / "metrics.jsonl").open()]
    for line in found:
        assert line.pop("seconds") >= 0
    return found


def saved_steps(folder):
    checkpoints = Checkpoints(folder)
    try:
        return sorted(checkpoints.manager.all_steps())
    finally:
        checkpoints.close()


def uninterrupted(folder, **arguments):
    return outcome(folder, go(folder, **arguments)[0])


@pytest.fixture(autouse=True, scope="module")
def cached():
    """Keep also quick compilations: every start of a run compiles."""
    name = "jax_persistent_cache_min_compile_time_secs"
    before = getattr(jax.config, name)
    jax.config.update(name, 0.0)
    yield
    jax.config.update(name, before)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """The outcome of PLAN without interruption."""
    return uninterrupted(tmp_path_factory.mktemp("whole") / "run")


def kill_at(step):
    """A `progress` that kills the run after a chunk, before anything is written."""

    def progress(at, loss, seconds):
        if at >= step:
            raise Killed

    return progress


def test_the_lines_and_the_states_are_those_of_the_plan(tmp_path, expected):
    metrics = expected[1]
    assert [line["step"] for line in metrics] == [0, 2, 3, 4, 6, 8, 9, 10]
    for line in metrics:
        keys = set() if line["step"] == 0 else {"first", "loss"}
        if line["step"] % 3 == 0:
            keys |= {"measured"}
        assert set(line) == keys | {"step"}
    state, written, timings = go(tmp_path)
    assert int(state.method.step) == 10
    assert [{**x, "seconds": 0} for x in written.lines] == [
        {**x, "seconds": 0} for x in metrics
    ]
    assert set(timings) == {"seconds", "seconds_per_step", "compile_seconds"}
    assert saved_steps(tmp_path) == [8, 10]
    measured = {x["step"]: x["measured"] for x in metrics if "measured" in x}
    best = max(measured, key=lambda step: measured[step])
    assert best == 6
    assert int(state.best.step) == best
    assert float(state.best.accuracy) == measured[best]
    assert pixel(state.best.synthetic) == measured[best]


@pytest.mark.parametrize("seconds", [0.0, 1e9])
def test_chunk_boundaries_do_not_change_bits(tmp_path, monkeypatch, expected, seconds):
    monkeypatch.setattr(runs, "CHUNK_SECONDS", seconds)
    chunks = []
    count = lambda step, loss, seconds: chunks.append(step)
    state, _, _ = go(tmp_path, progress=count)
    assert outcome(tmp_path, state) == expected
    single = list(range(1, 11))
    assert chunks == (single if seconds == 0 else [1, 3, 4, 6, 8, 9, 10])


def test_another_plan_takes_the_same_steps(tmp_path, expected):
    plan = Plan(steps=10, log_every=1, measure_every=10, save_every=10)
    leaves, found = uninterrupted(tmp_path, plan=plan, track=None)
    without_best = len(jax.tree.leaves(toy_method().init(None, toy_start(INPUTS))))
    assert leaves == expected[0][:without_best]
    for line in expected[1]:
        if line["step"] > 0:
            assert found[line["step"]]["loss"] == line["loss"]


def test_another_seed_gives_another_run(tmp_path, expected):
    assert uninterrupted(tmp_path, seed=1)[0] != expected[0]


@pytest.mark.parametrize("step", range(1, 11))
def test_killed_after_any_step_and_continued(tmp_path, monkeypatch, expected, step):
    monkeypatch.setattr(runs, "CHUNK_SECONDS", 0.0)
    with pytest.raises(Killed):
        go(tmp_path, progress=kill_at(step))
    resumed = []
    state, _, _ = go(tmp_path, resumed=resumed)
    assert outcome(tmp_path, state) == expected
    assert resumed == [(step - 1) // 4 * 4]


def test_killed_again_and_again(tmp_path, monkeypatch, expected):
    monkeypatch.setattr(runs, "CHUNK_SECONDS", 0.0)
    resumed = []
    for step in (1, 3, 4, 7, 10):
        with pytest.raises(Killed):
            go(tmp_path, progress=kill_at(step), resumed=resumed)
    state, _, _ = go(tmp_path, resumed=resumed)
    assert outcome(tmp_path, state) == expected
    assert resumed == [0, 0, 0, 4, 8]


def nth_call(function, n, instead):
    """`function`, but its n-th call is `instead(*arguments)`."""
    calls = []

    def wrapper(*args, **kwargs):
        calls.append(None)
        return (instead if len(calls) == n else function)(*args, **kwargs)

    return wrapper


def die(*args, **kwargs):
    raise Killed


def write_half(metrics, line):
    with open(metrics.path, "a") as file:
        file.write(json.dumps(line)[:9])
    raise Killed


def save_then_die(checkpoints, step, state):
    SAVE(checkpoints, step, state)
    raise Killed


SAVE, WRITE = Checkpoints.save, workdir.Metrics.write


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
            patch.setattr(workdir.Metrics, "write", nth_call(WRITE, n, write_half))
        else:
            instead = die if where == "before" else save_then_die
            patch.setattr(Checkpoints, "save", nth_call(SAVE, n, instead))
        with pytest.raises(Killed):
            go(tmp_path, **hooks)
    state, _, _ = go(tmp_path)
    assert outcome(tmp_path, state) == expected


@pytest.mark.parametrize(
    ("step", "signum"),
    [(1, signal.SIGTERM), (3, signal.SIGINT), (7, signal.SIGTERM), (10, signal.SIGINT)],
)
def test_a_signal_saves_the_state_of_that_step(
    tmp_path, monkeypatch, expected, step, signum
):
    monkeypatch.setattr(runs, "CHUNK_SECONDS", 0.0)

    def progress(at, loss, seconds):
        if at == step:
            os.kill(os.getpid(), signum)

    before = signal.getsignal(signum)
    with pytest.raises(Interrupted) as stopped:
        go(tmp_path, progress=progress)
    assert (stopped.value.signum, stopped.value.step) == (signum, step)
    name = signal.Signals(signum).name
    assert str(stopped.value) == f"stopped by {name} at step {step}"
    assert saved_steps(tmp_path)[-1] == step
    # A notebook goes on afterwards: its handlers are back, no deadline is left.
    assert signal.getsignal(signum) is before
    assert not [t for t in threading.enumerate() if "_watch" in t.name]
    resumed = []
    state, _, _ = go(tmp_path, resumed=resumed)
    assert resumed == [step]
    assert outcome(tmp_path, state) == expected


def saved_steps_now(folder):
    return sorted(int(f.name) for f in (folder / "checkpoints").iterdir())


def test_the_state_is_saved_before_a_long_measurement(tmp_path, monkeypatch, expected):
    """A signal's deadline may end the process amid it."""
    monkeypatch.setattr(runs, "LONG_SECONDS", 0.2)
    plan = dataclasses.replace(PLAN, save_every=100)

    def slow(state):
        step = int(state.step)
        time.sleep(0.3)
        if step > 0:  # the length of the first is not known before
            assert saved_steps_now(tmp_path)[-1] == step - 1
        if step == 9:
            raise Killed  # what os._exit does at the deadline
        return measure(state)

    with pytest.raises(Killed):
        go(tmp_path, measure=slow, plan=plan)
    resumed = []
    state, _, _ = go(tmp_path, plan=plan, resumed=resumed)
    assert resumed == [8]
    assert outcome(tmp_path, state) == expected


def test_the_state_is_saved_before_a_long_step(tmp_path, monkeypatch, expected):
    monkeypatch.setattr(runs, "LONG_SECONDS", -1.0)
    monkeypatch.setattr(runs, "CHUNK_SECONDS", 0.0)
    plan = dataclasses.replace(PLAN, save_every=100)
    with pytest.raises(Killed):
        go(tmp_path, progress=kill_at(8), plan=plan)
    assert saved_steps(tmp_path) == [6, 7]
    assert outcome(tmp_path, go(tmp_path, plan=plan)[0]) == expected


HANG = """
import signal, sys, jax, jax.numpy as jnp
from jaxdd import signals
signals.GRACE_SECONDS = 0.5
spin = jax.jit(lambda n: jax.lax.fori_loop(0, n, lambda i, x: jnp.sin(x + i), 1.0))
spin(1).block_until_ready()
with signals.Signals().installed():
    print("spinning", flush=True)
    spin(2**31 - 1).block_until_ready()
"""


def test_the_deadline_holds_while_the_device_computes():
    signum = signal.SIGTERM
    with subprocess.Popen(
        [sys.executable, "-c", HANG],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout.readline() == "spinning\n"
            time.sleep(0.2)
            process.send_signal(signum)
            _, error = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == 128 + signum
    assert signal.Signals(signum).name in error
    assert "the same command continues" in error
    assert "Traceback" not in error


def test_off_the_main_thread_signals_are_left_alone(tmp_path, expected):
    before = signal.getsignal(signal.SIGINT)
    found = []

    def work():
        found.append(uninterrupted(tmp_path))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [expected]
    assert signal.getsignal(signal.SIGINT) is before


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
    state, _, _ = go(tmp_path, resumed=resumed)
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
        with pytest.raises(UserError) as error:
            go(tmp_path, method=shrinking_method())
        message = str(error.value)
        assert "the step size would be negative after step 4:" in message
        assert f"the state before it is kept in {tmp_path}" in message
        assert "lower --step_size_lr" in message
        assert saved_steps(tmp_path)[-1] == 3
    assert [x["step"] for x in lines(tmp_path)] == [0, 2, 3]
    # What is kept is the state before: with a smaller fall the run goes on from it.
    resumed = []
    state, _, _ = go(tmp_path, method=shrinking_method(by=0.005), resumed=resumed)
    assert resumed == [3]
    assert float(state.method.codes.step_size) == pytest.approx(0.05 - 7 * 0.005)


def test_a_step_size_of_zero_is_no_fault(tmp_path):
    """1.25 - 10 / 8 is exactly zero after the last step."""
    state, _, _ = go(tmp_path, method=shrinking_method(1.25, 0.125))
    assert int(state.method.step) == 10
    assert float(state.method.codes.step_size) == 0


def test_more_steps_go_on_and_fewer_are_refused(tmp_path, expected):
    short = dataclasses.replace(PLAN, steps=5)
    go(tmp_path, plan=short)
    resumed = []
    state, _, _ = go(tmp_path, resumed=resumed)
    assert resumed == [5]
    assert outcome(tmp_path, state) == expected
    resumed.clear()
    with pytest.raises(UserError, match="already at step 10, beyond --steps=5"):
        go(tmp_path, plan=short, resumed=resumed)
    assert resumed == []
    assert outcome(tmp_path, go(tmp_path)[0]) == expected


def test_time_is_counted_over_all_starts(tmp_path):
    go(tmp_path, plan=dataclasses.replace(PLAN, steps=4))
    path = tmp_path / "metrics.jsonl"
    old = [{**json.loads(x), "seconds": 100.0} for x in path.open()]
    path.write_text("".join(json.dumps(x) + "\n" for x in old))
    _, metrics, timings = go(tmp_path)
    assert [x["seconds"] >= 100 for x in metrics.lines] == [True] * 8
    assert 100 < timings["seconds"] < 200


def full_disk(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("what", ["line", "rewrite", "state"])
def test_a_full_disk_is_told_and_the_run_can_go_on(
    tmp_path, monkeypatch, expected, what, n
):
    with monkeypatch.context() as patch:
        if what == "line":
            wrapped = nth_call(open, n + 1, full_disk)  # the first rewrites
            patch.setattr("jaxdd.workdir.open", wrapped, raising=False)
        elif what == "rewrite":
            patch.setattr("jaxdd.workdir.os.replace", full_disk)
        else:
            saving = nth_call(ocp.CheckpointManager.save, n, full_disk)
            patch.setattr("orbax.checkpoint.CheckpointManager.save", saving)
        with pytest.raises(UserError, match="No space left on device") as error:
            go(tmp_path)
    assert str(tmp_path) in str(error.value)
    assert outcome(tmp_path, go(tmp_path)[0]) == expected


def damage(folder, step):
    for file in (folder / "checkpoints" / str(step)).rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def test_a_damaged_newest_state_falls_back_to_the_older(
    tmp_path, monkeypatch, expected
):
    monkeypatch.setattr(runs, "CHUNK_SECONDS", 0.0)
    with pytest.raises(Killed):
        go(tmp_path, progress=kill_at(9))
    assert saved_steps(tmp_path) == [4, 8]
    damage(tmp_path, 8)
    resumed, closer = [], dataclasses.replace(PLAN, save_every=2)
    with pytest.raises(Killed):  # states below the damaged one are saved again
        go(tmp_path, progress=kill_at(7), resumed=resumed, plan=closer)
    assert saved_steps(tmp_path)[-1] == 6
    with pytest.raises(Killed):
        go(tmp_path, progress=kill_at(9), resumed=resumed)
    assert saved_steps(tmp_path)[-1] == 8
    state, _, _ = go(tmp_path, resumed=resumed)
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


def test_a_real_method_stopped_and_continued(tmp_path, monkeypatch):
    """DSA with SDC: networks, momentum and augmentation are all carried over."""
    settings = dataclasses.replace(
        METHODS["dsa"],
        augmentation="flip_scale",
        batch_real=4,
        matches=3,
        sdc_weight=1.0,
    )
    method = build(tiny_network(), settings)
    plan = Plan(steps=8, log_every=1, measure_every=8, save_every=3)
    whole = uninterrupted(tmp_path / "whole", method=method, plan=plan)
    assert len(whole[1]) == 9
    monkeypatch.setattr(runs, "CHUNK_SECONDS", 0.0)
    stopped = tmp_path / "stopped"
    for step in (5, 8):
        with pytest.raises(Killed):
            go(stopped, method=method, plan=plan, progress=kill_at(step))
    assert outcome(stopped, go(stopped, method=method, plan=plan)[0]) == whole


# --- Spans of experts ---------------------------------------------------------------


def planned(root, step):
    """Which expert and epoch a step wants, from the seed and the step alone."""
    key = jax.random.fold_in(jax.random.fold_in(root, 99), step)
    return jax.random.randint(key, (2,), 0, 1000).astype(jnp.int32)


def spans_method() -> Method:
    """The usual walk, pushed by the span; the infos say which one the step saw."""
    usual = toy_method()

    def step(key, state, inputs):
        new, info = usual.step(key, state, inputs)
        start, target = inputs.span.start["x"], inputs.span.target["y"]
        pushed = new.codes._replace(images=new.codes.images + 1e-3 * jnp.sum(target))
        seen = {"expert": start[0], "epoch": start[1], "target": target[1, 0]}
        return new._replace(codes=pushed), {**info, **seen}

    return usual._replace(step=step, plan=planned)


def recorded_read():
    """A bank that is none, and the indices it was asked for."""
    asked = []

    def read(indices):
        expert, epoch = (float(x) for x in indices)
        asked.append((int(expert), int(epoch)))
        start = {"x": np.array([expert, epoch], np.float32)}
        target = {"y": np.full((2, 3), expert + 1000 * epoch, np.float32)}
        return Span(start, target)

    return read, asked


EVERY = Plan(steps=10, log_every=1, measure_every=4, save_every=7)
SPAN = 4 * (2 + 6)  # bytes of one


@pytest.fixture(scope="module")
def with_spans(tmp_path_factory):
    """The outcome of EVERY without interruption."""
    read, _ = recorded_read()
    folder = tmp_path_factory.mktemp("spans") / "run"
    return uninterrupted(folder, method=spans_method(), plan=EVERY, read=read)


@pytest.mark.parametrize("seconds", [0.0, 1e9])
@pytest.mark.parametrize("held", [1, 2, 3, 1000])
def test_every_step_gets_the_span_that_its_plan_names(
    tmp_path, monkeypatch, with_spans, seconds, held
):
    """However many fit on the device, and wherever chunks end."""
    monkeypatch.setattr(runs, "CHUNK_SECONDS", seconds)
    monkeypatch.setattr(runs, "SPAN_BYTES", held * SPAN + SPAN // 2)
    read, _ = recorded_read()
    chunks = []
    state, _, _ = go(
        tmp_path,
        method=spans_method(),
        plan=EVERY,
        read=read,
        progress=lambda step, loss, seconds: chunks.append(step),
    )
    longest = max(b - a for a, b in itertools.pairwise([0, *chunks]))
    assert longest == (1 if seconds == 0 else min(held, 3))
    root = jax.random.key(0)
    for line in lines(tmp_path)[1:]:
        expert, epoch = planned(root, line["step"] - 1).tolist()
        assert (line["expert"], line["epoch"]) == (expert, epoch)
        assert line["target"] == expert + 1000 * epoch
    assert outcome(tmp_path, state) == with_spans


def test_only_the_spans_of_steps_that_are_done_are_read(tmp_path, monkeypatch):
    """Beside two at the start, for the shapes and to compile."""
    monkeypatch.setattr(runs, "CHUNK_SECONDS", 1e9)
    read, asked = recorded_read()
    go(tmp_path, method=spans_method(), plan=EVERY, read=read)
    root = jax.random.key(0)
    wanted = [tuple(planned(root, t).tolist()) for t in range(10)]
    assert asked[-10:] == wanted
    assert asked[:-10] == [wanted[0]] * 2


def test_a_run_with_spans_stopped_and_continued(tmp_path, monkeypatch, with_spans):
    monkeypatch.setattr(runs, "CHUNK_SECONDS", 0.0)
    read, _ = recorded_read()
    arguments = {"method": spans_method(), "plan": EVERY, "read": read}
    for step in (3, 8):
        with pytest.raises(Killed):
            go(tmp_path, progress=kill_at(step), **arguments)
    resumed = []
    state, _, _ = go(tmp_path, resumed=resumed, **arguments)
    assert resumed == [7]
    assert outcome(tmp_path, state) == with_spans
