"""The lift of a match of the whole set with one mixed batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdd
from jaxdd.objectives import forgetting, per_batch
from jaxdd.types import Inputs, Learner, Synthetic

KEY, STEP = jax.random.key(0), jnp.int32(0)
NOWHERE = Learner({}, {})


def apart(key, synthetic, real, learner):
    """Squared distance of the mean images, and nothing that a term could use."""
    weights = jnp.any(synthetic.labels != 0, axis=-1)
    total = jnp.einsum("kn,knhwc->hwc", weights, synthetic.images)
    mean = total / jnp.sum(weights)
    return jnp.sum((mean - jnp.mean(real.images, axis=0)) ** 2), None


def a_set(value, classes=2, padding=0):
    images = jnp.full((classes, 1 + padding, 1, 1, 1), float(value))
    labels = jnp.eye(classes)[:, None].repeat(1 + padding, axis=1)
    absent = jnp.arange(1 + padding)[None, :, None] > 0
    return Synthetic(images, jnp.where(absent, 0, labels), jnp.float32(0))


@pytest.fixture
def real():
    images = np.full((6, 1, 1, 1), 3.0, np.float32)
    return jaxdd.real_data(images, np.arange(6) % 2, 2)


def test_the_match_sees_a_mixed_batch_of_the_samples_in_play(real):
    none_of_class_0 = real._replace(counts=jnp.array([0, 3], jnp.int32))
    seen = []

    def match(key, synthetic, real, learner):
        seen.append(real)
        return apart(key, synthetic, real, learner)

    objective = per_batch(match, size=3)
    loss, info = objective(KEY, a_set(1), NOWHERE, Inputs(none_of_class_0, real), STEP)
    assert float(loss) == float(info["match"]) == 4
    assert seen[0].labels.tolist() == [[0, 1]] * 3


def test_earlier_images_are_matched_without_a_gradient(real):
    objective = per_batch(apart, size=4)

    def loss(images, earlier):
        new, inputs = (
            a_set(1)._replace(images=images),
            Inputs(real, real, None, earlier),
        )
        return objective(KEY, new, NOWHERE, inputs, STEP)[0]

    with_gradients = jax.value_and_grad(loss, (0, 1))
    # The mean of 1 and 5 is that of the real images; padding has no part in it.
    assert float(with_gradients(a_set(1).images, a_set(5, padding=1))[0]) == 0
    value, gradients = with_gradients(a_set(1).images, a_set(7))
    assert float(value) == 1
    assert float(jnp.abs(gradients[0]).min()) > 0
    assert not jax.tree.leaves(jax.tree.map(jnp.any, gradients[1]))[0]


@pytest.mark.parametrize(
    ("kind", "penalty"),
    [
        # New images of 1 beside earlier ones of 7.
        ("proxy", 36.0),
        # Old and new images, 4 on average, beside all real samples of 3.
        ("replay", 1.0),
    ],
)
def test_what_must_not_be_forgotten(real, kind, penalty):
    objective = per_batch(apart, 4, remember=forgetting(kind, 0.5))
    inputs = Inputs(real, real, None, a_set(7))
    loss, info = objective(KEY, a_set(1), NOWHERE, inputs, STEP)
    assert float(info["forgetting"]) == penalty
    assert float(loss) == float(info["match"]) + 0.5 * penalty
    first = inputs._replace(earlier=jax.tree.map(jnp.zeros_like, a_set(7)))
    assert float(objective(KEY, a_set(1), NOWHERE, first, STEP)[1]["forgetting"]) == 0
