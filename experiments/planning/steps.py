"""What the updates of the images cost, and what is measured along them."""

import time
from functools import cached_property
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.planning.programs import Memory, check_room, fit_cost, memory_of
from jaxdd.data.real import take
from jaxdd.data.streaming.rows import Rows
from jaxdd.devices import mesh as devices
from jaxdd.devices import policy
from jaxdd.devices.timing import Stopwatch
from jaxdd.distillation.pieces import Piece
from jaxdd.experts import Manifest, Snapshots
from jaxdd.progress import Stage
from jaxdd.running import spans
from jaxdd.running.loop import longest_chunk
from jaxdd.scores.probes import KINDS, Probes, probe_training
from jaxdd.types import Inputs, Network, Params

# Steps are timed in three places of a run, for about this long each.
PLACE_SECONDS = 0.5
# And no further once they took this long.
ENOUGH_SECONDS = 20.0


class Imagined(Snapshots):
    """A bank that is not trained yet: random parameters in the place of experts."""

    def __init__(self, manifest: Manifest, network: Network):
        self.manifest, self.network = manifest, network

    @cached_property
    def networks(self) -> list[Params]:
        """Two of them, so that a start and a target differ."""
        keys = [jax.random.key(i) for i in (0, 1)]
        return [jax.device_get(self.network.init(key)[0]) for key in keys]

    def snapshot(self, expert: int, epoch: int, like: Params) -> Params:
        # On the way from one to the other: no two epochs are alike.
        share = epoch / max(1, self.manifest.last_epoch)
        return jax.tree.map(lambda a, b: a + share * (b - a), *self.networks)


class Steps(NamedTuple):
    """What the updates of the images cost."""

    compile_seconds: float
    seconds: float  # of one, on average over a run
    memory: Memory
    buffer: int  # bytes of the spans that wait for their steps
    read: int  # bytes that a step reads from the disk


def steps_cost(piece: Piece, steps: int) -> Steps:
    """Compile the loop of a method as a run does, and time a few steps of it.

    They are from the beginning, the middle and the end, since objectives may change on
    the way.
    """
    state = devices.everywhere(piece.start())
    inputs, longest, buffer = _inputs(piece)
    root = jax.random.key(piece.seed)
    program = piece.job.program
    began = time.perf_counter()
    compiled = program.compiled(state, inputs, root, jnp.int32(0))
    spent = time.perf_counter() - began
    check_room(memory_of(compiled), "the steps")

    def timed(state, first: int, count: int):
        state = state._replace(step=jnp.int32(first))
        started = time.perf_counter()
        state, sound, _ = jax.block_until_ready(
            compiled(state, inputs, root, jnp.int32(first + count))
        )
        # A step that was undone took its time too.
        done = int(state.step) - first + (0 if sound else 1)
        return state, (time.perf_counter() - started) / max(1, done)

    train = piece.job.problem.splits.train.images
    file = train.file if isinstance(train, Rows) else None
    before = file.bytes_read if file else 0
    began = time.perf_counter()
    state, one = timed(state, 0, 1)
    read = file.bytes_read - before if file else 0
    count = int(np.clip(PLACE_SECONDS / one, 1, min(longest, steps)))
    durations = []
    for first in (0, (steps - count) // 2, steps - count):
        if time.perf_counter() - began < ENOUGH_SECONDS:
            state, each = timed(state, first, count)
            durations.append(each)
    each = float(np.mean(durations or [one]))
    return Steps(spent, each, memory_of(compiled), buffer, read)


def _inputs(piece: Piece) -> tuple[Inputs, int, int]:
    """(inputs as the loop takes them, steps of the longest chunk, bytes of spans)."""
    if piece.span_index is None:
        return devices.everywhere(piece.inputs), longest_chunk(), 0
    span = piece.inputs_at(0).span
    size = sum(x.nbytes for x in jax.tree.leaves(span))
    length = spans.held(size)
    repeated = jax.tree.map(lambda x: jnp.repeat(x[None], length, axis=0), span)
    inputs = piece.inputs._replace(span=repeated)
    return devices.everywhere(inputs), length, length * size


class Measuring(NamedTuple):
    """What the measurements of difficulty cost."""

    compile_seconds: float
    begin: float  # seconds until the probe networks are there
    each: float  # seconds of a measurement


def measuring_cost(piece: Piece) -> Measuring:
    """Train few probe networks for a moment, and measure twice."""
    job = piece.job
    records, full = job.resolved.records, job.inputs.full
    at_once = policy.networks_at_once(records.probes)
    groups = -(-records.probes // at_once)
    training, _ = probe_training(full.labels.shape[0], records.probe_steps)
    # Networks of some kinds are trained further than those of others, or not at all.
    steps = records.probe_steps * sum(KINDS[kind] for kind in records.kinds)
    fitted = fit_cost(job.network, training, full, None, records.probes, fetch=take)
    batches = -(-full.labels.shape[0] // training.batch_size)
    with Stopwatch() as begun:
        seed = job.resolved.task.seed
        probes = piece.probes = Probes(
            job.network, full, seed, at_once, 1, records.kinds
        )
    more = max(0, steps - 1) * fitted.epoch / batches
    state = piece.start()
    measure = piece.hooks(Stage("", 1)).measure
    with Stopwatch() as first:
        measure(state)
    with Stopwatch() as second:
        measure(state)
    result = piece.method.result(state)
    with Stopwatch() as probing:
        probes.measure(result)
    # All but the probes, such as the share of a term, is done once.
    rest = max(0.0, second.seconds - probing.seconds)
    return Measuring(
        begun.compile_seconds + first.compile_seconds,
        groups * (begun.seconds + more),
        groups * probing.seconds + rest,
    )
