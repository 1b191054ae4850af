"""Networks between matches: trained on the set or on real data; batch norm."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.augment import on_images
from jaxdd.data.real import real_data, take
from jaxdd.learners.fresh import REFRESH_IMAGES, fresh
from jaxdd.learners.pools import pool, real_pool
from jaxdd.methods.build import build
from jaxdd.primitives.losses import mean_loss
from jaxdd.synthetic.sets import union
from jaxdd.training.fit import Training
from jaxdd.types import Batch, Inputs
from tests.helpers import (
    assert_close,
    linear_network,
    new_learner,
    tiny_network,
    toy_inputs,
    toy_start,
)
from tests.toy_methods import INPUTS, MATCHES, NETWORK, is_new, toy_recipe


def test_training_lowers_the_loss_on_the_current_images():
    network, start = NETWORK, toy_start(INPUTS)
    source = pool(network, MATCHES, Training(5, learning_rate=0.1))
    state = source.init(jax.random.key(0))
    advanced = jax.jit(source.advance)(
        jax.random.key(1), state, state.learner, start, INPUTS
    )
    data = Batch(start.images.reshape(6, 8, 8, 1), start.labels.reshape(6, 3))
    before, after = (
        mean_loss(network)(s.learner.params, data, {}) for s in (state, advanced)
    )
    assert after < 0.9 * before


def test_the_last_match_is_followed_by_no_training():
    """The next network is as drawn from its key, whatever the images."""
    source = pool(NETWORK, 2, Training(1))
    state = source.init(jax.random.key(0))._replace(age=jnp.int32(1))
    advance = jax.jit(source.advance)
    arguments = jax.random.key(1), state, state.learner
    a = advance(*arguments, toy_start(INPUTS), INPUTS)
    b = advance(*arguments, toy_start(INPUTS, seed=5), INPUTS)
    assert a.age == 0
    assert is_new(a.learner)
    chex.assert_trees_all_equal(a.learner.params, b.learner.params)
    assert not np.array_equal(
        a.learner.params["head"]["kernel"], state.learner.params["head"]["kernel"]
    )


def test_the_augmentation_of_the_pool_is_that_of_its_training():
    """From black images only biases learn."""
    network = linear_network(64)
    source = pool(network, 2, Training(1), on_images(lambda key, x: 0 * x))
    state = source.init(jax.random.key(0))
    advance = jax.jit(source.advance)
    start = toy_start(INPUTS)
    after = advance(jax.random.key(1), state, state.learner, start, INPUTS)
    before = state.learner.params
    assert np.array_equal(after.learner.params["kernel"], before["kernel"])
    unequal = start._replace(labels=start.labels.at[:, :, 0].set(0))
    moved = advance(jax.random.key(1), state, state.learner, unequal, INPUTS)
    assert np.any(moved.learner.params["bias"] != before["bias"])


def test_one_match_per_network_needs_no_pool():
    source = pool(NETWORK, 1, Training(1))
    assert source.init(jax.random.key(0)) == ()
    draw = jax.jit(source.draw)
    a, b, c = (draw(jax.random.key(s), (), INPUTS) for s in (0, 0, 1))
    kernel = lambda learner: np.asarray(learner.params["head"]["kernel"])
    assert np.array_equal(kernel(a), kernel(b))
    assert not np.array_equal(kernel(a), kernel(c))
    assert source.advance(jax.random.key(0), (), a, toy_start(INPUTS), INPUTS) == ()


@pytest.mark.parametrize("slots", [1, 3])
def test_in_a_later_segment_the_pool_is_trained_on_all_images(slots):
    """As on the union in one set; empty slots count for nothing."""
    source = pool(NETWORK, 2, Training(3, 0.1))
    state, start = source.init(jax.random.key(0)), toy_start(INPUTS)
    before = toy_start(INPUTS, ipc=slots, kind="real", seed=4)
    advance = jax.jit(source.advance)

    def trained(synthetic, earlier):
        inputs = INPUTS._replace(earlier=earlier)
        found = advance(jax.random.key(1), state, state.learner, synthetic, inputs)
        return found.learner.params

    alone = trained(start, None)
    together = trained(start, before)
    assert_close(together, trained(union(before, start), None), rtol=1e-4, atol=1e-5)
    assert np.abs(together["head"]["kernel"] - alone["head"]["kernel"]).max() > 1e-3
    empty = before._replace(labels=jnp.zeros_like(before.labels))
    assert_close(trained(start, empty), alone, rtol=1e-4, atol=1e-5)


SAMPLES = 10  # passes of 4 + 4 + 2 minibatches
REAL_TRAINING = Training(1, 0.1, momentum=0.9, weight_decay=0.05, batch_size=4)


def numbered() -> Inputs:
    """Every real image shows its own number; only a window of them may be matched."""
    images = np.arange(SAMPLES, dtype=np.float32)[:, None, None, None] / SAMPLES
    real = real_data(images, np.arange(SAMPLES) % 3, 3)
    return Inputs(real._replace(counts=jnp.ones(3, jnp.int32)), real)


def recorded_pool(matches=3, samples=8):
    """A pool of real data, jitted, and the minibatches that it trains on."""
    seen = []

    def spy(key, batch):
        show = lambda x: seen.append(np.round(SAMPLES * np.ravel(x)).astype(int))
        jax.debug.callback(show, batch.images, ordered=True)
        return batch

    source = real_pool(linear_network(1), matches, REAL_TRAINING, samples, spy)
    inputs, advance = numbered(), jax.jit(source.advance)

    def go(states, key):
        learner = states[-1].training.learner
        states.append(advance(key, states[-1], learner, None, inputs))
        jax.effects_barrier()
        return states

    return source, go, seen


def test_passes_over_the_real_data_go_on_across_networks():
    """Two minibatches after each of two matches; passes have three."""
    source, go, seen = recorded_pool()
    states = [source.init(jax.random.key(0))]
    counts = []
    for t in range(9):
        go(states, jax.random.key(t))
        counts.append(len(seen))
    assert [int(s.age) for s in states] == [0, 1, 2] * 3 + [0]
    assert counts == [2, 4, 4, 6, 8, 8, 10, 12, 12]
    orders = []
    for first in range(0, 12, 3):
        in_pass = np.concatenate(seen[first : first + 3])
        orders.append(tuple(in_pass[:SAMPLES].tolist()))
        assert sorted(orders[-1]) == list(range(SAMPLES))
        # The last minibatch is filled up with the first samples of its pass.
        assert in_pass[SAMPLES:].tolist() == list(orders[-1][:2])
    assert len(set(orders)) == 4
    assert int(states[-1].minibatches) == 12


def test_another_run_has_another_order():
    """It comes from the key of `init` and not from those of the steps."""
    firsts = []
    for seed, step in ((0, 0), (0, 5), (1, 0)):
        source, go, seen = recorded_pool()
        go([source.init(jax.random.key(seed))], jax.random.key(step))
        firsts.append(np.concatenate(seen).tolist())
    assert firsts[0] == firsts[1] != firsts[2]


def test_training_on_real_data_is_a_plain_loop_of_sgd():
    """Momentum goes on from match to match and starts anew with a network."""
    source, go, seen = recorded_pool()
    states = [source.init(jax.random.key(0))]
    for t in range(5):
        go(states, jax.random.key(t))
    real = numbered().full
    gradient = jax.grad(mean_loss(linear_network(1)))

    def loop(params, minibatches):
        velocity = jax.tree.map(jnp.zeros_like, params)
        for indices in minibatches:
            g = gradient(params, take(real, jnp.asarray(indices)), {})
            g = jax.tree.map(lambda g, p: g + 0.05 * p, g, params)
            velocity = jax.tree.map(lambda v, g: 0.9 * v + g, velocity, g)
            params = jax.tree.map(lambda p, v: p - 0.1 * v, params, velocity)
        return params

    params = [s.training.learner.params for s in states]
    for new, first in ((0, 0), (3, 4)):
        assert not np.any(params[new]["bias"])
        for n in (1, 2):
            expected = loop(params[new], seen[first : first + 2 * n])
            assert_close(params[new + n], expected, rtol=1e-4, atol=1e-6)
    assert np.any(params[0]["kernel"] != params[3]["kernel"])


@pytest.mark.parametrize(("samples", "expected"), [(4, 1), (5, 2), (9, 3)])
def test_as_many_minibatches_as_hold_the_samples(samples, expected):
    source, go, seen = recorded_pool(samples=samples)
    states = go([source.init(jax.random.key(0))], jax.random.key(0))
    assert len(seen) == int(states[-1].minibatches) == expected


def test_real_data_alone_train_the_network():
    """Neither the synthetic set nor the window nor earlier images have a say."""
    source = real_pool(NETWORK, 3, Training(1, 0.05, batch_size=8), 16)
    state = source.init(jax.random.key(0))
    advance = jax.jit(source.advance)

    def trained(synthetic, inputs):
        return advance(
            jax.random.key(1), state, state.training.learner, synthetic, inputs
        )

    a = trained(toy_start(INPUTS), INPUTS)
    window = INPUTS.real._replace(counts=jnp.ones(3, jnp.int32))
    other = INPUTS._replace(real=window, earlier=None)
    b = trained(toy_start(INPUTS, seed=5), other)
    c = trained(toy_start(INPUTS), INPUTS._replace(earlier=toy_start(INPUTS, seed=6)))
    chex.assert_trees_all_equal(a, b)
    chex.assert_trees_all_equal(a, c)
    assert not is_new(a.training.learner)


def test_one_match_per_network_needs_no_real_pool():
    source = real_pool(NETWORK, 1, Training(1), 100)
    assert source.init(jax.random.key(0)) == ()
    found = source.draw(jax.random.key(2), (), INPUTS)
    chex.assert_trees_all_equal(
        found, fresh(NETWORK).draw(jax.random.key(2), (), INPUTS)
    )


def test_statistics_come_from_one_pass_over_real_images_of_all_classes():
    """16 per class are drawn, and there are 16: their order does not matter."""
    network = tiny_network("convnet_bn")
    inputs = toy_inputs((REFRESH_IMAGES,) * 3)
    unseen = Inputs(inputs.real, toy_inputs(seed=7).real)
    pools = pool(network, 2, Training(1)), real_pool(network, 2, Training(1), 8)
    for source in (fresh(network), *pools):
        state = source.init(jax.random.key(0))
        learner = jax.jit(source.draw)(jax.random.key(1), state, unseen)
        _, initial = network.init(jax.random.key(0))
        _, expected = network.apply(learner.params, initial, inputs.real.images, True)
        assert_close(learner.stats, expected, rtol=1e-4, atol=1e-5)
        assert not np.allclose(
            *(jax.tree.leaves(x)[0] for x in (initial, learner.stats)), atol=1e-2
        )


def test_a_network_without_statistics_is_drawn_as_it_is():
    source = pool(NETWORK, 2, Training(1))
    state = source.init(jax.random.key(0))
    assert source.draw(jax.random.key(1), state, INPUTS) is state.learner


def test_a_step_works_with_batch_norm():
    network = tiny_network("convnet_bn")
    method = build(network, toy_recipe("dsa", augmentation="crop"))
    state, step = (
        method.init(jax.random.key(0), toy_start(INPUTS)),
        jax.jit(method.step),
    )
    images = [state.codes.images]
    for t in range(2):
        state, info = step(jax.random.key(t), state, INPUTS)
        images.append(state.codes.images)
        chex.assert_tree_all_finite(info["loss"])
    chex.assert_tree_all_finite(state.codes)
    assert not np.allclose(images[0], images[1], atol=1e-6)
    # The learner that was trained keeps the statistics of refresh and training.
    initial = new_learner(network).stats
    assert not np.allclose(
        *(jax.tree.leaves(x)[0] for x in (initial, state.source.learner.stats)),
        atol=1e-3,
    )
