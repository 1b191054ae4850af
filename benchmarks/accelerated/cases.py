"""Fixed small inputs of every objective, and the numbers that belong to them.

All inputs come from NumPy, are exact in float32 and the same on every device. So are
the random draws of an objective: 32-bit numbers, also where the objective is computed
in float64. What differs between a device and the committed numbers is rounding alone.
"""

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.parts.cases import changed, decoder_of
from jaxdd.data.real import real_data
from jaxdd.fields import override
from jaxdd.methods.build import objective_of
from jaxdd.methods.recipe import Recipe
from jaxdd.methods.recipes import METHODS
from jaxdd.nets import make_network
from jaxdd.primitives import DISTANCES
from jaxdd.types import Codes, Inputs, Learner, Network, Span, Synthetic

EXPECTED = Path(__file__).with_name("expected.npz")

SHAPE, CLASSES, PER_CLASS = (8, 8, 3), 3, 6
WIDTH, DEPTH = 16, 2
IPC = 1
# Enough draws of real samples to leave some out.
BATCH_REAL, STUDENT_STEPS = 5, 4
STEP_SIZE = 0.05

_DSA, _SOFT = METHODS["dsa"], METHODS["datm"]
_ALL = override(METHODS["dsac"], {"warmup_networks": 0})
_MTT, _IDC, _MMD = METHODS["mtt"], METHODS["idc"], METHODS["m3d"]
_REGRESSION = METHODS["frepo"]
_SDC: dict[str, Any] = {"sdc_weight": 0.1}

RECIPES: dict[str, Recipe] = {
    **{f"gradient {name}": override(_DSA, {"distance": name}) for name in DISTANCES},
    "gradient sdc": override(_DSA, _SDC),
    "contrastive": _ALL,
    "contrastive sdc": override(_ALL, _SDC),
    "distribution": METHODS["dm"],
    "distribution sdc": override(METHODS["dm"], _SDC),
    "trajectory": _MTT,
    "trajectory truncated": METHODS["tesla"],
    "trajectory soft labels": _SOFT,
    "trajectory sdc": override(_MTT, _SDC),
    "trajectory sdc path": override(_MTT, {**_SDC, "sdc_at": "path"}),
    "idc": _IDC,
    "idc sdc": override(_IDC, {**_SDC, "sdc_relative": True}),
    "mmd": _MMD,
    "mmd sdc": override(_MMD, _SDC),
    "attention": METHODS["datadam"],
    "characteristic function": METHODS["ncfm"],
    "regression": _REGRESSION,
    "regression sdc": override(_REGRESSION, _SDC),
    "convex": METHODS["rcig"],
    "bptt": METHODS["rat_bptt"],
    "statistics": METHODS["cda"],
}


class Numbers(NamedTuple):
    """What an objective gives at its inputs.

    Attributes:
        loss: [].
        images: gradient w.r.t. the stored images, [K, n, H, W, C].
        step_size: gradient w.r.t. the student's learning rate, []; 0 without a student.
    """

    loss: np.ndarray
    images: np.ndarray
    step_size: np.ndarray


def recipe_of(name: str) -> Recipe:
    """The recipe of a case, small enough for its inputs."""
    small = {"batch_real": BATCH_REAL, "student_steps": STUDENT_STEPS, "max_start": 1}
    return changed(RECIPES[name], small)


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)


def _parameters(network: Network, seed: int) -> Any:
    """Parameters of the usual size, from NumPy: scales near 1, small biases."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(network.init, jax.random.key(0))[0]

    def one(path, like):
        x = _normal(rng, like.shape)
        if len(like.shape) > 1:
            return x * np.float32(np.prod(like.shape[:-1]) ** -0.5)
        return 0.1 * x + np.float32(path[-1].key == "scale")

    return jax.tree_util.tree_map_with_path(one, shapes)


def _inputs(network: Network) -> tuple[Synthetic, Learner, Inputs]:
    """The same for all cases."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(CLASSES), PER_CLASS)
    real = real_data(_normal(rng, (len(labels), *SHAPE)), labels, CLASSES)
    start = Synthetic(
        jnp.asarray(_normal(rng, (CLASSES, IPC, *SHAPE))),
        jnp.asarray(np.eye(CLASSES, dtype=np.float32)[:, None]),
        jnp.float32(STEP_SIZE),
    )
    params, other = (_parameters(network, seed) for seed in (1, 2))
    target = jax.tree.map(lambda a, b: a + np.float32(0.05) * (b - a), params, other)
    stats = network.init(jax.random.key(0))[1]
    return start, Learner(params, stats), Inputs(real, real, Span(params, target))


