"""Compiling and timing one function; the training of networks of any length."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdd.devices import policy
from jaxdd.devices.memory import capacity, size_text
from jaxdd.errors import UserError
from jaxdd.training.evaluate import right
from jaxdd.training.fit import Training, make_epochs
from jaxdd.types import Array, Key, Learner, Network, RealData

# A timing is repeated, or made longer, until it takes about this.
ENOUGH_SECONDS = 1.0
# Nothing is timed twice that takes longer.
LONG_SECONDS = 10.0
# Held-out samples that a pass is timed with.
SAMPLES = 100


class Memory(NamedTuple):
    """Device memory of a compiled program, in bytes."""

    arguments: int
    results: int
    temporaries: int

    @property
    def total(self) -> int:
        return sum(self)


def memory_of(compiled: Any) -> Memory:
    """By XLA's analysis; donated arguments count once.

    Raises:
        UserError: JAX is told to compile nothing.
    """
    if jax.config.jax_disable_jit:  # type: ignore[attr-defined]
        raise UserError("--plan compiles what it times: unset JAX_DISABLE_JIT")
    analysis = compiled.memory_analysis()
    return Memory(
        analysis.argument_size_in_bytes,
        analysis.output_size_in_bytes - analysis.alias_size_in_bytes,
        analysis.temp_size_in_bytes,
    )


def check_room(memory: Memory, what: str) -> None:
    """Refuse to run a program that the device has no memory for.

    Raises:
        UserError: with what it needs and what there is.
    """
    there = capacity()
    if there is not None and memory.total > there:
        raise UserError(
            f"{what} need {size_text(memory.total)} of device memory, most of it "
            f"{size_text(max(memory))} of {_largest(memory)}, and there are "
            f"{size_text(there)}: use smaller batches, a smaller --width, or a device "
            "with more memory"
        )


def _largest(memory: Memory) -> str:
    return max(memory._asdict().items(), key=lambda pair: pair[1])[0]


def compile_timed(function, *arguments) -> tuple[Any, float]:
    """(compiled program, seconds it took) of a jitted function."""
    began = time.perf_counter()
    compiled = function.lower(*arguments).compile()
    return compiled, time.perf_counter() - began


def seconds_of(compiled, *arguments) -> float:
    """The shortest of up to three calls."""
    durations: list[float] = []
    while len(durations) < 3 and sum(durations) < ENOUGH_SECONDS:
        began = time.perf_counter()
        jax.block_until_ready(compiled(*arguments))
        durations.append(time.perf_counter() - began)
    return min(durations)


@dataclass(frozen=True)
class Fitted:
    """What the training of a network costs.

    Attributes:
        at_once: networks that are trained together, see `policy.networks_at_once`.
        epoch: seconds of an epoch of all of them.
        look: seconds of their pass over one held-out sample.
        compile_seconds: of the training and of the pass.
        memory: of the training.
        learners: the networks [at_once, ...] after a moment of training.
    """

    at_once: int
    epoch: float
    look: float
    compile_seconds: float
    memory: Memory
    learners: Learner

    def seconds(self, networks: int, epochs: int, samples: int = 0) -> float:
        """Of trainings and a pass over held-out samples each."""
        groups = -(-networks // self.at_once)
        return groups * (epochs * self.epoch + samples * self.look)


def fit_cost(
    network: Network,
    training: Training,
    data: Any,
    held_out: RealData | None,
    count: int,
    **options: Any,
) -> Fitted:
    """Time a shortened training at two lengths, and a pass over a few samples.

    The program is of any length, so that it is compiled once: what is longer is only
    run for longer.

    Args:
        network, training: what is trained, and how.
        data: on what; `options` have to fit.
        held_out: what the trained networks are measured on, if anything.
        count: networks.
        options: of `train.make_epochs`.
    """
    at_once = policy.networks_at_once(count)
    keys = jax.random.split(jax.random.key(0), at_once)
    samples = data.labels.shape[0]
    size = min(training.batch_size, samples)
    batches = -(-samples // size)
    # A decay is at an epoch that is not reached here.
    plain = replace(training, decay_epochs=())
    train = _training(network, plain, options)
    compiled, spent = compile_timed(train, keys, data, jnp.int32(1), jnp.int32(size))

    memory = memory_of(compiled)
    check_room(memory, "trainings of networks")

    def timed(epochs: int, seen: int) -> float:
        return seconds_of(compiled, keys, data, jnp.int32(epochs), jnp.int32(seen))

    once = timed(1, size)
    longest = training.epochs if batches == 1 else batches
    length = min(longest, max(2, int(ENOUGH_SECONDS / once)))
    step = once
    if length > 1 and once < LONG_SECONDS:
        longer = timed(length, size) if batches == 1 else timed(1, length * size)
        step = max(0.0, longer - once) / (length - 1)
    epoch = step if batches == 1 else once + (batches - 1) * step
    learners = compiled(keys, data, jnp.int32(1), jnp.int32(size))
    if held_out is None:
        return Fitted(at_once, epoch, 0.0, spent, memory, learners)
    few = held_out._replace(
        images=held_out.images[:SAMPLES], labels=held_out.labels[:SAMPLES]
    )
    look, also = compile_timed(_pass(network), learners, few)
    per_sample = seconds_of(look, learners, few) / few.labels.shape[0]
    return Fitted(at_once, epoch, per_sample, spent + also, memory, learners)


def _training(network: Network, training: Training, options: dict) -> Callable:
    """jitted (keys [E], data, epochs, samples seen) -> networks, of any length."""

    @jax.jit
    def train(keys: Key, data, epochs: Array, seen: Array) -> Learner:
        def one(key: Key, data, epochs: Array, seen: Array) -> Learner:
            inside = jnp.arange(data.labels.shape[0]) < seen
            chosen = {**options, "members": lambda data, epoch: inside}
            run = make_epochs(network, training, **chosen)
            state = run.init(Learner(*network.init(key)))
            body = lambda i, state: run.epoch(key, state, data, i)
            return jax.lax.fori_loop(0, epochs, body, state).learner

        return policy.spread_axis(one, keys, data, epochs, seen)

    return train


def _pass(network: Network) -> Callable:
    """jitted (networks [E], real) -> which samples each of them gets right."""

    @jax.jit
    def look(learners: Learner, real: RealData) -> Array:
        hits = lambda learner, real: right(network, learner, real, SAMPLES)
        return policy.spread_axis(hits, learners, real)

    return look
