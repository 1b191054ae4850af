"""The loss of a student through a window of its training, in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.modifiers.masks import make_mask
from jaxdd.modifiers.sdc import SDC
from jaxdd.objectives.parts import Parts
from jaxdd.objectives.sampling import class_minibatch, minibatch_of_step
from jaxdd.objectives.unrolled import UnrolledLoss, unrolled_match
from jaxdd.primitives import inner_adam
from jaxdd.primitives.losses import mean_loss
from jaxdd.synthetic.sets import flatten
from jaxdd.types import Batch, Inputs, Learner, StepWindow
from tests.helpers import (
    assert_close,
    new_learner,
    refused,
    smooth_network,
    to64,
    toy_batch,
    toy_inputs,
    toy_start,
)

NETWORK, INPUTS = smooth_network(), toy_inputs()
KEY = jax.random.key(3)
STEPS = 2


def plain(key, images):
    return images


def shifted(key, images):
    """An augmentation that is another one for every key."""
    return images + jax.random.uniform(key, dtype=images.dtype)


def a_match(**options):
    prepare = minibatch_of_step(options.pop("inner", plain), images=1)
    optimizer = inner_adam(0.05)
    return unrolled_match(NETWORK, optimizer, prepare, plain, STEPS, **options)


def learner_at(start, length=None):
    learner = to64(new_learner(NETWORK))
    length = None if length is None else jnp.int32(length)
    return learner._replace(window=StepWindow(jnp.int32(start), length))


def naive(synthetic, real, start, loss="cross_entropy", through=lambda params: params):
    """Adam in a Python loop on the same minibatches; plain `jax.grad` goes through."""
    prepare, key = minibatch_of_step(plain, images=1), jax.random.split(KEY)[0]
    inner = mean_loss(NETWORK, loss=loss)
    params = to64(new_learner(NETWORK)).params
    m = v = jax.tree.map(jnp.zeros_like, params)
    data = Batch(synthetic.images, synthetic.labels)
    for i in range(start + STEPS):
        used = jax.lax.stop_gradient(data) if i < start else data
        g = jax.grad(inner)(params, prepare(used, (key, jnp.int32(i))), {})
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, v, g)

        def move(p, m, v, k=i + 1):
            root = jnp.sqrt(v / (1 - 0.999**k))
            return p - 0.05 * m / (1 - 0.9**k) / (root + 1e-8)

        params = jax.tree.map(move, params, m, v)
    return mean_loss(NETWORK)(through(params), real, {})


@pytest.fixture
def problem(x64):
    """A set whose labels are weights of any sum, and a real batch."""
    synthetic = to64(toy_start(INPUTS))
    weights = np.random.default_rng(0).uniform(0.1, 2, synthetic.labels.shape)
    return synthetic._replace(labels=jnp.asarray(weights)), to64(toy_batch(7))


def gradient_of(loss_of, synthetic):
    """The loss, and its gradient w.r.t. images and labels."""

    def of(images, labels):
        return loss_of(synthetic._replace(images=images, labels=labels))

    both = jax.jit(jax.value_and_grad(of, argnums=(0, 1)))
    return both(synthetic.images, synthetic.labels)


def ours(real, learner, **options):
    match = a_match(**options)
    return lambda synthetic: match(KEY, synthetic, real, learner)[0]


@pytest.mark.parametrize(
    ("start", "length", "options"),
    [
        (0, None, {"microbatch": 2}),
        (1, 2, {"longest": 4, "loss": "row_cross_entropy", "microbatch": 2}),
    ],
)
def test_the_gradient_is_that_of_the_naive_loop(problem, start, length, options):
    """Also of learned weights, which no loss normalises, and of a shorter window."""
    synthetic, real = problem
    loss = options.get("loss", "cross_entropy")
    learner = learner_at(start, length)
    actual = gradient_of(ours(real, learner, **options), synthetic)
    expected = gradient_of(lambda s: naive(s, real, start, loss), synthetic)
    assert all(np.abs(g).max() > 1e-5 for g in expected[1])
    assert_close(actual, expected, rtol=1e-8, atol=1e-11)


def test_without_a_window_a_student_starts_at_its_network(problem):
    synthetic, real = problem
    learner = learner_at(0)
    run = jax.jit(lambda learner: ours(real, learner)(synthetic))
    assert float(run(learner)) == float(run(learner._replace(window=None)))


def test_a_mask_drops_what_the_loss_reaches_and_not_what_is_trained(problem):
    """Half of the parameters are constants at the window's end (ours)."""
    synthetic, real = problem
    mask = make_mask("depth", 0.5)
    keep = mask(learner_at(0).params)

    def through(params):
        constant = jax.lax.stop_gradient(params)
        return jax.tree.map(lambda c, k, p: c + k * (p - c), constant, keep, params)

    actual = gradient_of(ours(real, learner_at(0), mask=mask), synthetic)
    expected = gradient_of(lambda s: naive(s, real, 0, through=through), synthetic)
    assert_close(actual, expected, rtol=1e-8, atol=1e-11)


