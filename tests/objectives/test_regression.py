"""Regression of features (FRePo): its loss, its derivatives, and its padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd import augment
from jaxdd.modifiers.masks import make_mask
from jaxdd.objectives import regression_match
from jaxdd.objectives.prototypes import margin_loss
from jaxdd.primitives.regression import LARGEST_RESIDUAL, solve_ridge
from jaxdd.synthetic.labels import centred
from jaxdd.types import Batch, Learner, Network, Outputs, Synthetic
from tests.helpers import CLASSES, SHAPE, refused, smooth_network, to64, toy_batch

PLAIN = augment.siamese(())
NETWORK = smooth_network(hidden=8)
KEY, RIDGE = jax.random.key(9), 1e-3


def learner_at(network=NETWORK) -> Learner:
    return to64(Learner(*network.init(jax.random.key(0))))


def real_batch(size=7) -> Batch:
    batch = to64(toy_batch(size))
    return batch._replace(
        labels=jnp.eye(CLASSES, dtype=jnp.float64)[np.arange(size) % 3]
    )


def targets(ipc=2, seed=3) -> Synthetic:
    """Images with targets that are learned, so that no two labels are alike."""
    images = to64(toy_batch(CLASSES * ipc, seed=seed)).images
    noise = jax.random.normal(jax.random.key(seed), (CLASSES, ipc, CLASSES))
    labels = centred(jnp.eye(CLASSES))[:, None] + 0.1 * noise
    shape = CLASSES, ipc, *SHAPE
    return Synthetic(images.reshape(shape), labels.astype(jnp.float64), jnp.float64(0))


def value_of(learner, real, **options):
    match = regression_match(NETWORK, PLAIN, ridge=RIDGE, **options)
    return jax.jit(lambda synthetic: match(KEY, synthetic, real, learner)[0])


def slow_loss(learner, real, synthetic, flip=False):
    """Its definition in NumPy, row by row, with an explicit inverse."""
    images = np.asarray(synthetic.images).reshape(-1, *SHAPE)
    labels = np.asarray(synthetic.labels).reshape(-1, CLASSES)
    rows, goals = [*images], [*labels]
    if flip:
        rows, goals = rows + [x[:, ::-1] for x in images], [*goals, *labels]

    def phi(x):
        return np.tanh(x.reshape(-1) @ body["kernel"] + body["bias"])

    body = jax.tree.map(np.asarray, learner.params["body"])
    features = np.stack([phi(x) for x in rows])
    kernel = features @ features.T
    system = kernel + RIDGE * np.trace(kernel) / len(rows) * np.eye(len(rows))
    head = features.T @ np.linalg.inv(system) @ np.stack(goals)
    losses = [
        0.5 * np.sum((phi(x) @ head - (y - 1 / CLASSES)) ** 2)
        for x, y in zip(np.asarray(real.images), np.asarray(real.labels), strict=True)
    ]
    short = [max(0, 1 / CLASSES - (np.sort(y)[-1] - np.sort(y)[-2])) for y in labels]
    return np.mean(losses) + np.mean(short)


@pytest.mark.parametrize("flip", [False, True])
def test_the_loss_is_its_definition(x64, flip):
    learner, real, synthetic = learner_at(), real_batch(), targets()
    value = value_of(learner, real, flip=flip)(synthetic)
    assert float(value) == pytest.approx(slow_loss(learner, real, synthetic, flip))


def test_derivatives_are_those_of_finite_differences(x64):
    """At four images, along random directions of images and of labels."""
    learner, real = learner_at(), real_batch()
    synthetic = jax.tree.map(lambda x: x[:, :1] if x.ndim else x, targets())
    value = value_of(learner, real)
    gradient = jax.grad(value)(synthetic)
    for seed, name in enumerate(("images", "labels")):
        at = getattr(synthetic, name)
        along = jax.random.normal(jax.random.key(seed), at.shape, at.dtype)
        ends = [
            value(synthetic._replace(**{name: at + sign * 1e-5 * along}))
            for sign in (1, -1)
        ]
        slope = jnp.sum(getattr(gradient, name) * along)
        assert float(slope) == pytest.approx(float(ends[0] - ends[1]) / 2e-5, rel=1e-6)


def test_a_set_that_is_the_real_batch_predicts_its_labels(x64):
    """More features than rows and almost no ridge: nothing is left of the loss."""
    real = real_batch(6)
    order = np.argsort(np.argmax(real.labels, -1), kind="stable")
    synthetic = Synthetic(
        real.images[order].reshape(CLASSES, 2, *SHAPE),
        centred(real.labels[order]).reshape(CLASSES, 2, CLASSES),
        jnp.float64(0),
    )
    match = regression_match(NETWORK, PLAIN, ridge=1e-12)
    value, evidence = match(KEY, synthetic, real, learner_at())
    assert float(value) < 1e-10
    assert float(evidence.info["residual"]) < 1e-8


def test_permuted_images_have_permuted_gradients(x64):
    learner, real, synthetic = learner_at(), real_batch(), targets()
    order = jnp.array([2, 0, 1])
    gradient = jax.grad(value_of(learner, real))
    turned = jax.tree.map(lambda x: x[order] if x.ndim else x, synthetic)
    before, after = gradient(synthetic), gradient(turned)
    np.testing.assert_allclose(after.images, before.images[order], atol=1e-12)
    np.testing.assert_allclose(after.labels, before.labels[order], atol=1e-12)


def test_mirror_images_add_their_gradient_mirrored_back(x64):
    """As of a set of twice as many images of which the second half is the mirror."""
    learner, real, synthetic = learner_at(), real_batch(), targets()
    mirrored = synthetic.images[:, :, :, ::-1]
    double = synthetic._replace(
        images=jnp.concatenate([synthetic.images, mirrored], axis=1),
        labels=jnp.concatenate([synthetic.labels, synthetic.labels], axis=1),
    )
    both = jax.grad(value_of(learner, real))(double).images
    own = jax.grad(value_of(learner, real, flip=True))(synthetic).images
    assert synthetic.images.shape[1] == 2
    expected = both[:, :2] + both[:, 2:, :, ::-1]
    np.testing.assert_allclose(own, expected, atol=1e-12)


def test_padding_changes_nothing(x64):
    """Rows of zero labels between the images, with anything as their pixels."""
    learner, real, synthetic = learner_at(), real_batch(), targets()
    loud = 7.0 + synthetic.images[:, :1]
    padded = synthetic._replace(
        images=jnp.concatenate([loud, synthetic.images], axis=1),
        labels=jnp.pad(synthetic.labels, ((0, 0), (1, 0), (0, 0))),
    )
    value = value_of(learner, real, flip=True)
    plain, with_rows = (jax.value_and_grad(value)(x) for x in (synthetic, padded))
    assert float(with_rows[0]) == pytest.approx(float(plain[0]), rel=1e-12)
    np.testing.assert_allclose(with_rows[1].images[:, 1:], plain[1].images, atol=1e-12)
    assert not with_rows[1].images[:, 0].any()


def test_padding_of_the_real_side_changes_nothing(x64):
    """There are such rows where earlier images stand for real ones (D4A)."""
    learner, synthetic, real = learner_at(), targets(), real_batch(5)
    longer = jax.tree.map(lambda x: jnp.concatenate([x, jnp.zeros_like(x[:2])]), real)
    short, long = (float(value_of(learner, x)(synthetic)) for x in (real, longer))
    assert long == pytest.approx(short, rel=1e-12)


def test_probabilities_are_centred_and_targets_are_not(x64):
    learner, real, synthetic = learner_at(), real_batch(), targets()
    hard = jnp.broadcast_to(jnp.eye(CLASSES)[:, None], synthetic.labels.shape)
    one_hot = synthetic._replace(labels=hard.astype(jnp.float64))
    centre = one_hot._replace(labels=one_hot.labels - 1 / CLASSES)
    as_labels = value_of(learner, real, as_targets=False)(one_hot)
    assert float(as_labels) == pytest.approx(float(value_of(learner, real)(centre)))


def test_a_margin_that_is_wide_enough_costs_nothing():
    labels = jnp.array([[0.6, 0.1, 0.0], [0.2, 0.1, 0.0], [0.0, 0.0, 0.0]])
    value, gradient = jax.value_and_grad(margin_loss)(labels, 1 / 3)
    assert float(value) == pytest.approx((1 / 3 - 0.1) / 2)
    np.testing.assert_allclose(gradient, [[0, 0, 0], [-0.5, 0.5, 0], [0, 0, 0]])


@pytest.mark.parametrize("kind", ["depth", "loss"])
def test_masked_features_do_not_enter_the_kernel(x64, kind):
    """By depth, the first block is dropped: what is left is the last one alone."""
    learner, real, synthetic = learner_at(), real_batch(), targets()
    mask = make_mask(kind, 64 / (64 + 8))
    masked = value_of(learner, real, features="all", mask=mask)(synthetic)
    last = value_of(learner, real)(synthetic)
    whole = value_of(learner, real, features="all")(synthetic)
    assert float(masked) != pytest.approx(float(whole))
    assert (float(masked) == pytest.approx(float(last))) == (kind == "depth")
    with refused("--features=all"):
        regression_match(NETWORK, PLAIN, mask=mask)


def test_evidence_has_the_gradient_of_the_loss_of_targets(x64):
    """For targets half the squared distance; a padding row has no share in it."""
    learner, real, synthetic = learner_at(), real_batch(), targets()
    synthetic = synthetic._replace(labels=synthetic.labels.at[0, 0].set(0))
    match = regression_match(NETWORK, PLAIN)
    gradient = match(KEY, synthetic, real, learner)[1].mean_gradient()
    images = synthetic.images.reshape(-1, *SHAPE)[1:]
    labels = synthetic.labels.reshape(-1, CLASSES)[1:]

    def loss(params):
        logits = NETWORK.apply(params, {}, images, False)[0].logits
        return jnp.sum((logits - labels) ** 2) / 2 / len(images)

    expected = jax.grad(loss)(learner.params)
    for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_a_solve_that_fails_has_an_infinite_residual():
    """A kernel that is not positive, and one that is beyond float32."""
    good = solve_ridge(jnp.eye(2), jnp.float32(1), jnp.eye(2))
    assert float(good.residual) < 1e-6 < LARGEST_RESIDUAL
    bad = solve_ridge(-jnp.eye(2), jnp.float32(1e-6), jnp.eye(2))
    assert float(bad.residual) == np.inf
    rows = np.vander(np.linspace(0, 1, 12, dtype=np.float32), 4)
    kernel = jnp.asarray(1e6 * rows @ rows.T)
    lost = solve_ridge(kernel, jnp.float32(1e-9), jnp.eye(12))
    assert float(lost.residual) == np.inf


def test_dead_features_are_a_failed_solve():
    dead = Network(
        NETWORK.init,
        lambda params, stats, images, train: (
            Outputs(jnp.zeros((len(images), CLASSES)), (jnp.zeros((len(images), 4)),)),
            stats,
        ),
    )
    batch = toy_batch(6)
    synthetic = Synthetic(
        batch.images.reshape(3, 2, *SHAPE),
        batch.labels.reshape(3, 2, 3),
        jnp.float32(0),
    )
    match = regression_match(dead, PLAIN)
    learner = Learner(*NETWORK.init(jax.random.key(0)))
    assert match(KEY, synthetic, batch, learner)[1].info["residual"] == jnp.inf
