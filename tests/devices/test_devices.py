"""Many devices and one: the same numbers."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.devices import mesh as devices
from jaxdd.devices import policy
from jaxdd.errors import UserError
from jaxdd.experts import training
from jaxdd.running.loop import Program
from jaxdd.running.resume import run
from jaxdd.running.schedule import Hooks, RunSchedule
from jaxdd.training.evaluate import make_hits, random_subsets
from jaxdd.training.fit import Training
from tests import toy_methods as toy
from tests.experts import test_training as experts
from tests.helpers import assert_close, smooth_network, toy_real
from tests.toy_runs import inputs, toy_method, toy_start

EIGHT = 8  # of `conftest.py`


def on(count):
    return devices.use(count) if count > 1 else contextlib.nullcontext()


@pytest.mark.parametrize("size", [1, 3, 8, 10, 17])
def test_a_spread_axis_is_the_mapped_one(size):
    xs = {"x": jnp.arange(2.0 * size).reshape(size, 2)}
    keys = jax.random.split(jax.random.key(0), size)
    table = jnp.arange(30.0).reshape(10, 3)

    def one(slices, table, shift):
        part, key = slices
        rows = table[jax.random.permutation(key, 10)[:2]]
        inner = policy.spread_axis(lambda row, s: row * s, rows, shift)  # stays here
        return {"y": part["x"].sum() + inner, "n": jnp.int32(1)}

    f = jax.jit(lambda *shared: policy.spread_axis(one, (xs, keys), *shared))
    alone = f(table, jnp.float32(2))
    with devices.use(EIGHT):
        found = f(table, jnp.float32(2))
        assert found["y"].sharding.is_fully_replicated
        assert len(found["y"].sharding.device_set) == EIGHT
    assert len(alone["y"].sharding.device_set) == 1
    assert_close(found, alone, 1e-6)


def test_every_device_gets_its_share():
    """The slices are computed on different devices, not all of them on each."""
    seen = []

    def one(x, shift):
        jax.debug.callback(lambda value: seen.append(float(value)), x)
        return x + shift

    with devices.use(4):
        xs, shift = jnp.arange(8.0), jnp.float32(1)
        jax.block_until_ready(
            jax.jit(lambda xs, s: policy.spread_axis(one, xs, s))(xs, shift)
        )
        jax.effects_barrier()
    assert sorted(seen) == list(range(8))


@pytest.mark.parametrize(
    "method",
    [
        "dm",
        "mtt",
        *(pytest.param(x, marks=pytest.mark.slow) for x in ("dsa", "dcc", "idc")),
    ],
)
def test_a_step_is_that_of_one_device(method):
    recipe = toy.toy_recipe(method, "mean")
    built = toy.toy_method(recipe)
    state = built.init(jax.random.key(0), toy.start_for(recipe))

    def steps(count):
        with on(count):
            advance = jax.jit(lambda *args: built.step(*args))
            new = devices.everywhere(state)
            for i in range(2):
                inputs = devices.everywhere(toy.inputs_of(recipe))
                new, info = advance(jax.random.key(i), new, inputs)
            return new.codes, info

    assert_close(steps(EIGHT), steps(1), 1e-5)


def test_a_tree_is_replicated_by_one_program(caplog):
    """Chunks of spans come by the second: none of them may be compiled anew."""
    trees = [{"x": jnp.full((5, 3), float(i))} for i in range(3)]
    with devices.use(EIGHT), jax.log_compiles():
        replicated = [devices.everywhere(tree) for tree in trees]
    compiled = [x for x in caplog.messages if x.startswith("Compiling")]
    assert len(compiled) <= 1, compiled
    assert [float(x["x"][0, 0]) for x in replicated] == [0.0, 1.0, 2.0]
    assert all(len(x["x"].sharding.device_set) == EIGHT for x in replicated)


def test_an_evaluation_is_that_of_one_device():
    real = toy_real()
    hits = make_hits(smooth_network(), Training(2, 0.1, batch_size=4))
    keys = jax.random.split(jax.random.key(0), 5)
    sets = random_subsets(keys, real, ipc=1)
    alone = hits(keys, sets, real)
    with devices.use(EIGHT):
        np.testing.assert_array_equal(hits(keys, sets, real), alone)


def test_a_run_goes_on_with_another_number_of_devices(tmp_path):
    method = toy_method()

    def until(folder, steps, count):
        folder.mkdir(exist_ok=True)
        schedule = RunSchedule(steps, 2, 3, 4)
        start = lambda: method.init(jax.random.key(1), toy_start(inputs()))
        hooks = Hooks(lambda state: {"x": float(state.codes.images.sum())})
        with on(count):
            result = run(folder, Program(method), start, inputs(), 0, schedule, hooks)
        lines = [
            {k: v for k, v in x.items() if k != "seconds"} for x in result.metrics.lines
        ]
        return np.asarray(result.state.method.codes.images), lines

    whole, lines = until(tmp_path / "whole", 10, 1)
    until(tmp_path / "parts", 4, EIGHT)
    until(tmp_path / "parts", 7, 1)
    images, found = until(tmp_path / "parts", 10, 2)
    np.testing.assert_array_equal(images, whole)
    assert found == lines


def test_experts_go_on_with_another_number_of_devices(tmp_path, monkeypatch):
    """Those that were begun together stay together; every bank has the same bits."""
    monkeypatch.setattr(training, "SAVE_SECONDS", -1.0)
    with devices.use(2):
        assert training.group_size(experts.EXPERTS) == 2

    def until(folder, count, last=None):
        def stop(done, total, seconds):
            if done == last:
                raise experts.Killed

        with on(count), contextlib.suppress(experts.Killed):
            experts.train(tmp_path / folder, progress=stop)

    until("one", 1)
    until("parts", 2, last=1)
    until("parts", 1, last=3)
    until("parts", 8)
    content = experts.content
    assert content(tmp_path / "parts") == content(tmp_path / "one")


@pytest.mark.parametrize(
    ("text", "part"),
    [("0", "positive"), ("-1", "positive"), ("many", "positive"), ("9", "sees 8")],
)
def test_a_number_of_devices_that_there_are_not(text, part):
    with pytest.raises(UserError, match=part):
        devices.parse(text)


def test_numbers_of_devices():
    assert (devices.parse("3"), devices.parse("all")) == (3, EIGHT)
