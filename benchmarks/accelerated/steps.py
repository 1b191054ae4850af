"""One step of every method, beside the PyTorch loop; memory in use and by XLA.

Both sides compute on this device in its usual precision (TF32 for both on recent NVIDIA
devices) and wait for it before the clock is read.
"""

import statistics
from functools import partial
from typing import Any

import jax

from benchmarks import reference
from benchmarks.accelerated.budget import Records, attempt, steady_seconds
from benchmarks.accelerated.sizes import Sizes
from benchmarks.parts import timing
from benchmarks.parts.cases import Case
from benchmarks.parts.timing import MEGA, Side


def device_memory() -> dict[str, float]:
    """MB in use on the device, and the most since this process began; or resident."""
    stats = jax.devices()[0].memory_stats() or {}
    if "bytes_in_use" in stats:
        return {
            "in_use_mb": stats["bytes_in_use"] / MEGA,
            "peak_mb": stats.get("peak_bytes_in_use", 0) / MEGA,
        }
    now, largest = timing.resident_mb()
    return {"in_use_mb": now, "peak_mb": largest}


def analysed_memory(program: Any) -> dict[str, float]:
    """MB by XLA's analysis; donated arguments count once."""
    found = program.memory_analysis()
    return {
        "temp_mb": found.temp_size_in_bytes / MEGA,
        "argument_mb": found.argument_size_in_bytes / MEGA,
        "output_mb": (found.output_size_in_bytes - found.alias_size_in_bytes) / MEGA,
    }


def measured(method: str, ipc: int, sizes: Sizes) -> dict[str, Any]:
    """Our step; then the reference's, which may fail for itself."""
    case = sizes.case(method, ipc)
    loop = None
    if reference.installed() and method in reference.METHODS:
        # Before our steps: they consume the state that both begin with.
        loop = attempt(lambda: {"step": their_step(case)})
    race = timing.step_race(case, None)
    times = steady_seconds(race.ours, sizes.repeats)
    seconds = statistics.median(times)
    found: dict[str, Any] = {
        "seconds": seconds,
        "compile_seconds": race.program.seconds,
        "gflops": race.flops / seconds / 1e9 if race.flops else None,
        **analysed_memory(race.program.call),
        **device_memory(),
        "times": times,
    }
    if loop is not None:
        step = loop.get("step")
        found["pytorch"] = (
            loop if step is None else attempt(lambda: theirs(step, sizes.repeats))
        )
        if "seconds" in found["pytorch"]:
            found["ratio"] = seconds / found["pytorch"]["seconds"]
    return found


def their_step(case: Case) -> Side:
    """What takes one step of the PyTorch loop after the other, on the same device."""
    from benchmarks.reference import network, sides

    network.use_tensor_cores()
    step = sides.step(case)
    assert step is not None
    return step


def theirs(step: Side, repeats: int) -> dict[str, Any]:
    """The PyTorch loop's numbers."""
    import torch

    from benchmarks.reference import network

    times = steady_seconds(step, repeats)
    found = {
        "seconds": statistics.median(times),
        "device": str(network.device()),
        "version": torch.__version__,
        "times": times,
    }
    if network.device().type == "cuda":
        found["peak_mb"] = torch.cuda.max_memory_allocated() / MEGA
        torch.cuda.empty_cache()
    return found


def run(records: Records, sizes: Sizes) -> None:
    if not reference.installed():
        records.skip("PyTorch loops", "PyTorch is not there")
    for ipc in sizes.step_sizes:
        for method in sizes.methods:
            records.measure(
                {"method": method, "ipc": ipc},
                f"step at ipc {ipc}",
                partial(measured, method, ipc, sizes),
            )
