"""Trajectory matching against slow loops and finite differences."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd import augment
from jaxdd.modifiers.masks import make_mask
from jaxdd.modifiers.sdc import sdc
from jaxdd.modifiers.terms import WeightedTerm, weight_schedule
from jaxdd.objectives import per_span
from jaxdd.objectives.trajectory import minibatches, trajectory_match
from jaxdd.primitives.losses import mean_loss
from jaxdd.types import Batch, Inputs, Span, Synthetic
from tests.helpers import (
    assert_close,
    flat,
    new_learner,
    smooth_network,
    tiny_network,
    to64,
    toy_inputs,
    toy_real,
    toy_start,
)

KEY = jax.random.key(0)
STEPS = 4
BATCH = 4  # of 6 images: every second minibatch is short
SMOOTH = smooth_network()
PLAIN = lambda key, images: images
# One of three per step, each of another kind: more of them take long to compile.
AUGMENT = augment.per_image(augment.dsa("color_crop_rotate"))


# --- Minibatches --------------------------------------------------------------------


draw = jax.jit(minibatches, static_argnums=(2, 3))


def all_of(count):
    """Every row is an image."""
    return jnp.ones(count, bool)


@pytest.mark.parametrize(
    ("count", "size"), [(6, 2), (7, 3), (5, 4), (6, 6), (6, 9), (6, None), (1, 1)]
)
def test_every_pass_sees_every_image_once(count, size):
    passes, per_pass = 5, -(-count // min(size or count, count))
    indices, weights = draw(KEY, all_of(count), size, passes * per_pass)
    assert indices.shape == weights.shape == (passes * per_pass, min(size or 99, count))
    assert set(np.unique(weights)) <= {0.0, 1.0}
    orders = []
    for i in range(passes):
        rows = slice(i * per_pass, (i + 1) * per_pass)
        orders.append(indices[rows][weights[rows] > 0].tolist())
        assert sorted(orders[-1]) == list(range(count))
        # Only the last minibatch of a pass may be short.
        assert np.all(weights[rows][:-1] == 1)
    if count > 3:
        assert len(set(map(tuple, orders))) > 1  # every pass is a new permutation


@pytest.mark.parametrize("size", [2, 3, None])
def test_padding_is_never_seen(size):
    """Passes are over the images alone, wherever padding stands between them."""
    present = np.array([1, 0, 1, 1, 0, 0, 1, 1], bool)
    given, width = np.flatnonzero(present).tolist(), size or 8
    per_pass = -(-5 // width)
    indices, weights = draw(KEY, jnp.asarray(present), size, 4 * per_pass)
    assert indices.shape == weights.shape == (4 * per_pass, width)
    assert set(indices.ravel().tolist()) <= set(given)  # also with weight 0
    for i in range(4):
        rows = slice(i * per_pass, (i + 1) * per_pass)
        assert sorted(indices[rows][weights[rows] > 0].tolist()) == given


def test_minibatches_of_a_student():
    indices, weights = draw(KEY, all_of(10), 3, 6)
    assert indices.shape == weights.shape == (6, 3)
    assert len(set(indices[:3].ravel().tolist())) == 9
    assert weights.sum(axis=1).tolist() == [3, 3, 3, 1, 3, 3]
    a, b = (draw(jax.random.key(i), all_of(10), 3, 4)[0] for i in range(2))
    assert not np.array_equal(a, b)
    _, weights = draw(KEY, jnp.zeros(6, bool), 2, 4)
    assert not np.any(weights)


# --- The loss -----------------------------------------------------------------------


def problem(network, step_size=0.3):
    """Six images in three classes, with soft labels; start and target of a span."""
    start = toy_start(toy_inputs(), ipc=2)
    labels = jax.nn.softmax(jnp.asarray(logits_of(start.labels)))
    start = Synthetic(start.images, labels, jnp.float32(step_size))
    learner = new_learner(network)
    target = jax.tree.map(
        lambda a, b: a + 0.3 * (b - a), learner.params, new_learner(network, 1).params
    )
    return start, target, learner


def logits_of(labels):
    noise = np.random.default_rng(5).normal(size=labels.shape)
    return (2 * np.asarray(labels) + 0.3 * noise).astype(np.float32)


@functools.cache
def slow_gradient(network):
    return jax.jit(jax.grad(mean_loss(network, True)))


def slow_student(network, augmentation, synthetic, learner, batch_size, steps=STEPS):
    """Plain SGD in a Python loop: all parameters, gradients and seen batches."""
    images = synthetic.images.reshape(-1, *synthetic.images.shape[2:])
    labels = synthetic.labels.reshape(-1, synthetic.labels.shape[-1])
    key_order, key_augment = jax.random.split(KEY)
    chosen = draw(key_order, all_of(len(labels)), batch_size, steps)
    keys = jax.random.split(key_augment, steps)
    gradient = slow_gradient(network)
    params, gradients, seen = [learner.params], [], []
    for key, indices, weights in zip(keys, *chosen, strict=True):
        # The rows of weight zero are there for the augmentation, not for the student.
        rows = np.flatnonzero(weights)
        made = jax.jit(augmentation)(key, images[indices])
        seen.append(Batch(made[rows], labels[indices[rows]]))
        gradients.append(gradient(params[-1], seen[-1], learner.stats))
        update = lambda p, g: p - synthetic.step_size * g
        params.append(jax.tree.map(update, params[-1], gradients[-1]))
    return params, gradients, seen


def squared_distance(a, b):
    return np.square(flat(a) - flat(b))


@pytest.mark.parametrize(
    ("augmentation", "batch_size"),
    [
        (AUGMENT, BATCH),
        (PLAIN, None),
        pytest.param(PLAIN, 100, marks=pytest.mark.slow),
    ],
    ids=["minibatches", "whole set", "at most the set"],
)
def test_the_loss_equals_a_slow_loop(x64, augmentation, batch_size):
    start, target, learner = to64(problem(SMOOTH))
    params, gradients, seen = slow_student(
        SMOOTH, augmentation, start, learner, batch_size
    )
    match = trajectory_match(SMOOTH, augmentation, STEPS, batch_size)
    value, evidence = jax.jit(match)(KEY, start, target, learner)
    missed = squared_distance(params[-1], target).sum()
    expected = missed / squared_distance(params[0], target).sum()
    np.testing.assert_allclose(value, expected, rtol=1e-10)
    assert abs(expected - 1) > 1e-2
    norms = [np.linalg.norm(flat(g)) for g in gradients]
    np.testing.assert_allclose(evidence.path_norms, norms, rtol=1e-10)
    # The first batch is full, as every first batch of a pass.
    assert_close(evidence.batch, seen[0], rtol=1e-12)
    first = flat(evidence.mean_gradient())
    np.testing.assert_allclose(first, flat(gradients[0]), rtol=1e-9, atol=1e-12)


def test_a_student_with_batch_norm_trains_with_the_statistics_of_its_batches(x64):
    network = tiny_network("convnet_bn")
    start, target, learner = to64(problem(network))
    params, _, _ = slow_student(network, PLAIN, start, learner, None)
    match = trajectory_match(network, PLAIN, STEPS)
    value, _ = jax.jit(match)(KEY, start, target, learner)
    missed = squared_distance(params[-1], target).sum()
    expected = missed / squared_distance(params[0], target).sum()
    np.testing.assert_allclose(value, expected, rtol=1e-10)


# --- Masks --------------------------------------------------------------------------


@pytest.mark.parametrize("granularity", ["scalar", "layer"])
@pytest.mark.parametrize("kind", ["depth", "loss"])
def test_a_mask_restricts_numerator_and_denominator_alike(x64, kind, granularity):
    start, target, learner = to64(problem(SMOOTH))
    params, _, _ = slow_student(SMOOTH, PLAIN, start, learner, BATCH)
    # The body has 520 of 547 parameters, the head 27.
    ratio = 0.96 if kind == "depth" else 0.4
    mask = make_mask(kind, ratio, granularity)
    match = trajectory_match(SMOOTH, PLAIN, STEPS, BATCH, mask=mask)
    value, _ = jax.jit(match)(KEY, start, target, learner)
    missed = squared_distance(params[-1], target)
    begun = squared_distance(params[0], target)
    if granularity == "layer" and kind == "depth":
        kept = np.arange(547) >= 520  # "body" comes before "head" also in tree order
    elif granularity == "layer":
        kept = np.arange(547) < 520
    elif kind == "loss":
        kept = np.argsort(np.argsort(missed)) >= int(0.4 * 547)
    else:
        kept = flat(mask(jax.tree.map(jnp.ones_like, target))) > 0
    expected = missed[kept].sum() / begun[kept].sum()
    np.testing.assert_allclose(value, expected, rtol=1e-10)
    assert abs(expected - missed.sum() / begun.sum()) > 1e-3


# --- Exact hyper-gradients ----------------------------------------------------------

EPSILON = 1e-6
# A step size at which the student moves far, so that all steps count.
FAR = 0.8


def codes_of(start):
    """What the image optimiser updates: images, label logits and step size."""
    return (
        start.images,
        jnp.asarray(logits_of(start.labels), start.images.dtype),
        start.step_size,
    )


def directions(codes, count=2):
    """Random directions in images and in logits, and the step size itself."""
    rng = np.random.default_rng(7)
    found = []
    for i, x in enumerate(codes[:2]):
        for _ in range(count):
            one = [np.zeros(c.shape) for c in codes]
            one[i] = rng.normal(size=x.shape)
            found.append(one)
    found.append([np.zeros(c.shape) for c in codes[:2]] + [np.ones(())])
    return tuple(jnp.asarray(np.stack(leaves)) for leaves in zip(*found, strict=True))


def assert_exact(values, codes, rtol=1e-6):
    """Directional derivatives of all values, by gradients and central differences."""
    along = directions(codes)

    @jax.jit
    def gradients(codes):
        found, pull = jax.vjp(values, codes)
        return jax.lax.map(lambda v: pull(v)[0], jnp.eye(len(found)))

    by_gradient = sum(
        np.tensordot(d.reshape(len(d), -1), g.reshape(len(g), -1), (1, 1))
        for d, g in zip(along, gradients(codes), strict=True)
    )

    @jax.jit
    def shifted(offset):
        move = lambda d: jax.tree.map(lambda c, x: c + offset * x, codes, d)
        return jax.lax.map(lambda d: values(move(d)), along)

    by_differences = (shifted(EPSILON) - shifted(-EPSILON)) / (2 * EPSILON)
    for derivatives in by_differences.T:
        assert np.sum(np.abs(derivatives) > 1e-3) >= len(along[0]) - 1
    np.testing.assert_allclose(by_gradient, by_differences, rtol, atol=1e-8)


def objective_values(network, augmentation, terms, **options):
    """(images, label logits, step size) -> [match, each term]."""
    start, target, learner = to64(problem(network, FAR))
    one = weight_schedule("constant", 1.0, 1)
    named = {name: WeightedTerm(one, term) for name, term in terms.items()}
    match = trajectory_match(network, augmentation, STEPS, BATCH, **options)
    objective, real = per_span(match, named), toy_real()
    inputs = Inputs(real, real, Span(learner.params, target))

    def values(codes):
        images, logits, step_size = codes
        synthetic = Synthetic(images, jax.nn.softmax(logits), step_size)
        loss, info = objective(KEY, synthetic, learner, inputs, jnp.int32(0))
        return jnp.stack([loss, *(info[name] for name in ("match", *terms))])

    return values, codes_of(start)


def both_terms(network, norm="mean"):
    return {"start": sdc(network, norm), "path": sdc(network, at="path")}


SWISH, BATCH_NORM = (  # ReLU has kinks
    tiny_network(name, activation="swish") for name in ("convnet", "convnet_bn")
)
EXACT = {
    "network and augmentation": (SWISH, AUGMENT, both_terms(SWISH), {}),
    "microbatches": (
        SMOOTH,
        PLAIN,
        both_terms(SMOOTH, "per_sample"),
        {"microbatch": 3},
    ),
    "batch norm": (BATCH_NORM, PLAIN, both_terms(BATCH_NORM), {}),
    # The kept entries do not change within the step of the differences.
    "mask": (SMOOTH, PLAIN, {}, {"mask": make_mask("loss", 0.5)}),
}


# That chunks alter no gradient is in `tests/training`, augmentations are in the loss
# above and in `tests/augment`.
HEAVY = ("microbatches", "network and augmentation")


@pytest.mark.parametrize(
    "case",
    [pytest.param(x, marks=pytest.mark.slow) if x in HEAVY else x for x in EXACT],
)
def test_hyper_gradients_are_exact(x64, case):
    network, augmentation, terms, options = EXACT[case]
    options = {"along_path": bool(terms), **options}
    assert_exact(*objective_values(network, augmentation, terms, **options))


def test_the_penalty_along_the_path_needs_its_gradient(x64):
    """So that the checks above can fail: the norms are constants unless asked for."""
    values = objective_values(SMOOTH, PLAIN, {"path": sdc(SMOOTH, at="path")})
    with pytest.raises(AssertionError):
        assert_exact(*values)


# --- TESLA's gradient ---------------------------------------------------------------


def test_the_truncated_gradient_is_teslas_formula(x64):
    """One vector v for all steps: dL/dX sums the derivatives of <v, g_i> w.r.t. X."""
    start, target, learner = to64(problem(SMOOTH, FAR))
    params, gradients, _ = slow_student(SMOOTH, AUGMENT, start, learner, BATCH)
    count = start.labels.shape[0] * start.labels.shape[1]
    key_order, key_augment = jax.random.split(KEY)
    chosen = draw(key_order, all_of(count), BATCH, STEPS)
    keys = jax.random.split(key_augment, STEPS)
    subtract = functools.partial(jax.tree.map, jnp.subtract)
    distance = squared_distance(params[0], target).sum()
    total = jax.tree.map(lambda *g: sum(g), *gradients)  # G
    # v = 2/D (eta (theta* - theta_0) + eta^2 G)
    eta = float(start.step_size)
    v = jax.tree.map(
        lambda t, p, g: 2 / distance * (eta * (t - p) + eta**2 * g),
        target,
        params[0],
        total,
    )

    @jax.jit
    def inner(images, labels, params, key, indices, weights):
        made = AUGMENT(key, images.reshape(count, *images.shape[2:])[indices])
        rows = labels.reshape(count, -1)[indices] * weights[:, None]
        g = jax.grad(mean_loss(SMOOTH))(params, Batch(made, rows), {})
        return sum(map(jnp.sum, jax.tree.leaves(jax.tree.map(jnp.multiply, v, g))))

    by_data = jax.jit(jax.grad(inner, argnums=(0, 1)))
    parts = [
        by_data(start.images, start.labels, params[i], keys[i], *(c[i] for c in chosen))
        for i in range(STEPS)
    ]
    images, labels = (sum(part[i] for part in parts) for i in range(2))
    missed = subtract(params[-1], target)
    step_size = -2 / distance * (flat(total) @ flat(missed))
    match = trajectory_match(SMOOTH, AUGMENT, STEPS, BATCH, truncated=True)
    value = lambda synthetic: match(KEY, synthetic, target, learner)[0]
    found = jax.jit(jax.grad(value))(start)
    expected = Synthetic(images, labels, jnp.asarray(step_size))
    assert_close(found, expected, rtol=1e-9, atol=1e-12)
