"""The pool of networks of staggered ages (FRePo, RCIG)."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.learners.aged import AgedPool, aged_pool
from jaxdd.learners.context import Context
from jaxdd.training.fit import Training
from tests.helpers import (
    assert_close,
    refused,
    smooth_network,
    tiny_network,
    toy_inputs,
    toy_start,
)

NETWORK, INPUTS = smooth_network(hidden=2), toy_inputs()
START = toy_start(INPUTS)
TRAINING = Training(1, 0.1)
KEYS = jax.random.split(jax.random.key(1), 400)


def walk(source, state, steps, start=START):
    """The states after a number of steps, stacked."""

    @jax.jit
    def go(state):
        def one(state, key):
            learner = source.draw(key, state, INPUTS)
            return (new := source.advance(key, state, learner, start, INPUTS)), new

        return jax.lax.scan(one, state, KEYS[:steps])[1]

    return go(state)


def test_ages_are_staggered_and_networks_differ():
    state = aged_pool(NETWORK, 4, 101, TRAINING).init(jax.random.key(0))
    assert state.ages.tolist() == [0, 25, 50, 75]
    assert 0 <= int(state.current) < 4
    kernels = np.asarray(state.members.learner.params["body"]["kernel"])
    assert kernels.shape == (4, 64, 2)
    assert len(np.unique(kernels[:, 0, 0])) == 4
    published = AgedPool().make(NETWORK, Context(), "none").init(jax.random.key(0))
    assert published.ages.tolist() == list(range(0, 100, 10))


@pytest.mark.parametrize("flip", [False, True])
def test_the_network_of_a_step_alone_is_trained(flip):
    """As by the same training of it alone; it is the one that the step matched."""
    source = aged_pool(NETWORK, 3, 9, TRAINING, flip=flip)
    state = source.init(jax.random.key(0))
    at = int(state.current)
    drawn = source.draw(KEYS[0], state, INPUTS)
    chex.assert_trees_all_equal(
        drawn, jax.tree.map(lambda x: x[at], state.members.learner)
    )
    after = jax.tree.map(lambda x: x[0], walk(source, state, 1))
    assert after.ages.tolist() == [a + (k == at) for k, a in enumerate(state.ages)]
    images = START.images.reshape(-1, 8, 8, 1)
    labels = START.labels.reshape(-1, 3)
    if flip:
        images = np.concatenate([images, np.flip(images, 2)])
        labels = np.concatenate([labels, labels])

    def loss(params):
        logits = NETWORK.apply(params, {}, images, False)[0].logits
        return -jnp.mean(jnp.sum(labels * jax.nn.log_softmax(logits), axis=-1))

    moved = jax.grad(loss)(drawn.params)
    expected = jax.tree.map(lambda p, g: p - 0.1 * g, drawn.params, moved)
    for k in range(3):
        found, before = (
            jax.tree.map(lambda x, k=k: x[k], s.members.learner.params)
            for s in (after, state)
        )
        assert_close(found, expected if k == at else before)


def test_networks_are_replaced_equally_often():
    """A network lives as long as its largest age, counted in steps of training."""
    source = aged_pool(NETWORK, 4, 5, TRAINING)
    states = walk(source, source.init(jax.random.key(0)), 400)
    ages = np.asarray(states.ages)
    assert ages.max() == 5
    replaced = ((ages[1:] == 0) & (ages[:-1] > 0)).sum(axis=0)
    assert ages[:-1][(ages[1:] == 0) & (ages[:-1] > 0)].min() == 5
    # 400 steps, of which every sixth of a network replaces it.
    assert np.all(abs(replaced - 400 / 4 / 6) < 6)
    biases = np.asarray(states.members.learner.params["body"]["bias"])
    # Those of the start are as new, whatever their age.
    np.testing.assert_array_equal(np.any(biases, axis=-1)[80:], ages[80:] > 0)


def test_several_steps_between_matches():
    """Each match is followed by one to three steps, and by none that ages too far."""
    source = aged_pool(NETWORK, 1, 7, TRAINING, steps=(1, 3))
    ages = np.asarray(walk(source, source.init(jax.random.key(0)), 200).ages)[:, 0]
    taken = np.diff(ages)
    assert set(taken[ages[1:] > 0]) == {1, 2, 3}
    assert set(ages[:-1][ages[1:] == 0]) == {5, 6, 7}


def test_a_walk_that_is_cut_goes_on_to_the_same_bits():
    source = aged_pool(NETWORK, 3, 4, TRAINING)

    @jax.jit
    def one(key, state):
        learner = source.draw(key, state, INPUTS)
        return source.advance(key, state, learner, START, INPUTS)

    whole = walk(source, source.init(jax.random.key(0)), 12)
    state = source.init(jax.random.key(0))
    for key in KEYS[:12]:  # every step from what would be on disk
        state = jax.tree.map(jnp.asarray, jax.device_get(state))
        state = one(key, state)
    assert_close(jax.tree.map(lambda x: x[-1], whole), state, 1e-6)


def test_later_segments_train_on_the_earlier_ones_without_padding():
    """With batch norm, which would see it."""
    network = tiny_network("convnet", norm="batch")
    source = aged_pool(network, 2, 9, TRAINING)
    state = source.init(jax.random.key(0))
    earlier = toy_start(INPUTS, ipc=2, kind="real", seed=4)

    @jax.jit
    def advance(synthetic, earlier):
        inputs = INPUTS._replace(earlier=earlier)
        learner = source.draw(KEYS[0], state, inputs)
        new = source.advance(KEYS[1], state, learner, synthetic, inputs)
        return jax.tree.map(lambda x: x[state.current], new.members.learner)

    together = advance(START, earlier)
    whole = START._replace(
        images=jnp.concatenate([earlier.images, START.images], axis=1),
        labels=jnp.concatenate([earlier.labels, START.labels], axis=1),
    )
    assert_close(together, advance(whole, None), rtol=1e-4, atol=1e-5)
    # Four of eight rows are images then: each is seen twice in place of padding.
    half = earlier._replace(labels=jnp.zeros_like(earlier.labels))
    assert_close(advance(START, half), advance(START, None), rtol=1e-4, atol=1e-5)


def test_minibatches_are_drawn_without_replacement():
    """Of six images four are seen, and over the steps all of them."""
    seen = []

    def note(key, batch):
        jax.debug.callback(lambda x: seen.append(np.sort(x)), batch.images[:, 0, 0, 0])
        return batch

    numbered = START._replace(
        images=jnp.broadcast_to(
            jnp.arange(6.0).reshape(3, 2, 1, 1, 1), START.images.shape
        )
    )
    training = Training(1, 0.1, batch_size=4)
    source = aged_pool(NETWORK, 1, 99, training, augment=note)
    jax.block_until_ready(walk(source, source.init(KEYS[0]), 6, numbered))
    jax.effects_barrier()
    assert len(seen) == 6
    assert all(len(set(x)) == 4 for x in seen)
    assert set(np.concatenate(seen)) == set(range(6))


def test_order_of_the_steps_is_checked():
    with refused("AgedPool: least_steps=3 is above most_steps=2"):
        AgedPool(least_steps=3, most_steps=2)
