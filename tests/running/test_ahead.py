"""What is read ahead of the steps is what they read."""

import dataclasses
import functools
import os
import threading
import time
from concurrent.futures import wait

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdd
from jaxdd.data.problem import prepare
from jaxdd.data.streaming.host import HostImages
from jaxdd.data.streaming.moving import moved
from jaxdd.data.streaming.rows import RowFile
from jaxdd.devices import policy
from jaxdd.fields import override
from jaxdd.methods.build import Context, build
from jaxdd.methods.recipes import METHODS
from jaxdd.nets import make_network
from jaxdd.progress import listening
from jaxdd.running import ahead
from jaxdd.running import resume as runs
from jaxdd.running.ahead import ReadAhead, read_ahead
from jaxdd.running.loop import Program
from jaxdd.running.schedule import Hooks, RunSchedule
from jaxdd.synthetic.decoder import INPUT
from jaxdd.synthetic.initial import initial_set
from jaxdd.types import Inputs

RNG = np.random.default_rng(0)
LABELS = np.arange(300) % 3
IMAGES = RNG.integers(0, 256, (300, 8, 8, 1)).astype(np.uint8)
BATCH = 4
# One of each way in which networks and batches come to a step.
FORMS = {
    "dm": {"batch_real": BATCH},
    "dsa": {"matches": 2, "batch_real": BATCH},
    "idc": {"matches": 2, "batch_real": BATCH},
    "frepo": {},
}


def ahead_of(steps):
    return policy.using(dataclasses.replace(policy.choices(), read_ahead=steps))


