"""What CUDA graphs change: a step's loops started kernel by kernel, or as graphs.

A step on few images is many short kernels in loops over student steps, classes and
minibatches, and starting them can take longer than they do. XLA records runs of kernels
as graphs by itself, but goes round a loop from the host unless it is asked for more.
"""

import math
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.flatten_util import ravel_pytree

from benchmarks.accelerated.budget import Records, attempt, named
from benchmarks.accelerated.sizes import Sizes
from benchmarks.parts import timing
from benchmarks.parts.timing import Compiled

# Loops over student steps, over classes, and over minibatches of real images.
METHODS = ("mtt", "dsa", "idc")
USUAL = "as JAX comes"
_KINDS = "xla_gpu_enable_command_buffer"
_WITH_LOOPS = (
    "FUSION,CUBLAS,CUBLASLT,CUSTOM_CALL,CUDNN,DYNAMIC_SLICE_FUSION,WHILE,CONDITIONAL"
)
# Options of XLA's compiler by what becomes a graph.
GRAPHS: Mapping[str, Mapping[str, Any]] = {
    USUAL: {},
    "nothing": {_KINDS: ""},
    "loops": {_KINDS: _WITH_LOOPS},
    "loops, unrolled": {
        _KINDS: _WITH_LOOPS,
        "xla_gpu_command_buffer_unroll_loops": True,
    },
}


@dataclass(frozen=True)
class Stepper:
    """A compiled step, and what it is called with every time."""

    program: Compiled
    arguments: tuple[Any, ...]

    def __call__(self) -> Any:
        """The state that one step leads to."""
        return jax.block_until_ready(self.program.call(*self.arguments))[0]


def built(method: str, sizes: Sizes, options: Mapping[str, Any]) -> Stepper:
    """A method's step compiled with options; it leaves its arguments as they are."""
    case = sizes.case(method)
    arguments = jax.random.key(0), case.state, case.inputs
    program = timing.compiled(case.method.step, *arguments, options=options)
    return Stepper(program, arguments)


def compared(
    jobs: Mapping[str, Future[Stepper]], repeats: int
) -> dict[str, dict[str, Any]]:
    """Records of one method by what becomes a graph, all of them timed in turn.

    `gap` is the relative difference (L2) of the images after a step to those of a
    program that is compiled as JAX comes.
    """
    first = {name: attempt(partial(_first, job)) for name, job in jobs.items()}
    sides = {x: jobs[x].result() for x, values in first.items() if "codes" in values}
    usual = first[USUAL].get("codes")
    timed = attempt(partial(timing.alternate, sides, repeats)) if sides else {}
    found = {}
    for name, values in first.items():
        if name not in sides or "failed" in timed:
            found[name] = values if name not in sides else dict(timed)
            continue
        program, codes = sides[name].program, values["codes"]
        gap = None
        if usual is not None:
            gap = float(np.linalg.norm(codes - usual) / np.linalg.norm(usual))
        found[name] = {
            "seconds": float(np.median(timed[name])),
            "times": timed[name],
            "compile_seconds": program.seconds,
            "temp_mb": program.temp_mb,
            "gap": gap,
        }
    return found


def _first(job: Future[Stepper]) -> dict[str, Any]:
    """The images after one step; a program that fails does so here, for itself."""
    codes, _ = ravel_pytree(job.result()().codes)
    return {"codes": np.asarray(codes)}


def run(records: Records, sizes: Sizes, anywhere: bool = False) -> None:
    """Compile a method's programs side by side, then time them with nothing beside.

    Args:
        records: of the section.
        sizes: what is measured.
        anywhere: also on a device that has no graphs, to try the command.
    """
    if jax.default_backend() != "gpu" and not anywhere:
        records.skip("graphs", "only GPUs have them")
        return
    # So many programs one after another, as far as the compiler is concerned.
    rounds = math.ceil(len(GRAPHS) / sizes.workers)
    for method in METHODS:
        key = {"method": method}
        if not records.fits(named(key), "program", rounds):
            continue
        records.say(named(key))
        began = records.budget.clock()
        with ThreadPoolExecutor(sizes.workers) as pool:
            jobs = {
                name: pool.submit(built, method, sizes, options)
                for name, options in GRAPHS.items()
            }
        for name, values in compared(jobs, sizes.repeats).items():
            records.add({**key, "graphs": name}, values)
        records.took("program", (records.budget.clock() - began) / rounds)
