"""Networks between the two ends of an expert's training, and the calibration there."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd import augment
from jaxdd.fields import override
from jaxdd.learners.interpolated import Interpolated, between, interpolated
from jaxdd.methods.build import objective_of
from jaxdd.objectives.calibration import calibrated
from jaxdd.types import Learner
from tests.helpers import assert_close, new_learner, refused, tiny_network, to64
from tests.toy_methods import CONTEXT, INPUTS, NETWORK, start_for, toy_recipe

KEY, STEP = jax.random.key(0), jnp.int32(0)


def test_the_ends_are_those_of_the_expert():
    start, end = jnp.array([0.1, 3.0]), jnp.array([0.7, -1.0])
    assert np.array_equal(between(start, end, jnp.float32(1)), start)
    assert np.array_equal(between(start, end, jnp.float32(0)), end)
    np.testing.assert_allclose(between(start, end, jnp.float32(0.25)), [0.55, 0.0])


def test_a_network_lies_between_at_one_share_of_all_parameters():
    source = interpolated(NETWORK, 4)
    draw = jax.jit(lambda key: source.draw(key, (), INPUTS))
    span, shares = INPUTS.span, []
    for key in jax.random.split(KEY, 50):
        learner = draw(key)
        # Of a parameter that the training has moved much.
        kernels = [x["head"]["kernel"] for x in (span.start, span.target)]
        place = np.unravel_index(np.abs(kernels[1] - kernels[0]).argmax(), (8, 3))
        a, b, x = (
            float(k[place]) for k in (*kernels, learner.params["head"]["kernel"])
        )
        shares.append((x - b) / (a - b))
        mixed = lambda p, q: shares[-1] * p + (1 - shares[-1]) * q
        expected = jax.tree.map(mixed, span.start, span.target)
        assert_close(learner.params, expected, atol=1e-5)
    assert min(shares) < 0.1
    assert max(shares) > 0.9
    assert 0.35 < np.mean(shares) < 0.65


def test_every_expert_is_drawn_and_its_whole_training_is_the_span():
    source = interpolated(NETWORK, 4)
    assert source.span_index is not None
    index = jax.jit(source.span_index)
    drawn = np.array([index(KEY, jnp.int32(t)) for t in range(40)])
    assert set(drawn[:, 0]) == {0, 1, 2, 3}
    assert not drawn[:, 1].any()
    assert np.array_equal(index(KEY, jnp.int32(7)), drawn[7])


def test_what_cannot_be_interpolated_is_refused():
    with refused("cannot have batch norm.*--norm=instance"):
        Interpolated().make(tiny_network("convnet_bn"), CONTEXT, "none")
    with refused("needs a bank|need a bank"):
        Interpolated().make(NETWORK, CONTEXT._replace(experts=None), "none")
    with refused("--calibration=1 needs trained networks"):
        override(toy_recipe("dm"), {"calibration": 1.0})
    with refused("the learner source Spans"):
        dataclasses.replace(toy_recipe("mtt"), learner=Interpolated())


def test_the_calibration_alone_is_the_cross_entropy_of_the_trained_network(x64):
    """Its gradient is that of the summed means, and padding has none."""
    nothing = lambda key, synthetic, learner, inputs, step: (
        0.0 * jnp.sum(synthetic.images),
        {"match": jnp.zeros(())},
    )
    objective = calibrated(nothing, NETWORK, augment.siamese(()), 2.0)
    inputs, start = to64(INPUTS), to64(start_for(toy_recipe("ncfm")))
    start = start._replace(labels=start.labels.at[1, 1].set(0))
    learner = to64(new_learner(NETWORK, 5))
    trained = Learner(inputs.span.target, {})

    def by_hand(images):
        total = 0.0
        for k in range(3):
            outputs, _ = NETWORK.apply(trained.params, {}, images[k], False)
            logs = jax.nn.log_softmax(outputs.logits)[:, k]
            weights = start.labels[k].sum(-1)
            total -= 2.0 * jnp.sum(weights * logs) / weights.sum()
        return total

    def ours(images):
        synthetic = start._replace(images=images)
        return objective(KEY, synthetic, learner, inputs, STEP)[0]

    value, gradient = jax.value_and_grad(ours)(start.images)
    expected, by_definition = jax.value_and_grad(by_hand)(start.images)
    np.testing.assert_allclose(value, expected, rtol=1e-9)
    np.testing.assert_allclose(gradient, by_definition, rtol=1e-8, atol=1e-12)
    assert not gradient[1, 1].any()


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_the_calibration_joins_the_match_with_its_weight(weight):
    recipe = toy_recipe("ncfm", augmentation="none", calibration=weight)
    objective = jax.jit(objective_of(NETWORK, recipe, CONTEXT))
    learner = new_learner(NETWORK)
    loss, info = objective(KEY, start_for(recipe), learner, INPUTS, STEP)
    calibration = info.get("calibration", 0.0)
    assert ("calibration" in info) == (weight > 0)
    np.testing.assert_allclose(loss, info["match"] + weight * calibration, rtol=1e-5)
