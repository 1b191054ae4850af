"""How many steps one dispatch should hold: the loop of a run at several lengths."""

import statistics
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.accelerated.budget import Records, steady_seconds
from benchmarks.accelerated.sizes import Sizes
from jaxdd.running.loop import Program

METHODS = ("dsa", "mtt")
LENGTHS = (1, 2, 5, 10, 50)


class Loop:
    """A method's compiled loop with spans for the longest dispatch."""

    def __init__(self, method: str, sizes: Sizes):
        case = sizes.case(method)
        self.state, self.root = case.state, jax.random.key(0)
        spans = jax.tree.map(lambda x: jnp.stack([x] * LENGTHS[-1]), case.inputs.span)
        self.inputs = case.inputs._replace(span=spans)
        self.call = Program(case.method).compiled(
            self.state, self.inputs, self.root, jnp.int32(0)
        )
        self.done = 0

    def advance(self, steps: int) -> None:
        """So many steps in one dispatch; what a run reads of them is read."""
        self.done += steps
        self.state, sound, infos = self.call(
            self.state, self.inputs, self.root, jnp.int32(self.done)
        )
        jax.device_get((sound, infos))


def timed(loop: Loop, steps: int, repeats: int) -> dict[str, Any]:
    times = steady_seconds(lambda: loop.advance(steps), repeats, enough=2.0)
    return {"seconds_per_step": statistics.median(times) / steps, "times": times}


def _first(made: dict[str, Loop], method: str, sizes: Sizes) -> dict[str, Any]:
    """The shortest dispatch of a loop that is compiled for it and kept in `made`."""
    made[method] = Loop(method, sizes)
    return timed(made[method], LENGTHS[0], sizes.repeats)


def run(records: Records, sizes: Sizes) -> None:
    for method in METHODS:
        if not records.fits(f"{method}: all lengths", f"{method} compiled"):
            continue
        made: dict[str, Loop] = {}
        record = records.measure(
            {"method": method, "steps": LENGTHS[0]},
            f"{method} compiled",
            partial(_first, made, method, sizes),
        )
        if record is None or "failed" in record:
            continue
        for steps in LENGTHS[1:]:
            # A run that does not count, and one that does.
            expected = 2 * steps * record["seconds_per_step"]
            records.longest[f"{method} {steps}"] = expected
            records.measure(
                {"method": method, "steps": steps},
                f"{method} {steps}",
                partial(timed, made[method], steps, sizes.repeats),
            )
