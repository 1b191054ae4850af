"""float64 switched on, no implicit broadcasting, no compilation: steps stay steps.

Only shapes and dtypes are worked out, so that all methods cost a few seconds.
"""

import contextlib
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.data.real import take
from jaxdd.fields import flat, override
from jaxdd.methods.build import build
from jaxdd.modifiers import segments
from jaxdd.modifiers.curriculum import Curriculum
from jaxdd.modifiers.judges import make_judge
from jaxdd.nets import NETS, make_network
from jaxdd.primitives.trees import aligned, total
from jaxdd.scores.ensemble import ensemble_scores
from jaxdd.scores.forgetting import forgetting_scores
from jaxdd.scores.influence import influence_scores
from jaxdd.scores.table import SCORES
from jaxdd.training import evaluate
from jaxdd.training.fit import Training, make_fit
from jaxdd.types import Learner, Network
from tests import toy_methods as toy
from tests.helpers import to64
from tests.methods.test_cells import trained_on

# Everything that can be on at once; `test_cells` has the cells one by one.
ALL = {
    "sdc_weight": 0.5,
    "sdc_norm": "per_sample",
    "sdc_schedule": "log",
    "sdc_relative": True,
    "mask": "loss",
    "mask_ratio": 0.25,
    "segments": 2,
    "forgetting": "replay",
}
DISTANCES = ("l1", "l1_mean", "mse", "cos")


def same(tree):
    return tree


@contextlib.contextmanager
def allowed():
    """float64 is there, and the data does not use it: JAX_ENABLE_X64=1."""
    with jax.enable_x64(True), jax.numpy_rank_promotion("raise"):
        yield np.dtype("float32"), same


@contextlib.contextmanager
def strict():
    """All in float64. In both modes every broadcast is said."""
    with jax.enable_x64(True), jax.numpy_rank_promotion("raise"):
        yield np.dtype("float64"), to64


# One of every objective, and with learned labels; the others are left to the slow ones.
USUAL = ("dsa", "dsac", "dm", "datm", "frepo", "rat_bptt")
METHODS = [
    pytest.param(name, marks=() if name in USUAL else pytest.mark.slow)
    for name in toy.STEPPING
]
# That float64 stays float64 is also seen by tests that compare numbers with PyTorch's.
MODES = pytest.mark.parametrize(
    "mode",
    [allowed, pytest.param(strict, marks=pytest.mark.slow)],
    ids=lambda f: f.__name__,
)


@pytest.fixture(scope="module")
def inputs():
    """A later segment's, which has everything that a step can ask for."""
    whole = trained_on(Curriculum())
    span = toy.INPUTS.span._replace(target=whole, whole=whole)
    return toy.EARLIER._replace(span=span, teacher=toy.toy_teacher())


def floats(tree):
    return {
        x.dtype for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)
    }


def network_in(cast, network=toy.NETWORK) -> Network:
    return Network(lambda key: cast(network.init(key)), network.apply)


@MODES
@pytest.mark.parametrize(
    "changes",
    [pytest.param({}, id="plain", marks=pytest.mark.slow), pytest.param(ALL, id="all")],
)
@pytest.mark.parametrize("method", METHODS)
def test_a_step_keeps_the_dtype_of_its_data(method, changes, mode, inputs):
    recipe = toy.toy_recipe(method)
    if recipe.taught:
        changes = {**changes, **({"forgetting": "none"} if changes else {})}
    recipe = override(recipe, changes)
    if "features" in flat(recipe):
        recipe = override(recipe, {"features": "all"})
    check_step(recipe, mode, inputs)


@MODES
@pytest.mark.parametrize("distance", DISTANCES)
def test_so_does_every_distance(distance, mode, inputs):
    check_step(toy.toy_recipe("dc", distance=distance), mode, inputs)


def test_a_step_in_float64_stays_there(inputs):
    """Of one method here, with all modifiers."""
    check_step(override(toy.toy_recipe("dsa"), ALL), strict, inputs)


