"""Train fresh networks on a set and measure them on held-out data."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxdd import policy
from jaxdd.losses import correct
from jaxdd.train import Training, make_fit
from jaxdd.types import Array, Batch, Key, Learner, Network, RealData, Synthetic
from jaxdd.windows import sample_classes, take

# Held-out images at a time: small enough for a CPU's cache, large enough for a GPU.
CHUNK = 100


def flatten(synthetic: Synthetic) -> Batch:
    """A distilled set as one batch of N = K * n images, class by class."""
    images, labels = synthetic.images, synthetic.labels
    return Batch(
        images.reshape(-1, *images.shape[2:]), labels.reshape(-1, labels.shape[-1])
    )


def accuracy(network: Network, learner: Learner, real: RealData) -> Array:
    """Percent of a split's samples that are classified correctly, []."""

    def of_chunk(index: Array) -> Array:
        batch = take(real, index)
        outputs, _ = network.apply(learner.params, learner.stats, batch.images, False)
        return correct(outputs.logits, batch.labels)

    hits = policy.map_chunks(of_chunk, real.labels.shape[0], CHUNK)
    return 100.0 * jnp.mean(hits)


def make_evaluate(
    network: Network,
    training: Training,
    augment: Callable[[Key, Array], Array] | None = None,
    microbatch: int | None = None,
):
    """Build the evaluation: one fresh network per key, all in one program.

    Args:
        network: the architecture.
        training: the schedule; the accuracy is that of the last epoch.
        augment: (key, images) -> images, of the training.
        microbatch: chunk length of the gradients.

    Returns:
        jitted (keys [E], sets Batch [E, N, ...], held_out) -> accuracies [E] in
        percent. Network e is trained on set e, so that five networks on one set and
        one network on each of five random sets are the same program.
    """
    fit = make_fit(network, training, augment, microbatch=microbatch)

    @jax.jit
    def evaluate(keys: Key, sets: Batch, held_out: RealData) -> Array:
        def one(xs):
            key, data = xs
            key_init, key_fit = jax.random.split(key)
            learner, _ = fit(key_fit, Learner(*network.init(key_init)), data)
            return accuracy(network, learner, held_out)

        return policy.map_axis(one, (keys, sets))

    return evaluate


def repeat(data: Batch, times: int) -> Batch:
    """The same set for every network, [E, N, ...]."""
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (times, *x.shape)), data)


def random_subsets(keys: Key, real: RealData, ipc: int) -> Batch:
    """One random real subset per key, [E, N, ...], `ipc` distinct images per class."""

    def one(key: Key) -> Batch:
        batch = sample_classes(key, real, ipc)
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batch)

    return jax.lax.map(one, keys)
