"""Whether ten steps give the same bits twice, and what determinism costs.

Each method runs ten steps twice from one state, in this process. The section runs in
two processes: as JAX comes, and with the compiler's flags for deterministic operations
where the backend has such flags. `table` compares the processes.
"""

import hashlib
import os
from functools import partial
from typing import Any

import jax
import numpy as np

from benchmarks.accelerated.budget import Records, steady_seconds
from benchmarks.accelerated.sizes import Sizes
from benchmarks.parts import timing

METHODS = ("dsa", "mtt", "dm", "idc")
STEPS = 10


def digest(tree: Any) -> str:
    """Of the bits of all arrays."""
    found = hashlib.sha256()
    for x in jax.tree.leaves(tree):
        found.update(np.asarray(x).tobytes())
    return found.hexdigest()[:16]


def repeated(method: str, sizes: Sizes) -> dict[str, Any]:
    """Ten steps, twice."""
    case = sizes.case(method)

    def step(root, state, inputs):
        return case.method.step(jax.random.fold_in(root, state.step), state, inputs)

    root = jax.random.key(0)
    program = timing.compiled(step, root, case.state, case.inputs)
    digests = []
    for _ in range(2):
        state = case.state
        for _ in range(STEPS):
            state, _ = program.call(root, state, case.inputs)
        digests.append(digest(state.codes))
    side = timing.calls(program, root, case.state, case.inputs)
    times = steady_seconds(side, sizes.repeats)
    return {
        "same_bits": digests[0] == digests[1],
        "digest": digests[0],
        "seconds": float(np.median(times)),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


def run(records: Records, sizes: Sizes) -> None:
    for method in METHODS:
        records.measure(
            {"method": method},
            "repeat",
            partial(repeated, method, sizes),
        )
