"""Whether the reference loops compute what we compute, in float64 on small networks."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.parts import draws
from benchmarks.parts.cases import PIXELS, Case, Setting, make_case
from jaxdd.errors import UserError
from jaxdd.methods.build import decoder_of, objective_of
from jaxdd.types import Learner

TINY = Setting("tiny", "cifar10", (8, 8, 3), 4, 2, classes=3, per_class=6)
TOLERANCE = 1e-8
# Steps at different draws: a class or student step applies one of six operations.
DRAWS = 2

Found = tuple[float, dict[str, np.ndarray]]  # loss, gradients by name


def tiny(method: str, **changes) -> Case:
    """A case in float64; to be called where 64 bits are enabled."""
    changes = {"batch_real": 5, **changes}
    steps = 4
    return make_case(method, TINY, 2, steps, changes, microbatch=2, dtype=jnp.float64)


def ours(case: Case, key) -> Found:
    """Loss and gradients w.r.t. what is stored."""
    objective = objective_of(case.network, case.settings, case.microbatch)
    decoder = decoder_of(case.settings, PIXELS)
    learner = Learner(case.params, {})

    @jax.jit
    def both(codes, key, inputs):
        def loss(codes):
            made = decoder.decode(codes)
            return objective(key, made, learner, inputs, jnp.int32(0))[0]

        return jax.value_and_grad(loss)(codes)

    value, gradient = both(case.state.codes, key, case.inputs)
    found = {"images": np.asarray(gradient.images)}
    if case.settings.objective == "trajectory":
        found["step_size"] = np.asarray(gradient.step_size)
    return float(value), found


def theirs(case: Case, key) -> Found:
    """The same by the reference, given what our side draws."""
    from benchmarks.reference import network, sides
    from benchmarks.reference.augment import Draw
    from benchmarks.reference.matching import ClassDraw
    from benchmarks.reference.trajectory import StepDraw

    def given(operations: list[draws.Named]) -> list[Draw]:
        return [Draw(n, jax.tree.map(network.tensor, x)) for n, x in operations]

    reference: Any = sides.loop(case)
    if case.settings.objective == "trajectory":
        return reference.loss_and_gradient(
            [
                StepDraw(network.tensor(x.rows), given(x.operations))
                for x in draws.of_students(case, key)
            ]
        )
    return reference.loss_and_gradient(
        [
            ClassDraw(
                network.channels_first(x.real),
                given(x.operations),
                network.tensor(x.rows),
            )
            for x in draws.of_classes(case, key)
        ]
    )


def difference(method: str, **changes) -> float:
    """The largest relative difference of losses and gradients, over a few draws."""
    largest = 0.0
    with jax.enable_x64(True):
        case = tiny(method, **changes)
        for i in range(DRAWS):
            key = jax.random.key(i)
            (loss, gradients), (expected, others) = ours(case, key), theirs(case, key)
            found = [abs(loss - expected) / abs(expected)]
            for name, x in gradients.items():
                gap = np.linalg.norm(x - others[name])
                found.append(float(gap / np.linalg.norm(others[name])))
            largest = max(largest, *found)
    return largest


def check(methods: list[str]) -> dict[str, float]:
    """The differences by method.

    Raises:
        UserError: one is larger than rounding allows.
    """
    # Half the time to compile; the numbers do not depend on it beyond rounding.
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        found = {method: difference(method) for method in methods}
    finally:
        jax.config.update("jax_disable_most_optimizations", before)
    for method, gap in found.items():
        if not gap <= TOLERANCE:
            raise UserError(
                f"the reference of {method} differs from ours by {gap:.1e} in float64: "
                "nothing is timed"
            )
    return found
