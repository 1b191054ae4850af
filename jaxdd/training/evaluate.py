"""Evaluation: train fresh networks on a set and measure them on held-out data."""

import jax
import jax.numpy as jnp

from jaxdd.augment import Augment
from jaxdd.data.real import sample_classes, take
from jaxdd.devices import policy
from jaxdd.primitives.losses import correct, share
from jaxdd.training.fit import Training, from_scratch, make_fit
from jaxdd.types import Array, Batch, Key, Learner, Network, RealData

# Held-out images at a time: small enough for a CPU's cache, large enough for a GPU.
CHUNK = 100


def accuracy(network: Network, learner: Learner, real: RealData) -> Array:
    """Percent of a split's samples that are classified correctly, [].

    Example:
        >>> accuracy(network, learner, real).shape
        ()
    """
    return 100.0 * share(right(network, learner, real, CHUNK))


def make_hits(
    network: Network,
    training: Training,
    augment: Augment | None = None,
    microbatch: int | None = None,
):
    """Build the evaluation, sample by sample: one fresh network per key.

    Args:
        network: the architecture.
        training: the schedule; networks are evaluated after the last epoch.
        augment: (key, batch) -> batch, augmentation of the training.
        microbatch: chunk length of the gradients.

    Returns:
        jitted (keys [E], sets Batch [E, N, ...], held_out, rate=None) -> [E, M]: 1 if
        network e, trained on set e, classifies the sample correctly, else 0. Five
        networks on one set and one network on each of five random sets are the same
        program. `rate`
        replaces the schedule's learning rate, e.g. by a learned step size.

    Example:
        >>> import jax, jaxdd, numpy as np
        >>> images = np.ones((6, 8, 8, 1), np.float32)
        >>> real = jaxdd.real_data(images, np.arange(6) % 3, 3)
        >>> network = jaxdd.make_network("mlp", (8, 8, 1), 3, width=4)
        >>> hits = make_hits(network, jaxdd.Training(epochs=2))
        >>> keys = jax.random.split(jax.random.key(0), 2)
        >>> hits(keys, jaxdd.random_subsets(keys, real, ipc=1), real).shape
        (2, 6)
    """
    fit = make_fit(network, training, augment, microbatch=microbatch)
    train = from_scratch(network, fit)

    @jax.jit
    def hits(keys: Key, sets: Batch, held_out: RealData, rate=None) -> Array:
        def one(xs, held_out: RealData, rate):
            key, data = xs
            learner, _ = train(key, data, rate)
            return right(network, learner, held_out, CHUNK)

        return policy.spread_axis(one, (keys, sets), held_out, rate)

    return hits


def make_evaluate(
    network: Network,
    training: Training,
    augment: Augment | None = None,
    microbatch: int | None = None,
):
    """Build the evaluation: `make_hits` as accuracies.

    Returns:
        (keys [E], sets Batch [E, N, ...], held_out, rate=None) -> accuracies [E] in
        percent.

    Example:
        >>> training = jaxdd.Training(epochs=2)
        >>> evaluate = make_evaluate(network, training)
        >>> keys = jax.random.split(jax.random.key(0), 2)
        >>> sets = jaxdd.random_subsets(keys, real, ipc=1)
        >>> evaluate(keys, sets, real).shape
        (2,)
    """
    hits = make_hits(network, training, augment, microbatch)

    def evaluate(keys: Key, sets: Batch, held_out: RealData, rate=None) -> Array:
        return 100.0 * share(hits(keys, sets, held_out, rate), axis=1)

    return evaluate


def repeat(data: Batch, times: int) -> Batch:
    """The same set for every network, [E, N, ...]."""
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (times, *x.shape)), data)


def random_subsets(keys: Key, real: RealData, ipc: int) -> Batch:
    """One random real subset per key, [E, N, ...], `ipc` distinct images per class.

    Example:
        >>> keys = jax.random.split(jax.random.key(0), 5)
        >>> random_subsets(keys, real, ipc=2).images.shape
        (5, 6, 8, 8, 1)
    """

    def one(key: Key) -> Batch:
        batch = sample_classes(key, real, ipc)
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batch)

    return jax.lax.map(one, keys)


def right(network: Network, learner: Learner, real: RealData, chunk: int) -> Array:
    """[M]: 1 if a sample is classified correctly, else 0; `chunk` samples at a time."""

    def of_chunk(index: Array) -> Array:
        batch = take(real, index)
        outputs, _ = network.apply(learner.params, learner.stats, batch.images, False)
        return correct(outputs.logits, batch.labels)

    return policy.map_chunks(of_chunk, real.labels.shape[0], chunk)