def numbers(name: str, dtype: Any = jnp.float32) -> Numbers:
    """A case's numbers on this device, in a precision of floating-point numbers.

    Args:
        name: in `RECIPES`.
        dtype: of all arrays; with float64 64 bits have to be enabled.
    """
    recipe = recipe_of(name)
    net = "convnet_bn" if recipe.taught else "convnet"
    network = make_network(net, SHAPE, CLASSES, width=WIDTH, depth=DEPTH)
    objective, decoder = objective_of(network, recipe), decoder_of(recipe)
    start, learner, inputs = _cast(_inputs(network), dtype)
    codes = decoder.init(jax.random.key(0), start)

    def loss(codes: Codes, learner: Learner, inputs: Inputs):
        made = decoder.decode(codes)
        return objective(jax.random.key(3), made, learner, inputs, jnp.int32(0))[0]

    value, gradient = jax.jit(jax.value_and_grad(loss))(codes, learner, inputs)
    by_size = gradient.step_size if recipe.follows else 0.0
    return Numbers(*map(np.asarray, (value, gradient.images, by_size)))


def _cast(tree: Any, dtype: Any) -> Any:
    def one(x):
        return x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x

    return jax.tree.map(one, tree)


@contextlib.contextmanager
def draws_of_32_bits() -> Iterator[None]:
    """Where 64 bits are enabled: random numbers are those that 32 bits give.

    They are drawn in 32 bits and then widened, so that the library may mix them with
    its own.
    """
    uniform, randint = jax.random.uniform, jax.random.randint
    bernoulli, normal = jax.random.bernoulli, jax.random.normal

    def uniform_32(key, shape=(), dtype=jnp.float32, minval=0.0, maxval=1.0):
        low, high = jnp.float32(minval), jnp.float32(maxval)
        return uniform(key, shape, dtype, low, high).astype(jnp.float64)

    def randint_32(key, shape, minval, maxval, dtype=jnp.int32):
        return randint(key, shape, minval, maxval, dtype).astype(jnp.int64)

    def bernoulli_32(key, p=0.5, shape=None):
        return bernoulli(key, jnp.float32(p), shape)

    def normal_32(key, shape=(), dtype=jnp.float32):
        return normal(key, shape, jnp.float32).astype(jnp.float64)

    with (
        mock.patch.object(jax.random, "uniform", uniform_32),
        mock.patch.object(jax.random, "randint", randint_32),
        mock.patch.object(jax.random, "bernoulli", bernoulli_32),
        mock.patch.object(jax.random, "normal", normal_32),
    ):
        yield


def exact(name: str) -> Numbers:
    """A case's numbers in float64, on a CPU of this machine."""
    device = jax.devices("cpu")[0]
    with jax.default_device(device), jax.enable_x64(True), draws_of_32_bits():
        return numbers(name, jnp.float64)


def write_expected(path: Path = EXPECTED) -> Path:
    """Compute the committed numbers anew."""
    arrays = {}
    for name in RECIPES:
        for field, value in exact(name)._asdict().items():
            arrays[f"{name}/{field}"] = value
    np.savez_compressed(path, **arrays)
    return path


@functools.cache
def expected() -> dict[str, Numbers]:
    """The committed numbers of all cases."""
    with np.load(EXPECTED) as file:
        return {
            name: Numbers(*(file[f"{name}/{field}"] for field in Numbers._fields))
            for name in RECIPES
        }


def difference(found: Numbers, right: Numbers) -> tuple[float, float]:
    """Relative differences: of the loss; the largest of the gradients (L2 norms)."""
    gaps = []
    for a, b in zip(found, right, strict=True):
        size = np.linalg.norm(b)
        gap = np.linalg.norm(a.astype(np.float64) - b)
        gaps.append(float(gap / size if size > 0 else gap))
    return gaps[0], max(gaps[1:])
