"""Where network parameters come from."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdd.train import Training, make_fit
from jaxdd.types import (
    Array,
    Batch,
    Inputs,
    Key,
    Learner,
    LearnerSource,
    Network,
    Synthetic,
)
from jaxdd.windows import sample_classes

# Real images per class that set batch-norm statistics before a match (DC's code).
REFRESH_IMAGES = 16


def refresh_statistics(
    key: Key, network: Network, learner: Learner, inputs: Inputs
) -> Learner:
    """Set batch-norm statistics from one pass over real images of all classes.

    They stay frozen during the match. Networks without running statistics pass
    through. Source: DC's official code, main.py; like there, one update moves the
    statistics by the momentum of the layer only.
    """
    if not jax.tree.leaves(learner.stats):
        return learner
    batch = sample_classes(key, inputs.real, REFRESH_IMAGES)
    images = batch.images.reshape(-1, *batch.images.shape[2:])
    _, stats = network.apply(learner.params, learner.stats, images, True)
    return learner._replace(stats=stats)


def fresh(network: Network) -> LearnerSource:
    """A new random network for every match (DM; DC at one image per class)."""

    def init(key: Key):
        return ()

    def draw(key: Key, state, inputs: Inputs) -> Learner:
        key_init, key_refresh = jax.random.split(key)
        learner = Learner(*network.init(key_init))
        return refresh_statistics(key_refresh, network, learner, inputs)

    def advance(key: Key, state, learner, synthetic, inputs):
        return state

    return LearnerSource(init, draw, advance)


class PoolState(NamedTuple):
    learner: Learner
    age: Array  # [] int32: matches done with this network


def pool(
    network: Network,
    matches: int,
    training: Training,
    augment: Callable[[Key, Array], Array] | None = None,
) -> LearnerSource:
    """A network that is matched `matches` times and trained on the set in between.

    After the last match it is replaced by a new random one without being trained (DC
    section 1.1 of the official loop). With one match per network this is `fresh`.

    Args:
        network: what to train.
        matches: matches per network.
        training: how it is trained on the synthetic set between two matches.
        augment: of that training, (key, images) -> images.
    """
    if matches == 1:
        return fresh(network)
    fit = make_fit(network, training, augment)

    def init(key: Key) -> PoolState:
        return PoolState(Learner(*network.init(key)), jnp.int32(0))

    def draw(key: Key, state: PoolState, inputs: Inputs) -> Learner:
        return refresh_statistics(key, network, state.learner, inputs)

    def advance(
        key: Key, state: PoolState, learner: Learner, synthetic: Synthetic, inputs
    ) -> PoolState:
        def train(key):
            data = Batch(
                synthetic.images.reshape(-1, *synthetic.images.shape[2:]),
                synthetic.labels.reshape(-1, synthetic.labels.shape[-1]),
            )
            return fit(key, learner, data)[0]

        def replace(key):
            return Learner(*network.init(key))

        last = state.age + 1 >= matches
        return PoolState(
            jax.lax.cond(last, replace, train, key), jnp.where(last, 0, state.age + 1)
        )

    return LearnerSource(init, draw, advance)
