"""A toy method, and runs of it that can be killed and compared."""

import contextlib
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np

from jaxdd.running import resume as runs
from jaxdd.running.loop import Program
from jaxdd.running.schedule import Hooks, RunSchedule
from jaxdd.running.state import Best
from jaxdd.storage.checkpoints import Checkpoints
from jaxdd.types import Method, MethodState
from tests.helpers import Killed, toy_inputs, toy_start

SCHEDULE = RunSchedule(steps=10, log_every=2, measure_every=3, save_every=4)
BAD_STEP = 7  # the step whose loss is not finite, where a test asks for one


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

    codes = lambda state: state.codes
    return Method(init, step, codes, codes)


# Not at import: a conftest imports this module before JAX is configured.
inputs = functools.cache(toy_inputs)


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


def go(
    folder, method=None, schedule=SCHEDULE, seed=0, resumed=None, spans=None, **hooks
):
    """A run in a folder, or in memory where it is None."""
    method = toy_method() if method is None else method
    if folder is not None:
        folder.mkdir(exist_ok=True)
    return runs.run(
        folder,
        Program(method),
        lambda: method.init(jax.random.key(5), toy_start(inputs())),
        inputs(),
        seed,
        schedule,
        Hooks(**{"measure": measure, "track": track, **hooks}),
        (lambda step: None) if resumed is None else resumed.append,
        spans,
    )


def outcome(folder, state):
    """Everything that has to be the same: the state's bits, the lines of metrics."""
    return leaves_of(state), lines(folder)


def leaves_of(state):
    """The bits of a state."""
    return [(x.dtype, np.asarray(x).tobytes()) for x in jax.tree.leaves(state)]


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
    return outcome(folder, go(folder, **arguments).state)


@contextlib.contextmanager
def every_compilation_cached():
    """Keep also quick compilations: every start of a run compiles."""
    name = "jax_persistent_cache_min_compile_time_secs"
    before = getattr(jax.config, name)
    jax.config.update(name, 0.0)
    yield
    jax.config.update(name, before)


def kill_at(step):
    """A `progress` that kills the run after a chunk, before anything is written."""

    def progress(at, loss, seconds):
        if at >= step:
            raise Killed

    return progress
