"""Penalties and their weights, each against a formula."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized

from jaxdd.errors import UserError
from jaxdd.modifiers.sdc import NORMS, sdc
from jaxdd.modifiers.terms import SCHEDULES, WeightedTerm, weight_schedule
from jaxdd.objectives import add_terms
from jaxdd.primitives.evidence import known_gradient, later_gradient
from jaxdd.types import Batch, Evidence, Learner, PathEvidence
from tests.helpers import assert_close, linear_network, new_learner, refused, toy_batch

NETWORK = linear_network(64)
KEY = jax.random.key(0)


def sample_gradients(learner, batch):
    """Gradients of the linear network, sample by sample: [B, P], in NumPy."""
    flat = np.asarray(batch.images, float).reshape(len(batch.labels), -1)
    logits = flat @ np.asarray(learner.params["kernel"]) + learner.params["bias"]
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    labels = np.asarray(batch.labels)
    error = p * labels.sum(1, keepdims=True) - labels
    kernel = flat[:, :, None] * error[:, None, :]
    return np.concatenate([kernel.reshape(len(flat), -1), error], 1)


def evidence_of(learner, batch, train=False) -> Evidence:
    """The evidence of a match that computes no gradient."""
    return Evidence(batch, later_gradient(NETWORK, learner, batch, train))


def expected_norm(norm, gradients, present):
    if norm == "mean":
        return np.linalg.norm(gradients.sum(0) / present)
    return np.linalg.norm(gradients, axis=1).sum() / present


class TestNorms(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.product(norm=NORMS, padding=(0, 2))
    def test_sdc_is_the_norm_of_its_name(self, norm, padding):
        learner, batch = new_learner(NETWORK), toy_batch(5, padding=padding)
        gradients = sample_gradients(learner, batch)
        expected = expected_norm(norm, gradients, 5 - padding)
        evidence = evidence_of(learner, batch)
        value = self.variant(sdc(NETWORK, norm))(KEY, learner, evidence)
        np.testing.assert_allclose(value, expected, rtol=1e-4)


def test_the_mean_norm_takes_the_gradient_that_the_match_computed():
    learner, batch = new_learner(NETWORK), toy_batch(5)
    given = {"kernel": jnp.full((64, 3), 2.0), "bias": jnp.zeros(3)}
    value = sdc(NETWORK, "mean")(KEY, learner, Evidence(batch, known_gradient(given)))
    np.testing.assert_allclose(value, 2 * np.sqrt(64 * 3), rtol=1e-6)


@pytest.mark.parametrize("norm", NORMS)
def test_a_jitted_term_is_compiled_once(norm):
    """Every step makes its evidence anew, in either form."""
    learner, term = new_learner(NETWORK), jax.jit(sdc(NETWORK, norm))
    batches = toy_batch(5), toy_batch(5)
    for batch in batches:
        term(KEY, learner, evidence_of(learner, batch))
    assert term._cache_size() == 1
    for batch in batches:
        term(KEY, learner, Evidence(batch, known_gradient(learner.params)))
    assert term._cache_size() == 2


@pytest.mark.parametrize("norm", NORMS)
def test_a_vanishing_gradient_has_a_finite_derivative(norm):
    """Labels equal to the predictions: the norm is zero and must not give NaN."""
    zero = jax.tree.map(jnp.zeros_like, new_learner(NETWORK).params)
    labels = jnp.full((2, 3), 1 / 3)

    def value(images):
        learner = Learner(zero, {})
        evidence = evidence_of(learner, Batch(images, labels))
        return jax.jit(sdc(NETWORK, norm))(KEY, learner, evidence)

    gradient = jax.jit(jax.grad(value))(toy_batch(2).images)
    chex.assert_tree_all_finite(gradient)


def test_along_a_path_sdc_is_the_mean_of_the_students_norms():
    evidence = PathEvidence(toy_batch(5), None, jnp.array([1.0, 2.0, 6.0]), None)
    value = sdc(NETWORK, at="path")(KEY, new_learner(NETWORK), evidence)
    assert float(value) == pytest.approx(3)
    term = sdc(NETWORK, at="path")
    with pytest.raises(UserError, match="sdc_at='path' needs a method"):
        term(KEY, new_learner(NETWORK), Evidence(toy_batch(5), None))


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ({"norm": "max"}, "mean, per_sample"),
        ({"norm": "per_sample", "at": "path"}, "per_sample.*offered along the path"),
        ({"at": "end"}, "unknown sdc_at='end'.*start, path"),
    ],
)
def test_unknown_choices_are_the_users_error(choice, told):
    with refused(told):
        sdc(NETWORK, **choice)


@pytest.mark.parametrize("microbatch", [2, 8])
def test_microbatches_do_not_change_the_mean_norm_or_its_gradient(microbatch):
    learner, batch = new_learner(NETWORK), toy_batch(5, padding=1)

    def both(microbatch):
        def value(images):
            evidence = evidence_of(learner, Batch(images, batch.labels))
            return sdc(NETWORK, microbatch=microbatch)(KEY, learner, evidence)

        return jax.jit(jax.value_and_grad(value))(batch.images)

    assert_close(both(microbatch), both(None), rtol=1e-4, atol=1e-7)


SHAPES = {
    "constant": lambda progress: 1.0,
    "linear": lambda progress: progress,
    "log": lambda progress: np.log(1 + 99 * progress) / np.log(100),
}


def at(schedule, step):
    return float(schedule(jnp.int32(step)))


@pytest.mark.parametrize("weight", [0.3, -2.0])
@pytest.mark.parametrize("kind", SCHEDULES)
def test_schedules_follow_their_formula_up_to_the_horizon(kind, weight):
    schedule = weight_schedule(kind, weight, 40)
    for step in (0, 1, 10, 20, 40):
        expected = weight * SHAPES[kind](step / 40)
        assert at(schedule, step) == pytest.approx(expected, rel=1e-5, abs=1e-7)
    for step in (41, 4000):
        assert at(schedule, step) == pytest.approx(weight, rel=1e-5)


def test_a_horizon_of_zero_arrives_at_once():
    assert at(weight_schedule("linear", 0.5, 0), 1) == 0.5


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("kind", SCHEDULES)
def test_a_weight_that_is_not_finite_is_the_users_error(kind, weight):
    with pytest.raises(UserError, match="finite"):
        weight_schedule(kind, weight, 10)


def test_an_unknown_schedule_is_the_users_error():
    with pytest.raises(UserError, match="constant, linear, log"):
        weight_schedule("cosine", 1.0, 10)


def quadratic_match(key, synthetic, real, learner):
    value = jnp.sum((synthetic.images - real.images) ** 2)
    return value, Evidence(synthetic, None)


def penalty_of_pixels(key, learner, evidence):
    return jnp.sum(jnp.abs(evidence.batch.images))


def weighted(relative, weight=0.1, share=0.25):
    """(value, gradient, info) with one penalty; and the same parts by hand."""
    schedule = weight_schedule("constant", weight, 1)
    entry = WeightedTerm(schedule, penalty_of_pixels, relative)
    objective = add_terms(quadratic_match, {"pixels": entry})
    synthetic, real = toy_batch(2, seed=0), toy_batch(2, seed=1)
    learner = new_learner(NETWORK)

    def value(images):
        batch = synthetic._replace(images=images)
        return objective(KEY, batch, real, learner, jnp.int32(0), share)

    both = jax.jit(jax.value_and_grad(value, has_aux=True))
    (total, info), gradient = both(synthetic.images)
    x, y = np.asarray(synthetic.images), np.asarray(real.images)
    match, penalty = ((x - y) ** 2).sum(), np.abs(x).sum()
    return (total, gradient, info), (match, penalty, 2 * (x - y), np.sign(x))


def test_absolute_and_relative_weights():
    (total, gradient, info), (match, penalty, by_match, by_penalty) = weighted(False)
    np.testing.assert_allclose(total, match + 0.1 * 0.25 * penalty, rtol=1e-5)
    np.testing.assert_allclose(gradient, by_match + 0.1 * 0.25 * by_penalty, rtol=1e-4)
    np.testing.assert_allclose(info["match"], match, rtol=1e-5)
    np.testing.assert_allclose(info["pixels"], penalty * 0.25, rtol=1e-5)
    (total, gradient, info), (match, penalty, by_match, by_penalty) = weighted(True)
    np.testing.assert_allclose(total, 1.1 * match, rtol=1e-5)
    # The unit is a constant: the penalty keeps its own direction.
    unit = match / penalty
    expected = by_match + 0.1 * unit * by_penalty
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(info["pixels"], penalty * 0.25, rtol=1e-5)


def test_a_relative_weight_of_a_penalty_that_is_zero_is_finite():
    term = lambda key, learner, evidence: 0 * jnp.sum(evidence.batch.images)
    schedule = weight_schedule("constant", 0.1, 1)
    objective = add_terms(quadratic_match, {"none": WeightedTerm(schedule, term, True)})
    total, _ = objective(
        KEY, toy_batch(2), toy_batch(2, seed=1), new_learner(NETWORK), jnp.int32(0), 1
    )
    chex.assert_tree_all_finite(total)


def test_terms_get_keys_of_their_own_and_the_match_keeps_its_key():
    seen = {}

    def match(key, synthetic, real, learner):
        seen["match"] = jax.random.key_data(key).tolist()
        return jnp.zeros(()), Evidence(synthetic, None)

    def term(name):
        def penalty(key, learner, evidence):
            seen[name] = jax.random.key_data(key).tolist()
            return jnp.zeros(())

        return WeightedTerm(weight_schedule("constant", 1.0, 1), penalty)

    arguments = KEY, toy_batch(2), toy_batch(2), new_learner(NETWORK), jnp.int32(0), 1
    add_terms(match, {})(*arguments)
    alone = seen["match"]
    add_terms(match, {"a": term("a"), "b": term("b")})(*arguments)
    assert seen["match"] == alone
    assert len({tuple(x) for x in seen.values()}) == 3


def test_a_weight_may_be_traced():
    weights = jax.vmap(lambda w: weight_schedule("linear", w, 10)(jnp.int32(5)))
    assert np.allclose(weights(jnp.arange(3.0)), [0, 0.5, 1])
    with refused("must be a finite number"):
        weight_schedule("linear", float("nan"), 10)
