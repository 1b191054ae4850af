"""Time and memory: two sides in turn, the peak of this run, fresh processes."""

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from benchmarks.parts import flops
from benchmarks.parts.cases import Case
from jaxdd.errors import UserError
from jaxdd.storage import provenance
from jaxdd.storage.paths import reason
from jaxdd.storage.records import mapping, parse

MEGA = 2**20
GEMM_SIZES = (2048, 3072, 4096)
# A first run that takes longer counts: what it does once no longer matters.
LONG_SECONDS = 5.0

Side = Callable[[], Any]  # does its work once and returns when it is done


class Compiled(NamedTuple):
    """A program ahead of its first call."""

    call: Any  # jax.stages.Compiled
    seconds: float  # of compiling
    temp_mb: float  # what XLA needs beside arguments and results


class Race(NamedTuple):
    """Our side of a measurement, and the reference's where there is one."""

    ours: Side
    theirs: Side | None
    program: Compiled  # ours
    flops: float | None = None


def prepare() -> None:
    """Before anything is compiled: no programs of other runs, no reserved memory.

    For the main guard of a benchmark only.
    """
    jax.config.update("jax_enable_compilation_cache", False)
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def compiled(
    function: Callable,
    *arguments,
    donate: tuple[int, ...] = (),
    options: Mapping[str, Any] | None = None,
) -> Compiled:
    """A function compiled for arguments like these, with options of XLA's compiler."""
    began = time.perf_counter()
    lowered = jax.jit(function, donate_argnums=donate).lower(*arguments)
    program = lowered.compile(dict(options) if options else None)
    seconds = time.perf_counter() - began
    memory: Any = program.memory_analysis()
    return Compiled(program, seconds, memory.temp_size_in_bytes / MEGA)


def calls(program: Compiled, *arguments) -> Side:
    """The side that calls a program with the same arguments every time."""
    return lambda: jax.block_until_ready(program.call(*arguments))


def stepper(case: Case) -> tuple[Side, Compiled]:
    """The side that takes one outer step after the other; the state is donated."""

    def step(root, state, inputs):
        return case.method.step(jax.random.fold_in(root, state.step), state, inputs)

    root, state = jax.random.key(0), case.state
    program = compiled(step, root, state, case.inputs, donate=(1,))

    def advance() -> None:
        nonlocal state
        state, _ = jax.block_until_ready(program.call(root, state, case.inputs))

    return advance, program


def of_step(case: Case, repeats: int) -> dict[str, float]:
    """The median seconds of a step, its compilation, and XLA's memory in MB."""
    step, program = stepper(case)
    times = alternate({"ours": step}, repeats)["ours"]
    return {
        "seconds": statistics.median(times),
        "compile_seconds": program.seconds,
        "temp_mb": program.temp_mb,
    }


def step_race(case: Case, theirs: Side | None) -> Race:
    """One outer step of a method."""
    ours, program = stepper(case)
    return Race(ours, theirs, program, flops.step(case))


def alternate(sides: Mapping[str, Side], repeats: int) -> dict[str, list[float]]:
    """Seconds of every run, the sides in turn, so that a slow minute hits all.

    The first run of each is left out, unless it is long.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for i in range(repeats + 1):
        for name, side in sides.items():
            if len(seconds[name]) == repeats:
                continue
            began = time.perf_counter()
            side()
            took = time.perf_counter() - began
            if i > 0 or took > LONG_SECONDS:
                seconds[name].append(took)
    return seconds


def measured(race: Race, repeats: int, peak: float) -> dict[str, Any]:
    """The numbers of a race.

    Args:
        race: what runs.
        repeats: timed runs of each side; their median counts.
        peak: floating-point operations per second of `gemm_peak`.
    """
    sides = {"ours": race.ours}
    if race.theirs is not None:
        sides["theirs"] = race.theirs
    times = alternate(sides, repeats)
    seconds = statistics.median(times["ours"])
    theirs = times.get("theirs")
    reference = statistics.median(theirs) if theirs else None
    return {
        "device": provenance.device(),
        "seconds": seconds,
        "compile_seconds": race.program.seconds,
        "temp_mb": race.program.temp_mb,
        "flops": race.flops,
        "peak_fraction": race.flops / seconds / peak if race.flops else None,
        "reference_seconds": reference,
        "ratio": seconds / reference if reference else None,
        "times": times["ours"],
        "reference_times": theirs,
    }


def gemm_peak() -> float:
    """The best rate of square float32 products in this run, operations per second."""
    best = 0.0
    for size in GEMM_SIZES:
        a = jnp.ones((size, size), jnp.float32)
        product = jax.jit(jnp.matmul).lower(a, a).compile()
        for _ in range(4):
            began = time.perf_counter()
            jax.block_until_ready(product(a, a))
            best = max(best, 2 * size**3 / (time.perf_counter() - began))
    return best


def resident_mb() -> tuple[float, float]:
    """(now, largest so far) of this process."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        now, largest = (int(fields[x].split()[0]) / 1024 for x in ("VmRSS", "VmHWM"))
        return now, largest
    except (OSError, KeyError, ValueError):  # not Linux
        largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return largest, largest


def peak_mb(work: Callable[[], Any]) -> float:
    """What `work` adds to the memory of this process, compiling included.

    On an accelerator the most that was in use there.
    """
    before = resident_mb()[0]
    work()
    stats = jax.devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in stats:
        return stats["peak_bytes_in_use"] / MEGA
    return resident_mb()[1] - before


def in_fresh_process(
    module: str,
    flags: Mapping[str, Any],
    environment: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What `python -m module` with these flags prints as JSON.

    Args:
        module: the benchmark.
        flags: those that are None are left out.
        environment: the whole of it, where it is not to be this process's.

    Raises:
        UserError: it failed.
    """
    command = [sys.executable, "-m", module]
    command += [f"--{k}={v}" for k, v in flags.items() if v is not None]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment
    )
    if done.returncode:
        raise UserError(f"{' '.join(command[1:])} failed: {done.stderr[-300:]}")
    try:
        return parse(done.stdout, mapping())
    except ValueError as error:
        raise UserError(
            f"{' '.join(command[1:])} did not print JSON ({reason(error)})"
        ) from error
