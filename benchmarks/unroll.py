"""Time and memory of one outer step of trajectory matching against student steps.

    python -m benchmarks.unroll --student_steps=10,20,40,80 --out=runs/unroll

The field's ConvNet (width 128, 3 blocks) on random 32x32x3 tensors, 10 classes; every
length runs in a fresh process. Memory is what XLA needs beside arguments and results,
and the process's resident set above what it had before compiling. Writes unroll.json,
unroll.md and unroll.png. Time anything only on a machine that does nothing else.
"""

import dataclasses
import json
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.flags import main, option
from experiments.pairs import numbers
from experiments.progress import say
from jaxdd import policy, presets, provenance, report
from jaxdd.errors import UserError
from jaxdd.methods import build
from jaxdd.nets import make_network
from jaxdd.types import Inputs, Span, Synthetic
from jaxdd.windows import real_data
from jaxdd.workdir import make_folder, to_json, write_atomically

SHAPE, CLASSES = (32, 32, 3), 10
MEGA = 2**20


@dataclass(frozen=True)
class Config:
    """Flags of `benchmarks.unroll`."""

    out: str = option(..., "folder for the results")
    student_steps: str = option("10,20,40,80", "lengths N, by commas")
    ipc: int = option(1, "synthetic images per class")
    method: str = option("mtt", "mtt, ftd, tesla, datm or pad")
    sdc_weight: float = option(0.0, "weight of SDC along the path")
    width: int = option(128, "channels of the ConvNet")
    repeats: int = option(5, "timed steps; their median counts")
    one: int | None = option(None, "measure one length and print it as JSON")


def measure(config: Config, student_steps: int) -> dict[str, Any]:
    """One length, in this process."""
    network = make_network("convnet", SHAPE, CLASSES, width=config.width, depth=3)
    settings = dataclasses.replace(
        presets.preset(config.method, "cifar10", config.ipc).settings,
        student_steps=student_steps,
        batch_syn=None,
        sdc_weight=config.sdc_weight,
        sdc_at="path",
    )
    micro = policy.microbatch_for(SHAPE, config.width)
    method = build(network, settings, micro, experts=1)
    rng = np.random.default_rng(0)
    images = rng.normal(size=(CLASSES, *SHAPE)).astype(np.float32)
    real = real_data(images, np.arange(CLASSES), CLASSES)
    params = [network.init(jax.random.key(i))[0] for i in (0, 1)]
    # A target nearby, as an expert's would be.
    target = jax.tree.map(lambda a, b: a + 0.05 * (b - a), *params)
    inputs = Inputs(real, real, Span(params[0], target))
    start = Synthetic(
        jnp.asarray(rng.normal(size=(CLASSES, config.ipc, *SHAPE)), jnp.float32),
        jnp.broadcast_to(jnp.eye(CLASSES)[:, None], (CLASSES, config.ipc, CLASSES)),
        jnp.float32(0.01),
    )
    state = method.init(jax.random.key(2), start)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    step = jax.jit(method.step).lower(jax.random.key(0), state, inputs).compile()
    compiled = time.perf_counter() - began
    seconds = []
    for i in range(config.repeats + 1):
        began = time.perf_counter()
        state, _ = jax.block_until_ready(step(jax.random.key(i), state, inputs))
        seconds.append(time.perf_counter() - began)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    memory: Any = step.memory_analysis()
    return {
        "student_steps": student_steps,
        "seconds": statistics.median(seconds[1:]),
        "compile_seconds": compiled,
        "temp_mb": memory.temp_size_in_bytes / MEGA,
        "resident_mb": (after - before) / 1024,
        "parameters_mb": sum(x.nbytes for x in jax.tree.leaves(params[0])) / MEGA,
    }


def run(config: Config) -> dict[str, Any]:
    """All lengths, each in a fresh process; the content of `unroll.json`."""
    if config.one is not None:
        return {"records": [measure(config, config.one)]}
    lengths = numbers(config.student_steps, "student_steps", int)
    if len(lengths) < 2 or min(lengths) < 1:
        raise UserError("--student_steps must name at least two positive lengths")
    folder = make_folder(config.out)
    flags = {k: v for k, v in vars(config).items() if v is not None}
    records = []
    for length in lengths:
        say(f"{length} student steps")
        command = [sys.executable, "-m", "benchmarks.unroll", f"--one={length}"]
        command += [f"--{k}={v}" for k, v in flags.items()]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise UserError(f"{length} student steps failed: {done.stderr[-300:]}")
        records += json.loads(done.stdout)["records"]
    copies = [r["temp_mb"] / r["parameters_mb"] for r in records]
    result = {
        "records": records,
        "copies_per_step": float(np.polyfit(lengths, copies, 1)[0]),
        "config": vars(config),
        "versions": provenance.versions(),
        "device": provenance.device(),
    }
    write_atomically(folder / "unroll.json", to_json(result))
    write_atomically(folder / "unroll.md", markdown(result))
    series = {
        "XLA temporaries": (lengths, [r["temp_mb"] for r in records]),
        "resident set": (lengths, [r["resident_mb"] for r in records]),
    }
    report.curves(series, folder / "unroll.png", "student steps N", "MB")
    return result


def markdown(result: dict[str, Any]) -> str:
    lines = [
        "| student steps | s per outer step | XLA temporaries MB | resident MB "
        "| compile s |",
        "|---:|---:|---:|---:|---:|",
    ]
    for r in result["records"]:
        lines.append(
            f"| {r['student_steps']} | {r['seconds']:.3g} | {r['temp_mb']:.0f} | "
            f"{r['resident_mb']:.0f} | {r['compile_seconds']:.1f} |"
        )
    if "copies_per_step" in result:
        lines += ["", f"{result['copies_per_step']:.2f} parameter copies per step"]
    return "\n".join([*lines, ""])


def show(result: dict[str, Any]) -> None:
    alone = "copies_per_step" not in result  # a child: its parent reads JSON
    print(json.dumps(result) if alone else markdown(result))


if __name__ == "__main__":
    main(Config, run, show)