def check_step(recipe, mode, inputs):
    start = toy.start_for(recipe)
    with mode() as (dtype, cast):
        method = build(network_in(cast, toy.network_of(recipe)), recipe, toy.CONTEXT)
        before = jax.eval_shape(method.init, jax.random.key(0), cast(start))
        after, _ = jax.eval_shape(method.step, jax.random.key(1), before, cast(inputs))
        assert floats(after) == {dtype}
        typed = lambda tree: [(x.shape, x.dtype) for x in jax.tree.leaves(tree)]
        assert typed(before) == typed(after)
        assert floats(jax.eval_shape(method.result, after)) == {dtype}


# Parts of the others, which are left to the slow ones.
PARTS = ("convnet_bn", "alexnet", "vgg11", "resnet18_bn", "resnet18_ap")


@MODES
@pytest.mark.parametrize(
    "name",
    [pytest.param(x, marks=pytest.mark.slow if x in PARTS else ()) for x in NETS],
)
def test_networks(name, mode):
    norms = ("instance", "batch", "layer", "group") if name == "convnet" else (None,)
    shape = (32, 3) if name == "convnet1d" else (32, 32, 3)
    with mode() as (dtype, cast):
        for norm in norms:
            network = make_network(name, shape, 4, norm=norm)

            def slope(key, images):
                params, stats = cast(network.init(key))

                def loss(params):
                    outputs, new = network.apply(params, stats, images, True)
                    network.apply(params, stats, images, False)
                    return total(outputs), new

                return jax.grad(loss, has_aux=True)(params)

            images = jax.ShapeDtypeStruct((2, *shape), dtype)
            assert floats(jax.eval_shape(slope, jax.random.key(0), images)) == {dtype}


@pytest.mark.parametrize("mode", [allowed, strict])
def test_what_is_measured_and_trained_beside_the_steps(mode):
    training = Training(2, 0.1, batch_size=4, gsam_rho=0.1)
    plain = dataclasses.replace(training, gsam_rho=0.0)

    def everything(real):
        keys = jax.random.split(jax.random.key(0), 2)
        network = network_in(cast)
        learners = jax.vmap(lambda key: Learner(*network.init(key)))(keys)
        one = jax.tree.map(lambda x: x[0], learners)
        sets = evaluate.random_subsets(keys, real, 1)
        judge = make_judge(network, plain)
        return {
            "fit": make_fit(network, training, fetch=take)(keys[0], one, real)[0],
            "judge": judge(keys, take(real, jnp.arange(4)), real),
            "hits": evaluate.make_hits(network, plain)(keys, sets, real),
            "members": Curriculum(0.5, 3, ((4, 0.1),)).members(real, 2),
            "kept": segments.keep_hardest(real, jnp.zeros(36, dtype), 1),
            "forgetting": forgetting_scores(network, plain)(keys, real),
            "influence": influence_scores(network, take, damping=0.1, rank=2)(
                keys[0], learners, real
            ),
            **{
                name: ensemble_scores(network, name, take)(learners, real)
                for name, score in SCORES.items()
                if score.needs == "networks"
            },
        }

    with mode() as (dtype, cast):
        found = jax.eval_shape(everything, cast(toy.INPUTS.real))
        assert floats(found["fit"]) == floats(found["judge"]) == {dtype}


@pytest.mark.slow  # `tests/methods/test_methods.py` has it of DM
def test_a_step_without_compilation_is_the_compiled_one():
    recipe = toy.toy_recipe("dm", augmentation="none", batch_real=2)
    method = toy.toy_method(recipe)

    def stepped():
        state = method.init(jax.random.key(0), toy.start_for(recipe))
        return method.step(jax.random.key(1), state, toy.INPUTS)[0].codes.images

    with jax.disable_jit():
        eager = stepped()
    np.testing.assert_allclose(eager, jax.jit(stepped)(), rtol=1e-4, atol=1e-6)


def test_sums_and_shapes():
    assert total({}).dtype == jnp.float32
    assert aligned(jnp.ones(3), jnp.ones((2, 2, 3))).shape == (1, 1, 3)
