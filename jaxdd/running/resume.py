"""The resumable loop: any method, in chunks on the device, the host only watching."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdd.devices import hosts
from jaxdd.devices import mesh as devices
from jaxdd.errors import Diverged, UserError
from jaxdd.running.loop import longest_chunk, program_of
from jaxdd.storage.checkpoints import Checkpoints
from jaxdd.storage.metrics import Metrics
from jaxdd.storage.paths import shown
from jaxdd.storage.signals import Signals
from jaxdd.types import Array, Inputs, Key, Method, MethodState, Span, Synthetic

# Seconds that one dispatch should take: short enough for signals and progress, long
# enough that the host costs nothing.
CHUNK_SECONDS = 1.0
# Spans of experts that wait on the device for the steps of one chunk.
SPAN_BYTES = 64 * 2**20
# What takes longer, a step or a measurement, may not end within that time: the state
# is saved before it.
LONG_SECONDS = 5.0


class Best(NamedTuple):
    """The best set seen so far, as it is stored, by validation accuracy."""

    accuracy: Array  # [] percent; -1 before the first measurement
    step: Array  # [] int32
    synthetic: Synthetic


class RunState(NamedTuple):
    """Everything that a run needs to go on."""

    method: MethodState
    best: Best | None  # None unless the run selects


@dataclass(frozen=True)
class Plan:
    """When a run does what. All steps count completed updates.

    Attributes:
        steps: where it ends.
        log_every: steps between lines of metrics.jsonl.
        measure_every: steps between calls of `measure`, from step 0 on.
        save_every: steps between checkpoints.
    """

    steps: int
    log_every: int
    measure_every: int
    save_every: int


def _next(step: int, every: int) -> int:
    return (step // every + 1) * every


@dataclass(frozen=True)
class Hooks:
    """What the caller does along the way.

    Attributes:
        measure: (state) -> flat dict of numbers for the metrics.
        track: (best, stored set, step) -> best, called where `measure` is; None keeps
            no best set.
        progress: (step, loss, seconds per step), called after every chunk.
        read: (indices [2]) -> Span, for methods with a plan: what `plan` asked for.
        tell: (sentence), called where the workdir is not as a run leaves it.
    """

    measure: Callable[[MethodState], dict[str, float]]
    track: Callable[[Best, Synthetic, int], Best] | None = None
    progress: Callable[[int, float, float], None] = lambda step, loss, seconds: None
    read: Callable[[np.ndarray], Span] | None = None
    tell: Callable[[str], None] = lambda sentence: None


def run(
    folder: Path,
    method: Method,
    start: Callable[[], MethodState],
    inputs: Inputs,
    seed: int,
    plan: Plan,
    hooks: Hooks,
    on_resume: Callable[[int], None] = lambda step: None,
) -> tuple[RunState, Metrics, dict[str, float]]:
    """Run or continue a method in a workdir that the caller owns.

    The key of step t is fold_in(key(seed), t), so a run that was stopped anywhere and
    continued gives the bits of an uninterrupted one on the same kind of device.

    Args:
        folder: the workdir; gets `metrics.jsonl` and `checkpoints/`.
        method: what to run.
        start: () -> the state at step 0.
        inputs: data on the device.
        seed: of all random numbers.
        plan: when to log, measure, save and end.
        hooks: what else to do.
        on_resume: called with the step at which the run is taken up again.

    Returns:
        (final state, metrics, timings): timings has "seconds" over all starts,
        "seconds_per_step" (median of this start's chunks) and "compile_seconds"; the
        last two are 0 where this start took no step.

    Raises:
        Diverged: a step gave a value that is not finite, or a negative step size.
        UserError: the disk refused.
        Interrupted: SIGTERM or SIGINT, also amid the last save; the state is saved.
    """
    checkpoints = Checkpoints(folder)
    try:
        state = _initial(method, start(), hooks)
        found = checkpoints.restore(state)
        if found is not None:
            refuse_fewer_steps(folder, found[0], plan.steps)
            restored: Any = found[1]
            state = restored
            on_resume(found[0])
        state = devices.everywhere(jax.tree.map(jnp.asarray, state))
        metrics = Metrics(folder, int(state.method.step))
        if metrics.damage is not None:
            hooks.tell(metrics.damage)
        with Signals().installed() as signals:
            loop = _Loop(folder, method, inputs, seed, plan, hooks, checkpoints)
            state = loop.go(state, metrics, signals)
        return state, metrics, loop.timings(metrics)
    finally:
        checkpoints.close()


def refuse_fewer_steps(folder: Path, there: int, asked: int) -> None:
    """Refuse to end a run before the step that its workdir is at.

    Args:
        folder: the workdir.
        there: completed updates in it.
        asked: the steps that are asked for.

    Raises:
        UserError: they are fewer.
    """
    if there > asked:
        raise UserError(
            f"{shown(folder)} is already at step {there}, beyond --steps={asked}: ask "
            "for at least that, or use another --workdir"
        )


def _initial(method: Method, state: MethodState, hooks: Hooks) -> RunState:
    if hooks.track is None:
        return RunState(state, None)
    nothing = Best(jnp.float32(-1), jnp.int32(0), method.stored(state))
    return RunState(state, jax.tree.map(jnp.copy, nothing))


class _Loop:
    """One start of a run; holds what the loop needs and its timing."""

    def __init__(self, folder, method, inputs, seed, plan, hooks, checkpoints):
        self.folder, self.method, self.inputs = folder, method, inputs
        self.root = jax.random.key(seed)
        self.plan, self.hooks, self.checkpoints = plan, hooks, checkpoints
        # Where spans come from is no part of what is compiled.
        self.program = program_of(method._replace(plan=None))
        self.compile_seconds = 0.0
        self.per_step: list[float] = []
        self.measure_seconds = 0.0  # of the last measurement
        self.spans = None if method.plan is None else _Spans(method, hooks, self.root)

    def go(self, state: RunState, metrics: Metrics, signals: Signals) -> RunState:
        self.began, self.before = time.perf_counter(), metrics.seconds
        step = signals.done = int(state.method.step)
        if step == 0:
            state = self._observe(state, metrics, 0, {})
            self.checkpoints.save(0, state)
        if step < self.plan.steps:
            state = self._compile(state)
        while step < self.plan.steps:
            stop = self._chunk_end(step)
            state, infos, sound = self._chunk(state, step, stop)
            done = int(state.method.step)
            finite = all(
                np.isfinite(x[: done - step + 1]).all() for x in infos.values()
            )
            infos = {name: x[: done - step] for name, x in infos.items()}
            self._log(metrics, step, done, infos)
            if not sound:
                self.checkpoints.save(done, state)
                raise Diverged(_fault(done + 1, finite, self.folder))
            step = signals.done = done
            if step % self.plan.measure_every == 0:
                state = self._observe(state, metrics, step, infos)
            received = signals.agreed()
            if received or self._saves(step):
                self.checkpoints.save(step, state)
            if received:
                signals.stop(received)
        return state

    def _saves(self, step: int) -> bool:
        """Whether a state is due: by the plan, or because what comes next is long."""
        if step == self.plan.steps or step % self.plan.save_every == 0:
            return True
        seconds = self.per_step[-1] if self.per_step else 0.0
        if (step + 1) % self.plan.measure_every == 0:
            seconds += self.measure_seconds
        return seconds > LONG_SECONDS

    def _compile(self, state: RunState) -> RunState:
        """Compile apart from the steps, so that their times are not mixed."""
        began = time.perf_counter()
        stop = jnp.int32(0)
        inputs = self.inputs = devices.everywhere(self.inputs)
        if self.spans is not None:
            first = int(state.method.step)
            inputs = inputs._replace(span=self.spans.read(first, first + 1))
        self.compiled = self.program.compiled(state.method, inputs, self.root, stop)
        self.compile_seconds = time.perf_counter() - began
        return state

    def _chunk_end(self, step: int) -> int:
        wanted = longest_chunk()
        if not self.per_step:
            wanted = 1
        elif self.per_step[-1] > 0:
            wanted = max(1, int(CHUNK_SECONDS / self.per_step[-1]))
        plan = self.plan
        longest = longest_chunk() if self.spans is None else self.spans.length
        end = min(
            step + min(wanted, longest),
            plan.steps,
            _next(step, plan.measure_every),
            _next(step, plan.save_every),
        )
        before = _next(step + 1, plan.measure_every) - 1
        return min(end, before) if self._saves(before) else end

    def _chunk(self, state: RunState, step: int, stop: int):
        began = time.perf_counter()
        inputs = self.inputs
        if self.spans is not None:
            inputs = inputs._replace(span=self.spans.read(step, stop))
        method, sound, infos = self.compiled(
            state.method, inputs, self.root, jnp.int32(stop)
        )
        infos = {name: jax.device_get(x) for name, x in infos.items()}
        # Where the next chunk ends depends on it.
        seconds = hosts.most((time.perf_counter() - began) / (stop - step))
        self.per_step.append(seconds)
        if sound:
            loss = float(infos["loss"][stop - step - 1])
            self.hooks.progress(stop, loss, self._typical())
        return state._replace(method=method), infos, bool(sound)

    def _log(self, metrics: Metrics, step: int, done: int, infos) -> None:
        """Lines of the steps that are only logged; measured ones come with more."""
        for t in range(step + 1, done + 1):
            measured = t % self.plan.measure_every == 0
            if t % self.plan.log_every == 0 and not measured:
                metrics.write(self._line(t, _entry(infos, t - step - 1)))

    def _line(self, step: int, values: dict[str, Any]) -> dict[str, Any]:
        seconds = self.before + time.perf_counter() - self.began
        return {"step": step, **values, "seconds": round(seconds, 3)}

    def _observe(self, state: RunState, metrics: Metrics, step: int, infos) -> RunState:
        """Measure at a multiple of `measure_every` and write its line."""
        began = time.perf_counter()
        values: dict[str, Any] = _entry(infos, -1) if infos else {}
        values.update(self.hooks.measure(state.method))
        if self.hooks.track is not None:
            synthetic = self.method.stored(state.method)
            best = self.hooks.track(state.best, synthetic, step)
            # The method's buffers are donated; what is kept must be a copy.
            state = state._replace(best=jax.tree.map(jnp.copy, best))
        metrics.write(self._line(step, values))
        self.measure_seconds = hosts.most(time.perf_counter() - began)
        return state

    def _typical(self) -> float:
        steady = sorted(self.per_step[1:] or self.per_step)
        return steady[len(steady) // 2] if steady else 0.0

    def timings(self, metrics: Metrics) -> dict[str, float]:
        return {
            "seconds": self.before + time.perf_counter() - self.began,
            "seconds_per_step": self._typical(),
            "compile_seconds": self.compile_seconds,
        }


def _entry(infos, index: int) -> dict[str, float]:
    return {name: float(x[index]) for name, x in infos.items()}


def _fault(step: int, finite: bool, folder: Path) -> str:
    """Why a run ends before `step`."""
    kept = f"the state before it is kept in {shown(folder)}"
    if finite:
        return (
            f"the step size would be negative after step {step}: {kept}; lower "
            "--step_size_lr and use another --workdir"
        )
    return (
        f"the loss of step {step} is not finite: {kept}; lower --image_lr or the "
        "weights and use another --workdir"
    )


class _Spans:
    """What a method's plan asks for, read from disk into one buffer per chunk."""

    def __init__(self, method: Method, hooks: Hooks, root: Key):
        assert method.plan is not None
        assert hooks.read is not None, "a method with a plan needs hooks.read"
        self.source, self.root = hooks.read, root
        self.plan = jax.jit(jax.vmap(method.plan, in_axes=(None, 0)))
        example = self._one(0)
        size = sum(x.nbytes for x in jax.tree.leaves(example))
        self.length = int(np.clip(SPAN_BYTES // size, 1, longest_chunk()))
        self.buffer = jax.tree.map(
            lambda x: np.zeros((self.length, *x.shape), x.dtype), example
        )

    def _one(self, step: int) -> Span:
        indices = np.asarray(self.plan(self.root, jnp.arange(step, step + 1)))
        return self.source(indices[0])

    def read(self, step: int, stop: int) -> Span:
        """Spans of the steps step ... stop - 1, on the device; [length, ...]."""
        indices = np.asarray(
            self.plan(self.root, step + jnp.arange(self.length, dtype=jnp.int32))
        )
        for slot in range(stop - step):
            # Copied leaf by leaf, so that a chunk costs what its steps read.
            found = self.source(indices[slot])
            for whole, part in zip(
                jax.tree.leaves(self.buffer), jax.tree.leaves(found), strict=True
            ):
                whole[slot] = part
        return devices.everywhere(jax.tree.map(jnp.array, self.buffer))