def test_the_evidence_is_of_the_steps_that_were_taken(problem):
    """Norms of the window; a short one repeats their mean."""
    synthetic, real = problem
    run = jax.jit(functools.partial(a_match(longest=4), KEY, synthetic, real))
    long, short = (run(learner_at(1, n))[1] for n in (3, 2))
    assert long.path_norms.shape == (4,)
    two = long.path_norms[:2]
    np.testing.assert_allclose(short.path_norms[:2], two, rtol=1e-12)
    np.testing.assert_allclose(short.path_norms[2:], [two.mean()] * 2, rtol=1e-12)
    assert not np.allclose(long.end["head"]["kernel"], short.end["head"]["kernel"])


def test_every_step_draws_and_augments_anew(x64):
    synthetic = to64(toy_start(INPUTS))
    data = Batch(synthetic.images, synthetic.labels)
    prepare = jax.jit(minibatch_of_step(shifted, classes=2, images=1))
    batches = [prepare(data, (KEY, jnp.int32(i))) for i in range(6)]
    assert_close(prepare(data, (KEY, jnp.int32(3))), batches[3], 0, 0)
    everything = np.asarray(flatten(synthetic).images).reshape(6, -1)
    seen, offsets = set(), []
    for batch in batches:
        assert batch.labels.sum() == 2
        assert len(set(batch.labels.argmax(1).tolist())) == 2
        apart = np.asarray(batch.images).reshape(2, 1, -1) - everything[None]
        flat = np.ptp(apart, axis=2) < 1e-9  # an image and a constant
        assert np.array_equal(flat.sum(1), [1, 1])
        seen |= set(flat.argmax(1).tolist())
        offsets.append(apart[flat][0, 0])
    assert len(seen) > 3
    assert len(set(np.round(offsets, 9))) == 6


def test_padding_is_drawn_last_and_counts_nothing():
    labels = jnp.eye(3)[:, None].repeat(3, axis=1).at[:, 1:].set(0)
    data = Batch(jnp.ones((3, 3, 8, 8, 1)).at[:, 1:].set(0), labels)
    batch = class_minibatch(KEY, data, None, 1)
    assert float(batch.labels.sum()) == float(batch.images.mean()) * 3 == 3
    everything = class_minibatch(KEY, data, None, None)
    assert float(everything.labels.sum()) == 3
    filled = minibatch_of_step(plain, filled=True)(data, (KEY, jnp.int32(0)))
    assert float(filled.images.min()) == 1


def test_the_correction_reaches_the_steps_of_the_window():
    """That at the start of a student is in `test_methods`."""
    start, learner = toy_start(INPUTS), new_learner(NETWORK)
    objective = UnrolledLoss(batch_mixed=8, student_steps=2, student_lr=0.05)
    terms = SDC(1.0, at="path").make(NETWORK)
    made = objective.make(NETWORK, Parts(terms, along_path=True))

    def term(images):
        synthetic = start._replace(images=images)
        return made(KEY, synthetic, learner, INPUTS, jnp.int32(0))[1]["sdc"]

    value, gradient = jax.jit(jax.value_and_grad(term))(start.images)
    assert value > 0
    assert np.all(np.abs(gradient).max(axis=(2, 3, 4)) > 1e-6)


def test_minibatches_of_more_than_there_is_are_refused():
    with refused(None, "--inner_classes=4", "the 3 classes"):
        UnrolledLoss(inner_classes=4).check_run(NETWORK, (8, 8, 1), 3, 2)
    with refused(None, "--inner_images=5", "the 2 images"):
        UnrolledLoss(inner_images=5).check_run(NETWORK, (8, 8, 1), 3, 2)
    UnrolledLoss(inner_classes=3, inner_images=2).check_run(NETWORK, (8, 8, 1), 3, 2)


def test_only_samples_in_play_are_asked_for():
    """FIEX: what the student has to be right on is `inputs.real`."""
    none_of_0 = INPUTS.real._replace(counts=INPUTS.real.counts.at[0].set(0))
    objective = UnrolledLoss(batch_mixed=6, student_steps=1).make(NETWORK, Parts())
    black = lambda x: x._replace(scale=0 * x.scale)
    learner: Learner = new_learner(NETWORK)
    start = toy_start(INPUTS)

    @jax.jit
    def loss(real):
        inputs = Inputs(black(real), black(real))
        return objective(KEY, start, learner, inputs, jnp.int32(0))[0]

    # All real images are black, so that the loss depends on their labels alone.
    assert not np.isclose(loss(INPUTS.real), loss(none_of_0))
