"""The number of times a sample is forgotten during training."""

import jax.numpy as jnp

from jaxdd.data.real import take
from jaxdd.devices import policy
from jaxdd.training.evaluate import right
from jaxdd.training.fit import Training, from_scratch, make_fit
from jaxdd.types import Array, Key, Network, RealData


def forgetting_scores(network: Network, training: Training, chunk: int = 256):
    """How often a sample goes from right to wrong in training, averaged over networks.

    Toneva et al., ICLR 2019, counted at the end of each epoch (the original counts when
    a sample is in a minibatch). A sample that is never right counts as forgotten in
    every epoch, so that it ranks as the hardest.

    Args:
        network: the architecture.
        training: the schedule by which each network is trained.
        chunk: samples evaluated at a time.

    Returns:
        (keys [E], real) -> [M], one network per key. Pure, not jitted.

    Example:
        >>> import jax, jaxdd, numpy as np
        >>> images = np.ones((6, 8, 8, 1), np.float32)
        >>> real = jaxdd.real_data(images, np.arange(6) % 3, 3)
        >>> network = jaxdd.make_network("mlp", (8, 8, 1), 3, width=4)
        >>> training = jaxdd.Training(epochs=2)
        >>> scores = forgetting_scores(network, training)
        >>> scores(jax.random.split(jax.random.key(0), 2), real).shape
        (6,)
    """

    def scores(keys: Key, real: RealData) -> Array:
        def one(key: Key, real: RealData) -> Array:
            observe = lambda learner: right(network, learner, real, chunk)
            fit = make_fit(network, training, fetch=take, observe=observe)
            _, right_by_epoch = from_scratch(network, fit)(key, real)
            lost = jnp.sum(right_by_epoch[:-1] * (1 - right_by_epoch[1:]), axis=0)
            return jnp.where(jnp.any(right_by_epoch > 0, axis=0), lost, training.epochs)

        return jnp.mean(policy.spread_axis(one, keys, real), axis=0)

    return scores
