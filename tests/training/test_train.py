"""The training loop against NumPy loops, and what an epoch is."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdd.augment import on_images
from jaxdd.data.real import take
from jaxdd.primitives.losses import row_cross_entropy
from jaxdd.training.fit import Training, make_epochs, make_fit, rows
from jaxdd.training.schedules import EvaluationSpec
from jaxdd.types import Batch, Learner, Network, Outputs
from tests.helpers import (
    assert_close,
    linear_network,
    new_learner,
    smooth_network,
    tiny_network,
    toy_batch,
    toy_real,
)

NETWORK = linear_network(4, scale=0.3)
SHAPE = (2, 2, 1)


def numpy_gradient(params, images, labels):
    flat = images.reshape(len(images), -1)
    logits = flat @ params["kernel"] + params["bias"]
    p = np.exp(logits - logits.max(1, keepdims=True))
    error = p / p.sum(1, keepdims=True) - labels
    return {"kernel": flat.T @ error / len(flat), "bias": error.mean(0)}


def numpy_sgd(params, batch, training, order):
    """PyTorch's SGD in plain loops; `order` has the sample indices of every epoch."""
    params = {name: np.asarray(x, float) for name, x in params.items()}
    images, labels = np.asarray(batch.images, float), np.asarray(batch.labels, float)
    buffer, rate = None, training.learning_rate
    for epoch, indices in enumerate(order):
        if epoch in training.decay_epochs:
            rate *= training.decay
            if training.reset_momentum:
                buffer = None
        for start in range(0, len(indices), training.batch_size):
            part = indices[start : start + training.batch_size]
            gradient = numpy_gradient(params, images[part], labels[part])
            for name in gradient:
                gradient[name] += training.weight_decay * params[name]
            if buffer is None:
                buffer = {name: g.copy() for name, g in gradient.items()}
            else:
                for name in gradient:
                    buffer[name] = training.momentum * buffer[name] + gradient[name]
            for name in gradient:
                params[name] = params[name] - rate * buffer[name]
    return params


def recorded_fit(training, data):
    """Train the linear network; also the order in which samples were fetched."""
    seen = []

    def fetch(data, indices):
        jax.debug.callback(lambda i: seen.append(np.asarray(i)), indices, ordered=True)
        return rows(data, indices)

    fit = jax.jit(make_fit(NETWORK, training, fetch=fetch))
    learner, _ = fit(jax.random.key(0), new_learner(NETWORK), data)
    jax.effects_barrier()
    per_epoch = np.concatenate(seen).reshape(training.epochs, -1)
    return learner.params, per_epoch[:, : data.labels.shape[0]]


PLAIN = Training(epochs=6, learning_rate=0.3, batch_size=4)
TRAININGS = {
    "plain": PLAIN,
    "momentum": dataclasses.replace(PLAIN, momentum=0.9),
    "weight decay": dataclasses.replace(PLAIN, weight_decay=0.1),
    "decays": dataclasses.replace(PLAIN, decay_epochs=(2, 4), decay=0.3),
    "decay keeps momentum": dataclasses.replace(
        PLAIN, momentum=0.9, decay_epochs=(3,), decay=0.5
    ),
    "everything": dataclasses.replace(
        PLAIN,
        momentum=0.9,
        weight_decay=0.1,
        decay_epochs=(3,),
        decay=0.5,
        reset_momentum=True,
    ),
}


@pytest.mark.parametrize("name", TRAININGS)
def test_fit_equals_sgd_as_in_pytorch(name):
    """Momentum, weight decay, decays, momentum reset and the partial last batch."""
    batch = toy_batch(10, shape=SHAPE)
    params, order = recorded_fit(TRAININGS[name], batch)
    start = new_learner(NETWORK).params
    expected = numpy_sgd(start, batch, TRAININGS[name], order)
    assert_close(params, expected, rtol=1e-4, atol=1e-5)
    # Every setting matters, else equality would say little.
    if name != "plain":
        plain = numpy_sgd(start, batch, PLAIN, order)
        assert np.abs(plain["kernel"] - expected["kernel"]).max() > 1e-2


def test_the_order_is_a_new_permutation_in_every_epoch():
    _, order = recorded_fit(PLAIN, toy_batch(10, shape=SHAPE))
    assert all(sorted(epoch) == list(range(10)) for epoch in order)
    assert len({tuple(epoch) for epoch in order}) == PLAIN.epochs


def test_microbatches_do_not_change_the_result():
    network, data = smooth_network(), toy_batch(9)
    training = Training(epochs=2, learning_rate=0.1, momentum=0.9, batch_size=5)
    whole, parts = (
        jax.jit(make_fit(network, training, microbatch=size))(
            jax.random.key(0), new_learner(network), data
        )[0]
        for size in (None, 2)
    )
    assert_close(parts, whole, rtol=1e-4, atol=1e-5)


