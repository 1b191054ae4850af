"""The networks that decide what a later segment of D4A is distilled from."""

import jax
import jax.numpy as jnp

from jaxdd.augment import Augment
from jaxdd.primitives.losses import present
from jaxdd.scores.learnability import mean_probabilities
from jaxdd.training.fit import Training, make_ensemble, make_fit
from jaxdd.types import Array, Batch, Key, Network, RealData


def make_predictions(
    network: Network,
    training: Training,
    augment: Augment | None = None,
    microbatch: int | None = None,
):
    """Build a small ensemble of fresh networks trained on a set (ours).

    Args:
        network: the architecture.
        training: the training, usually that of the evaluation.
        augment: (key, batch) -> batch, applied in the training.
        microbatch: samples per chunk of its gradients.

    Returns:
        (keys [E], data Batch [N, ...], real, rate=None) -> the mean probabilities of
        the real samples, [M, K]. `data` may have rows of padding, so that all segments
        are one program. `rate` as in `fit.make_fit`. Pure, not jitted.
    """
    fit = make_fit(
        network,
        training,
        augment,
        members=lambda data, epoch: present(data.labels),
        microbatch=microbatch,
    )
    ensemble = make_ensemble(network, fit)

    def predictions(keys: Key, data: Batch, real: RealData, rate=None) -> Array:
        return mean_probabilities(network, ensemble(keys, data, rate), real)

    return predictions


def margins(probabilities: Array, labels: Array) -> Array:
    """The largest probability of another class minus that of the own class, [M].

    In [-1, 1]; negative where the prediction is right.

    Args:
        probabilities: [M, K].
        labels: [M] int.
    """
    own = jax.nn.one_hot(labels, probabilities.shape[-1], dtype=bool)
    others = jnp.max(jnp.where(own, -jnp.inf, probabilities), axis=-1)
    return others - jnp.sum(jnp.where(own, probabilities, 0), axis=-1)


def make_judge(
    network: Network,
    training: Training,
    augment: Augment | None = None,
    microbatch: int | None = None,
):
    """Build the judge: the margins of a small ensemble trained on a set (ours).

    Args:
        network, training, augment, microbatch: as in `make_predictions`.

    Returns:
        A jitted function (keys [E], data Batch [N, ...], real, rate=None) -> margins
        [M], see `margins`.

    Example:
        >>> import jaxdd, numpy as np
        >>> images = np.ones((6, 8, 8, 1), np.float32)
        >>> real = jaxdd.real_data(images, np.arange(6) % 3, 3)
        >>> network = jaxdd.make_network("mlp", (8, 8, 1), 3, width=4)
        >>> judge = make_judge(network, Training(2))
        >>> data = jaxdd.data.real.take(real, jnp.arange(3))
        >>> judge(jax.random.split(jax.random.key(0), 2), data, real).shape
        (6,)
    """
    predictions = make_predictions(network, training, augment, microbatch)

    @jax.jit
    def judge(keys: Key, data: Batch, real: RealData, rate=None) -> Array:
        return margins(predictions(keys, data, real, rate), real.labels)

    return judge
