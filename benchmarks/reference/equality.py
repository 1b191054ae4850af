"""Whether the reference loops compute what we compute, in float64 on small networks."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.parts import draws
from benchmarks.parts.cases import Case, Setting, decoder_of, make_case
from jaxdd.errors import UserError
from jaxdd.learners.context import Context
from jaxdd.methods.build import objective_of
from jaxdd.types import Key, Learner, Params

TINY = Setting("tiny", "cifar10", (8, 8, 3), 4, 2, classes=3, per_class=6)
TOLERANCE = 1e-8
# Steps at different draws: a class or student step applies one of six operations.
DRAWS = 2

Found = tuple[float, dict[str, np.ndarray]]  # loss, gradients by name
Side = Callable[[Key], Found]


def tiny(method: str, **changes) -> Case:
    """A case in float64; to be called where 64 bits are enabled.

    Its parameters are drawn by NumPy: an initialiser's float32 rounding may differ from
    one version of JAX to the next, and these numbers are compared with stored ones.
    """
    changes = {"batch_real": 5, **changes}
    steps = 4
    case = make_case(method, TINY, 2, steps, changes, microbatch=2, dtype=jnp.float64)
    params, other = (random_params(case.params, seed) for seed in (0, 1))
    inputs = case.inputs
    if inputs.span is not None:
        target = jax.tree.map(lambda a, b: a + 0.05 * (b - a), params, other)
        inputs = inputs._replace(span=inputs.span._replace(start=params, target=target))
    return case._replace(params=params, inputs=inputs)


def random_params(like: Params, seed: int) -> Params:
    """Parameters of the same shapes in float64: kernels by fan-in, scales near one.

    Biases are not zero either, so that a lost bias shows.
    """
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        noise = rng.normal(size=leaf.shape)
        if path[-1].key == "scale":
            return jnp.asarray(1 + 0.1 * noise)
        fan_in = np.prod(leaf.shape[:-1]) if leaf.ndim > 1 else 100
        return jnp.asarray(noise / np.sqrt(fan_in))

    return jax.tree.map_with_path(draw, like)


def ours(case: Case) -> Side:
    """Loss and gradients w.r.t. what is stored."""
    objective = objective_of(case.network, case.recipe, Context(case.microbatch))
    decoder = decoder_of(case.recipe)
    learner = Learner(case.params, {})

    @jax.jit
    def both(codes, key, inputs):
        def loss(codes):
            decoded = decoder.decode(codes)
            return objective(key, decoded, learner, inputs, jnp.int32(0))[0]

        return jax.value_and_grad(loss)(codes)

    def side(key: Key) -> Found:
        value, gradient = both(case.state.codes, key, case.inputs)
        gradients = {"images": np.asarray(gradient.images)}
        if case.recipe.needs_experts:
            gradients["step_size"] = np.asarray(gradient.step_size)
        return float(value), gradients

    return side


def theirs(case: Case) -> Side:
    """The same by the reference, which is handed the random numbers of our side."""
    from benchmarks.reference import network, sides
    from benchmarks.reference.augment import Draw
    from benchmarks.reference.matching import ClassDraw
    from benchmarks.reference.trajectory import StepDraw

    def tensors(operations: list[draws.Named]) -> list[Draw]:
        return [Draw(n, jax.tree.map(network.tensor, x)) for n, x in operations]

    loop: Any = sides.loop(case)

    def trajectory(key: Key) -> Found:
        return loop.loss_and_gradient(
            [
                StepDraw(network.tensor(x.rows), tensors(x.operations))
                for x in draws.of_students(case, key)
            ]
        )

    def classes(key: Key) -> Found:
        return loop.loss_and_gradient(
            [
                ClassDraw(
                    network.channels_first(x.real),
                    tensors(x.operations),
                    network.tensor(x.rows),
                )
                for x in draws.of_classes(case, key)
            ]
        )

    return trajectory if case.recipe.needs_experts else classes


def difference(method: str, **changes) -> float:
    """The largest relative difference of losses and gradients, over a few draws."""
    largest = 0.0
    with jax.enable_x64(True):
        case = tiny(method, **changes)
        our_side, their_side = ours(case), theirs(case)
        for i in range(DRAWS):
            key = jax.random.key(i)
            (loss, gradients), (expected, others) = our_side(key), their_side(key)
            gaps = [abs(loss - expected) / abs(expected)]
            for name, x in gradients.items():
                gap = np.linalg.norm(x - others[name])
                gaps.append(float(gap / np.linalg.norm(others[name])))
            largest = max(largest, *gaps)
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
        gaps = {method: difference(method) for method in methods}
    finally:
        jax.config.update("jax_disable_most_optimizations", before)
    for method, gap in gaps.items():
        if not gap <= TOLERANCE:
            raise UserError(
                f"the reference of {method} differs from ours by {gap:.1e} in float64: "
                "nothing is timed"
            )
    return gaps
