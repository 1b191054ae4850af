"""The resumable loop: any method, in chunks on the device, the host only watching."""

import contextlib
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdd.devices import hosts
from jaxdd.devices import mesh as devices
from jaxdd.errors import Diverged, UserError
from jaxdd.running.ahead import ReadAhead, read_ahead
from jaxdd.running.loop import Program, longest_chunk
from jaxdd.running.schedule import Hooks, RunSchedule
from jaxdd.running.spans import SpanBuffer, Spans
from jaxdd.running.state import Best, RunResult, RunState, Timings
from jaxdd.storage.checkpoints import States, states_in
from jaxdd.storage.metrics import Metrics
from jaxdd.storage.paths import shown
from jaxdd.storage.signals import Signals
from jaxdd.types import Inputs, Method, MethodState

# Seconds that one dispatch should take: short enough for signals and progress, long
# enough that the host costs nothing.
CHUNK_SECONDS = 1.0
# The state is saved before any step or measurement that is expected to take longer than
# this, so that a signal does not lose it.
LONG_SECONDS = 5.0


def _next(step: int, every: int) -> int:
    return (step // every + 1) * every


def run(
    folder: Path | None,
    program: Program,
    start: Callable[[], MethodState],
    inputs: Inputs,
    seed: int,
    schedule: RunSchedule,
    hooks: Hooks,
    on_resume: Callable[[int], None] = lambda step: None,
    spans: Spans | None = None,
) -> RunResult:
    """Run a method in memory, or run or continue it in a workdir of the caller.

    The key of step t is fold_in(key(seed), t), so a run that was stopped anywhere and
    continued gives the bits of an uninterrupted one on the same kind of device.

    Args:
        folder: the workdir, which gets `metrics.jsonl` and `checkpoints/`; with None
            nothing is written, and nothing can be continued.
        program: the method and its compiled loop.
        start: () -> the state at step 0.
        inputs: the data, on the device.
        seed: the seed of all random numbers.
        schedule: when to log, measure, save and end.
        hooks: functions to call along the way.
        on_resume: (step), called when a run is continued there.
        spans: the spans of experts, for a method that matches trajectories.

    Raises:
        Diverged: a step gave a value that is not finite, or a negative step size.
        UserError: the disk refused.
        Interrupted: SIGTERM or SIGINT arrived, perhaps during the last save; the state
            is saved. In memory there is nothing to save: signals keep their handlers,
            and Ctrl-C is a KeyboardInterrupt at once.
    """
    states = states_in(folder)
    try:
        state = _initial(program.method, start(), hooks)
        saved = states.restore(state)
        if folder is not None and saved is not None:
            step, state = saved
            refuse_fewer_steps(folder, step, schedule.steps)
            on_resume(step)
        state = devices.everywhere(jax.tree.map(jnp.asarray, state))
        metrics = Metrics(folder, int(state.method.step))
        if metrics.damage is not None:
            hooks.warn(metrics.damage)
        with Signals().installed(folder) as signals:
            loop = _Loop(folder, program, inputs, seed, schedule, hooks, states, spans)
            with contextlib.closing(loop):
                state = loop.go(state, metrics, signals)
        return RunResult(state, metrics, loop.timings(), program)
    finally:
        states.close()


def refuse_fewer_steps(folder: Path, there: int, asked: int) -> None:
    """Refuse to end a run before the step that its workdir is at.

    Args:
        folder: the workdir.
        there: completed updates in it.
        asked: the steps of the new start.

    Raises:
        UserError: the new start would end before the workdir's step.
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
    """One start of a run, with its timing."""

    def __init__(
        self,
        folder: Path | None,
        program: Program,
        inputs: Inputs,
        seed: int,
        schedule: RunSchedule,
        hooks: Hooks,
        states: States,
        spans: Spans | None,
    ):
        self.folder, self.program, self.inputs = folder, program, inputs
        self.root = jax.random.key(seed)
        self.schedule, self.hooks, self.states = schedule, hooks, states
        self.compile_seconds = 0.0
        self.per_step: list[float] = []
        self.measure_seconds = 0.0  # of the last measurement
        self.spans = None if spans is None else SpanBuffer(spans, self.root)
        self.ahead: ReadAhead | None = None

    def close(self) -> None:
        if self.ahead is not None:
            self.ahead.close()

    def go(self, state: RunState, metrics: Metrics, signals: Signals) -> RunState:
        self.began, self.before = time.perf_counter(), metrics.seconds
        step = signals.done = int(state.method.step)
        if step == 0:
            state = self._observe(state, metrics, 0, {})
            self.states.save(0, state)
        if step < self.schedule.steps:
            state = self._compile(state)
        while step < self.schedule.steps:
            stop = self._chunk_end(step)
            state, infos, sound = self._chunk(state, step, stop)
            done = int(state.method.step)
            wrong = {
                name
                for name, x in infos.items()
                if not np.isfinite(x[: done - step + 1]).all()
            }
            infos = {name: x[: done - step] for name, x in infos.items()}
            self._log(metrics, step, done, infos)
            if not sound:
                self.states.save(done, state)
                raise _diverged(done + 1, wrong, self.folder)
            step = signals.done = done
            if step % self.schedule.measure_every == 0:
                state = self._observe(state, metrics, step, infos)
            received = signals.agreed()
            if received or self._saves(step):
                self.states.save(step, state)
            if received:
                signals.stop(received)
        return state

    def _saves(self, step: int) -> bool:
        """Whether a state is due: by schedule, or because a long step comes next."""
        if step == self.schedule.steps or step % self.schedule.save_every == 0:
            return True
        seconds = self.per_step[-1] if self.per_step else 0.0
        if (step + 1) % self.schedule.measure_every == 0:
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
        if self.spans is None:  # steps that follow experts see no real images
            method = self.program.method
            self.ahead = read_ahead(method, state.method, inputs, self.root)
        self.compile_seconds = time.perf_counter() - began
        return state

    def _chunk_end(self, step: int) -> int:
        wanted = longest_chunk()
        if not self.per_step:
            wanted = 1
        elif self.per_step[-1] > 0:
            wanted = max(1, int(CHUNK_SECONDS / self.per_step[-1]))
        schedule = self.schedule
        longest = longest_chunk() if self.spans is None else self.spans.length
        end = min(
            step + min(wanted, longest),
            schedule.steps,
            _next(step, schedule.measure_every),
            _next(step, schedule.save_every),
        )
        before = _next(step + 1, schedule.measure_every) - 1
        return min(end, before) if self._saves(before) else end

    def _chunk(self, state: RunState, step: int, stop: int):
        began = time.perf_counter()
        inputs = self.inputs
        if self.spans is not None:
            inputs = inputs._replace(span=self.spans.read(step, stop))
        if self.ahead is not None:
            # The step after the chunk is part of it: a chunk may be one long step.
            after = min(stop + 1, self.schedule.steps)
            self.ahead.follow(state.method, after - step)
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
            measured = t % self.schedule.measure_every == 0
            if t % self.schedule.log_every == 0 and not measured:
                self._write(metrics, t, _entry(infos, t - step - 1))

    def _write(self, metrics: Metrics, step: int, values: dict[str, Any]) -> None:
        if metrics.write(self._line(step, values)):
            self.hooks.logged(metrics.lines[-1])

    def _line(self, step: int, values: dict[str, Any]) -> dict[str, Any]:
        seconds = self.before + time.perf_counter() - self.began
        return {"step": step, **values, "seconds": round(seconds, 3)}

    def _observe(self, state: RunState, metrics: Metrics, step: int, infos) -> RunState:
        """Measure at a multiple of `measure_every` and write its line."""
        began = time.perf_counter()
        values: dict[str, Any] = _entry(infos, -1) if infos else {}
        values.update(self.hooks.measure(state.method))
        if self.hooks.track is not None and state.best is not None:
            synthetic = self.program.method.stored(state.method)
            best = self.hooks.track(state.best, synthetic, step)
            # The method's buffers are donated, so the best set must be a copy.
            state = state._replace(best=jax.tree.map(jnp.copy, best))
        self._write(metrics, step, values)
        self.measure_seconds = hosts.most(time.perf_counter() - began)
        return state

    def _typical(self) -> float:
        steady = sorted(self.per_step[1:] or self.per_step)
        return steady[len(steady) // 2] if steady else 0.0

    def timings(self) -> Timings:
        seconds = self.before + time.perf_counter() - self.began
        return Timings(seconds, self._typical(), self.compile_seconds)


def _entry(infos, index: int) -> dict[str, float]:
    return {name: float(x[index]) for name, x in infos.items()}


def _diverged(step: int, wrong: Collection[str], folder: Path | None) -> Diverged:
    """Why a run ends before `step`, and what to change; `wrong` is not finite."""
    if not wrong:
        fault = f"the step size would be negative after step {step}"
        remedy = "lower --step_size_lr"
    elif "residual" in wrong:
        fault = f"the linear system of step {step} could not be solved"
        remedy = "raise the ridge or lower --image_lr"
    else:
        fault = f"the loss of step {step} is not finite"
        remedy = "lower --image_lr or the weights"
    if folder is not None:
        remedy = (
            f"the state before it is kept in {shown(folder)}; {remedy} and use another "
            "--workdir"
        )
    return Diverged(fault, remedy)
