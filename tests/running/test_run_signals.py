"""Runs that a signal ends: the state is saved in time, and the run goes on from it."""

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from jaxdd.running import resume as runs
from jaxdd.storage.checkpoints import Checkpoints
from jaxdd.storage.signals import Interrupted, Signals, ending_within, left_alone
from tests.helpers import Killed
from tests.toy_runs import (
    SCHEDULE,
    go,
    kill_at,
    measure,
    outcome,
    saved_steps,
    uninterrupted,
)


def watchers():
    """Threads that would end the process."""
    return [t for t in threading.enumerate() if "_watch" in t.name]


@pytest.mark.parametrize(
    ("step", "signum"),
    [(1, signal.SIGTERM), (3, signal.SIGINT), (7, signal.SIGTERM), (10, signal.SIGINT)],
)
def test_a_signal_saves_the_state_of_that_step(
    tmp_path, single_steps, expected, step, signum
):

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
    assert not watchers()
    resumed = []
    state = go(tmp_path, resumed=resumed).state
    assert resumed == [step]
    assert outcome(tmp_path, state) == expected


def test_a_signal_amid_the_last_save_is_seen(tmp_path, monkeypatch, expected):
    """Nobody looks after it but the handler itself, on leaving."""
    usual = Checkpoints.save

    def save(checkpoints, step, state):
        if step == SCHEDULE.steps:
            os.kill(os.getpid(), signal.SIGTERM)
        usual(checkpoints, step, state)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", save)
        with pytest.raises(Interrupted) as stopped:
            go(tmp_path)
    assert str(stopped.value) == f"stopped by SIGTERM at step {SCHEDULE.steps}"
    assert saved_steps(tmp_path)[-1] == SCHEDULE.steps
    assert outcome(tmp_path, go(tmp_path).state) == expected


def test_in_memory_a_signal_ends_the_run_at_once(monkeypatch):
    """Nothing has to be saved first, so that the usual handlers stay."""
    monkeypatch.setattr(runs, "CHUNK_SECONDS", 0.0)
    steps = []

    def progress(at, loss, seconds):
        steps.append(at)
        if at == 4:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)  # where Python runs the handler

    # A shell starts jobs in the background with SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            go(None, progress=progress)
    finally:
        signal.signal(signal.SIGINT, before)
    assert steps == [1, 2, 3, 4]
    assert not watchers()


def test_an_error_is_not_hidden_by_a_signal(tmp_path):
    def fail():
        with Signals().installed(tmp_path):
            os.kill(os.getpid(), signal.SIGTERM)
            raise KeyError

    with pytest.raises(KeyError):
        fail()


def saved_steps_now(folder):
    return sorted(int(f.name) for f in (folder / "checkpoints").iterdir())


def test_the_state_is_saved_before_a_long_measurement(tmp_path, monkeypatch, expected):
    """A signal's deadline may end the process amid it."""
    monkeypatch.setattr(runs, "LONG_SECONDS", 0.2)
    schedule = dataclasses.replace(SCHEDULE, save_every=100)

    def slow(state):
        step = int(state.step)
        time.sleep(0.3)
        if step > 0:  # the length of the first is not known before
            assert saved_steps_now(tmp_path)[-1] == step - 1
        if step == 9:
            raise Killed  # what os._exit does at the deadline
        return measure(state)

    with pytest.raises(Killed):
        go(tmp_path, measure=slow, schedule=schedule)
    resumed = []
    state = go(tmp_path, schedule=schedule, resumed=resumed).state
    assert resumed == [8]
    assert outcome(tmp_path, state) == expected


def test_the_state_is_saved_before_a_long_step(tmp_path, monkeypatch, expected):
    monkeypatch.setattr(runs, "LONG_SECONDS", -1.0)
    monkeypatch.setattr(runs, "CHUNK_SECONDS", 0.0)
    schedule = dataclasses.replace(SCHEDULE, save_every=100)
    with pytest.raises(Killed):
        go(tmp_path, progress=kill_at(8), schedule=schedule)
    assert saved_steps(tmp_path) == [6, 7]
    assert outcome(tmp_path, go(tmp_path, schedule=schedule).state) == expected


HANG = """
import contextlib, pathlib, sys, jax, jax.numpy as jnp
from jaxdd.storage.signals import Signals, ending_within
spin = jax.jit(lambda n: jax.lax.fori_loop(0, n, lambda i, x: jnp.sin(x + i), 1.0))
spin(1).block_until_ready()
with ending_within(0.5) if "program" in sys.argv else contextlib.nullcontext():
    with Signals().installed(pathlib.Path()):
        print("spinning", flush=True)
        spin({steps}).block_until_ready()
"""


def signalled(signum, steps, *arguments):
    """Exit code and stderr of a process that computes when the signal arrives."""
    with subprocess.Popen(
        [sys.executable, "-c", HANG.format(steps=steps), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout.readline() == "spinning\n"
            time.sleep(0.2)
            process.send_signal(signum)
            _, error = process.communicate(timeout=60)
        finally:
            process.kill()
    return process.returncode, error


def test_the_deadline_of_a_program_holds_while_the_device_computes():
    code, error = signalled(signal.SIGTERM, 2**31 - 1, "program")
    assert code == 128 + signal.SIGTERM
    assert "SIGTERM" in error
    assert "the same command continues" in error
    assert "Traceback" not in error


def test_the_library_does_not_end_the_process_of_others():
    """It waits for the device, and the caller gets an exception."""
    code, error = signalled(signal.SIGINT, 2**24)
    assert code == 1
    assert error.rstrip().endswith("Interrupted: stopped by SIGINT at step 0")


def test_a_second_signal_interrupts_at_once(tmp_path):
    """As in a notebook, whose process has no deadline."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with Signals().installed(tmp_path) as signals:
            signal.raise_signal(signal.SIGINT)
            assert signals.received == signal.SIGINT
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
            signals.received = None
    finally:
        signal.signal(signal.SIGINT, before)


DEAF = """
import pathlib, signal, time
from jaxdd.storage.signals import Signals
with Signals().installed(pathlib.Path()):
    signal.raise_signal(signal.SIGTERM)
    print("once", flush=True)
    signal.raise_signal(signal.SIGTERM)
    print("twice", flush=True)
"""


def test_a_second_sigterm_ends_a_process_that_has_no_deadline():
    process = subprocess.run(
        [sys.executable, "-c", DEAF], capture_output=True, text=True, check=False
    )
    assert (process.returncode, process.stdout) == (-signal.SIGTERM, "once\n")


def test_nothing_is_handled_where_nothing_is_kept(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    with Signals().installed(None):
        assert signal.getsignal(signal.SIGTERM) is before
    with left_alone(), Signals().installed(tmp_path):
        assert signal.getsignal(signal.SIGTERM) is before
    with Signals().installed(tmp_path) as signals:
        assert signal.getsignal(signal.SIGTERM) is signals
        assert not watchers()
    with ending_within(9.0), Signals().installed(tmp_path):
        assert len(watchers()) == 1
    assert not watchers()


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