def test_observations_are_made_after_every_epoch():
    batch = toy_batch(8, shape=SHAPE)
    observe = lambda learner: learner.params["bias"]
    training = dataclasses.replace(PLAIN, epochs=3)
    fit = jax.jit(make_fit(NETWORK, training, observe=observe))
    learner, seen = fit(jax.random.key(0), new_learner(NETWORK), batch)
    chex.assert_shape(seen, (3, 3))
    assert np.array_equal(seen[-1], learner.params["bias"])
    assert not np.array_equal(seen[0], seen[1])


def test_augmentation_sees_every_batch_with_a_new_key():
    keys = []

    def augment(key, images):
        record = lambda data: keys.append(tuple(np.asarray(data).tolist()))
        jax.debug.callback(record, jax.random.key_data(key))
        return 0 * images

    twice = dataclasses.replace(PLAIN, epochs=2)
    fit = jax.jit(make_fit(NETWORK, twice, on_images(augment)))
    batch = toy_batch(10, shape=SHAPE)
    learner, _ = fit(jax.random.key(0), new_learner(NETWORK), batch)
    jax.effects_barrier()
    assert len(set(keys)) == len(keys) == 2 * 3
    # From black images only the bias learns.
    start = new_learner(NETWORK).params
    assert np.array_equal(learner.params["kernel"], start["kernel"])
    assert np.any(learner.params["bias"])


def test_real_data_is_fetched_and_training_learns_it():
    real, network = toy_real(), smooth_network()
    training = Training(epochs=8, learning_rate=0.1, momentum=0.9, batch_size=16)
    fit = jax.jit(make_fit(network, training, fetch=take))
    learner, _ = fit(jax.random.key(0), new_learner(network), real)
    everything = take(real, jnp.arange(real.labels.shape[0]))
    outputs, _ = network.apply(learner.params, learner.stats, everything.images, False)
    assert np.mean(np.argmax(outputs.logits, -1) == real.labels) > 0.9


def test_batch_norm_statistics_follow_the_batches():
    network, data = tiny_network("convnet_bn"), toy_batch(6)
    start = new_learner(network)
    training = Training(epochs=1, learning_rate=0.1, batch_size=6)
    fit = jax.jit(make_fit(network, training, microbatch=2))
    learner, _ = fit(jax.random.key(0), start, data)
    _, once = network.apply(start.params, start.stats, data.images, True)
    assert_close(learner.stats, once, rtol=1e-4)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), start.stats, once)
    assert all(x > 1e-3 for x in jax.tree.leaves(moved))


def inside_only(members):
    """What `make_epochs` takes: one fixed selection, whatever the data."""
    return lambda data, index: jnp.asarray(members)


def recorded_epoch(training, data, members, network=NETWORK, augment=None):
    """One epoch; the batches that were fetched and how many rows had a label."""
    batches = []

    def fetch(data, indices):
        jax.debug.callback(
            lambda i: batches.append(np.asarray(i)), indices, ordered=True
        )
        return rows(data, indices)

    run = make_epochs(network, training, augment, fetch, inside_only(members))
    state = run.init(new_learner(network))
    state = jax.jit(run.epoch)(jax.random.key(0), state, data, jnp.int32(0))
    jax.effects_barrier()
    return state, batches