@pytest.fixture(autouse=True)
def small_machine(monkeypatch):
    """Whose memory holds no file."""
    monkeypatch.setattr(ahead, "host_memory", lambda: 0)


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    """One for all tests, which share compiled programs and with them an open file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXDD_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def streamed():
    """A problem whose images are on the disk."""
    dataset = moved(jaxdd.from_arrays(IMAGES, LABELS, IMAGES[:9], LABELS[:9]))
    return prepare(dataset, 0.2, 0)


@pytest.fixture
def rows_of(monkeypatch):
    """Rows that were asked for ahead, and rows that were read."""
    rows = {"expected": [], "read": []}
    expect, read = RowFile.expect, RowFile.read

    def expected(self, ids):
        rows["expected"].append(sorted(set(ids.tolist())))
        expect(self, ids)

    def counted(self, first, target):
        rows["read"] += range(first, first + len(target) // self.row_bytes)
        read(self, first, target)

    monkeypatch.setattr(RowFile, "expect", expected)
    monkeypatch.setattr(RowFile, "read", counted)
    return rows


@functools.cache
def program_of(name):
    # IDC matches kernels only.
    net = {"name": "convnet", "depth": 1} if name == "idc" else {"name": "mlp"}
    network = make_network(**net, image_shape=(8, 8, 1), num_classes=3, width=4)
    recipe = override(METHODS[name], FORMS[name])
    return Program(build(network, recipe, Context(None, None, INPUT)))


def begun(name, problem):
    program, real = program_of(name), problem.on_device(problem.splits.train)
    first = initial_set(jax.random.key(1), "noise", real, 1)
    return program, program.method.init(jax.random.key(0), first), Inputs(real, real)


# DM draws as DSA does.
@pytest.mark.parametrize("name", [x for x in FORMS if x != "dm"])
def test_what_is_announced_is_what_is_read(name, streamed, rows_of):
    root, steps = jax.random.key(3), 3
    program, state, inputs = begun(name, streamed)
    with ahead_of(steps):
        reader = read_ahead(program.method, state, inputs, root)
    rehearsal = reader.rehearsal.result()
    reader.follow(state, steps)
    reader.job.result()
    reader.close()
    expected = {row for rows in rows_of["expected"] for row in rows}
    assert expected
    assert rows_of["read"] == []
    stop = jnp.int32(steps)
    jax.block_until_ready(
        program.compiled(state, inputs, root, stop)(state, inputs, root, stop)
    )
    assert expected == set(rows_of["read"])
    # Nothing but random numbers is computed.
    program_text = rehearsal.compiled.as_text()
    assert "dot(" not in program_text
    assert "convolution(" not in program_text


def test_only_a_few_steps_are_ahead(streamed, rows_of):
    root = jax.random.key(3)
    program, state, inputs = begun("dm", streamed)
    with ahead_of(2):
        reader = read_ahead(program.method, state, inputs, root)
    reader.rehearsal.result()
    reader.follow(state, 9)
    classes, images = 3, inputs.real.images.rows

    def announced_after(steps):
        count, until = classes * steps, time.monotonic() + 30
        while len(rows_of["expected"]) < count and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.05)  # would it go on?
        return len(rows_of["expected"]) == count

    assert announced_after(2)
    images[np.arange(BATCH * classes)]  # as the first step does
    assert announced_after(3)
    reader.follow(state, 1)  # ends what waits
    assert announced_after(4)
    reader.close()


def test_a_method_that_cannot_be_rehearsed_runs(
    streamed, from_the_first_step, monkeypatch
):
    """One that looks at its images while it is traced, say; and that is said once."""
    program, state, inputs = begun("dm", streamed)

    def step(key, state, inputs):
        if type(inputs.real.images) is not HostImages:
            raise TypeError("other images")
        return program.method.step(key, state, inputs)

    sentences = []
    monkeypatch.setattr(ahead, "say", sentences.append)
    method = program.method._replace(step=step)
    schedule = RunSchedule(steps=4, log_every=1, measure_every=2, save_every=4)
    hooks = Hooks(measure=lambda state: {})
    with ahead_of(2):
        ended = runs.run(
            None, Program(method), lambda: state, inputs, 3, schedule, hooks
        )
    assert int(ended.state.method.step) == 4
    assert sentences == ["images are not read ahead of the steps (other images)"]


def test_nobody_reads_ahead_of_memory(streamed, monkeypatch):
    root = jax.random.key(3)
    program, state, inputs = begun("dm", streamed)
    with ahead_of(0):
        assert read_ahead(program.method, state, inputs, root) is None
    size = inputs.real.images.rows.file.nbytes
    monkeypatch.setattr(ahead, "host_memory", lambda: 2 * size)
    with ahead_of(2):
        assert read_ahead(program.method, state, inputs, root) is None
    monkeypatch.setattr(ahead, "host_memory", lambda: 0)
    real = inputs.real._replace(images=jnp.asarray(inputs.real.images.rows[:]))
    inputs = Inputs(real, real)
    with ahead_of(2):
        assert read_ahead(program.method, state, inputs, root) is None


@pytest.fixture
def from_the_first_step(monkeypatch):
    """Short runs are over before anything is compiled beside them."""
    follow = ReadAhead.follow

    def patient(self, state, count):
        wait([self.rehearsal])
        follow(self, state, count)

    monkeypatch.setattr(ReadAhead, "follow", patient)


def check_that_threads_end():
    until = time.monotonic() + 30
    while any("read ahead" in x.name for x in threading.enumerate()):
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_run_that_reads_ahead_has_the_same_bits(
    streamed, rows_of, from_the_first_step
):
    program, _, inputs = begun("dm", streamed)
    start = lambda: begun("dm", streamed)[1]
    schedule = RunSchedule(steps=7, log_every=1, measure_every=3, save_every=7)
    hooks = Hooks(measure=lambda state: {})

    def images(steps):
        with ahead_of(steps):
            ended = runs.run(None, program, start, inputs, 3, schedule, hooks).state
        return program.method.stored(ended.method).images

    without = images(0)
    assert not rows_of["expected"]
    np.testing.assert_array_equal(images(2), without)
    assert rows_of["expected"]
    check_that_threads_end()


def test_a_run_goes_on_without_what_reads_ahead(
    streamed, from_the_first_step, monkeypatch
):
    """A failure there is said once and costs nothing but time."""
    program, state, inputs = begun("dm", streamed)

    def broken(self, rows):
        raise OSError("no more threads")

    monkeypatch.setattr(RowFile, "expect", broken)
    schedule = RunSchedule(steps=7, log_every=1, measure_every=3, save_every=7)
    messages = []
    with ahead_of(2), listening(messages.append):
        hooks = Hooks(measure=lambda state: {})
        ended = runs.run(None, program, lambda: state, inputs, 3, schedule, hooks).state
    assert int(ended.method.step) == 7
    assert sum("not read ahead" in str(x) for x in messages) == 1
    check_that_threads_end()


def test_a_file_that_is_cut_short_ends_the_run_as_ever(streamed, from_the_first_step):
    program, state, inputs = begun("dm", streamed)
    os.truncate(inputs.real.images.rows.file.path, 0)
    schedule = RunSchedule(steps=7, log_every=1, measure_every=3, save_every=7)
    hooks = Hooks(measure=lambda state: {})
    with ahead_of(2), pytest.raises(Exception, match="was cut short while it was read"):
        runs.run(None, program, lambda: state, inputs, 3, schedule, hooks)
    check_that_threads_end()