@pytest.mark.parametrize("count", [1, 3, 4, 5, 8, 10])
def test_an_epoch_sees_its_members_and_nothing_else(count):
    """The first `count` fetched are the members; the rest of a batch repeats them."""
    data, size = toy_batch(10, shape=SHAPE), 4
    members = np.zeros(10, bool)
    members[np.random.default_rng(0).permutation(10)[:count]] = True
    training = dataclasses.replace(PLAIN, epochs=1)
    state, batches = recorded_epoch(training, data, members)
    assert len(batches) == -(-count // size)
    fetched = np.concatenate(batches)
    assert sorted(fetched[:count].tolist()) == np.flatnonzero(members).tolist()
    assert set(fetched.tolist()) == set(np.flatnonzero(members).tolist())
    start = new_learner(NETWORK).params
    expected = numpy_sgd(start, data, training, [fetched[:count]])
    assert_close(state.learner.params, expected, rtol=1e-4, atol=1e-5)


def test_members_may_change_from_epoch_to_epoch():
    """With all of them an epoch is the one without members, bit by bit."""
    data = toy_batch(10, shape=SHAPE)
    members = lambda data, index: jnp.arange(10) < jnp.where(index == 0, 10, 6)
    some, whole = (
        make_epochs(NETWORK, PLAIN, members=chosen) for chosen in (members, None)
    )
    arguments = jax.random.key(0), whole.init(new_learner(NETWORK)), data
    for index, equal in ((0, True), (1, False)):
        a, b = (
            jax.jit(run.epoch)(*arguments, jnp.int32(index)).learner.params["kernel"]
            for run in (some, whole)
        )
        assert np.array_equal(a, b) == equal


def test_batch_norm_sees_members_only():
    """Also where the last batch is filled up."""
    network, data = tiny_network("convnet_bn"), toy_batch(8)
    members = np.arange(8) < 5
    training = Training(epochs=1, learning_rate=0.1, batch_size=4)
    far = data._replace(images=data.images.at[5:].set(1e3))
    (a, _), (b, _) = (
        recorded_epoch(training, d, members, network) for d in (data, far)
    )
    chex.assert_trees_all_equal(a.learner, b.learner)


@pytest.mark.parametrize("name", ["decays", "everything"])
def test_a_traced_rate_replaces_that_of_the_schedule(name):
    training, data = TRAININGS[name], toy_batch(10, shape=SHAPE)
    other = dataclasses.replace(training, learning_rate=0.7)
    arguments = jax.random.key(0), new_learner(NETWORK), data
    given, _ = jax.jit(make_fit(NETWORK, other))(*arguments, jnp.float32(0.3))
    usual, _ = jax.jit(make_fit(NETWORK, training))(*arguments)
    wrong, _ = jax.jit(make_fit(NETWORK, other))(*arguments)
    assert_close(given.params, usual.params, rtol=1e-5)
    assert not np.allclose(wrong.params["kernel"], usual.params["kernel"], atol=1e-2)


def test_a_run_epoch_by_epoch_is_the_fit():
    """What is carried between two epochs is in the state."""
    training, data = TRAININGS["everything"], toy_batch(10, shape=SHAPE)
    key, start = jax.random.key(0), new_learner(NETWORK)
    expected, _ = jax.jit(make_fit(NETWORK, training))(key, start, data)
    run = make_epochs(NETWORK, training)
    state, epoch = run.init(start), jax.jit(run.epoch)
    for index in range(training.epochs):
        state = epoch(key, state, data, jnp.int32(index))
    assert_close(state.learner.params, expected.params, rtol=1e-5)


def test_adam_a_warm_up_and_a_cosine_are_those_of_optax(x64):
    """And the loss is the mean over the rows that are no padding."""
    training = Training(
        6, 0.05, batch_size=4, optimizer="adamw", weight_decay=0.1, loss="mse",
        warmup_steps=3, final_share=0.2,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    images, labels = rng.normal(size=(4, 5)), rng.normal(size=(4, 2))
    data = Batch(jnp.asarray(images), jnp.asarray(labels).at[3].set(0))
    network = one_product()
    start = {"w": jnp.asarray(rng.normal(size=(5, 2)))}
    fit = make_fit(network, training)
    trained, _ = fit(jax.random.key(0), Learner(start, {}), data)
    rate = optax.warmup_cosine_decay_schedule(0, 0.05, 3, 6, 0.01)
    optimizer = optax.adamw(rate, weight_decay=0.1)

    def loss(params):
        apart = data.images[:3] @ params["w"] - data.labels[:3]
        return 0.5 * jnp.sum(apart**2) / 3

    params, state = start, optimizer.init(start)
    for _ in range(6):
        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(trained.params["w"], params["w"], rtol=1e-6)


def one_product():
    """A network so short that a slow loop of it is, too."""

    def apply(params, stats, images, train):
        return Outputs(images @ params["w"], (images,)), stats

    return Network(lambda key: ({"w": jnp.zeros((5, 2))}, {}), apply)


@pytest.mark.parametrize("name", ["cosine", "constant"])
def test_schedules_of_the_evaluation(name):
    spec = EvaluationSpec(schedule=name, optimizer="adam", loss="mse", epochs=7, lr=0.5)
    training = spec.training()
    assert (training.optimizer, training.loss, training.epochs) == ("adam", "mse", 7)
    assert (training.momentum, training.weight_decay) == (0, 0)
    expected = (500, 0.01) if name == "cosine" else (0, 1)
    assert (training.warmup_steps, training.final_share) == expected


def test_half_a_cosine_ends_at_half_the_rate():
    training = EvaluationSpec(schedule="half_cosine", epochs=7).training()
    shares = [float(training.rate_share(jnp.int32(x), 30)) for x in (0, 15, 30)]
    expected = [0.5 * (1 + np.cos(np.pi * x / 60)) for x in (0, 15, 30)]
    np.testing.assert_allclose(shares, expected, rtol=1e-5)


def test_labels_of_any_mass_weigh_rows_alike():
    logits = jnp.array([[1.0, 2.0], [0.5, 0.0], [3.0, 1.0]])
    labels = jnp.array([[2.0, 1.0], [0.5, 0.0], [0.0, 0.0]])
    log = np.asarray(jax.nn.log_softmax(logits))
    expected = -((2 * log[0, 0] + log[0, 1]) + 0.5 * log[1, 0]) / 2
    assert float(row_cross_entropy(logits, labels)) == pytest.approx(expected, rel=1e-6)
