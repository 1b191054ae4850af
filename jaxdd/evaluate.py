"""Train fresh networks on a set and measure them on held-out data."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxdd import policy
from jaxdd.difficulty import right
from jaxdd.train import Training, make_fit
from jaxdd.types import Array, Batch, Key, Learner, Network, RealData, Synthetic
from jaxdd.windows import sample_classes

# Held-out images at a time: small enough for a CPU's cache, large enough for a GPU.
CHUNK = 100


def flatten(synthetic: Synthetic) -> Batch:
    """A distilled set as one batch of N = K * n images, class by class.

    Example:
        >>> import jax, jaxdd, numpy as np
        >>> images = np.ones((6, 8, 8, 1), np.float32)
        >>> real = jaxdd.real_data(images, np.arange(6) % 3, 3)
        >>> key = jax.random.key(0)
        >>> start = jaxdd.initial_set(key, "real", real, ipc=1)
        >>> flatten(start).images.shape
        (3, 8, 8, 1)
    """
    images, labels = synthetic.images, synthetic.labels
    return Batch(
        images.reshape(-1, *images.shape[2:]), labels.reshape(-1, labels.shape[-1])
    )


def accuracy(network: Network, learner: Learner, real: RealData) -> Array:
    """Percent of a split's samples that are classified correctly, [].

    Example:
        >>> import jax, jaxdd, numpy as np
        >>> images = np.ones((6, 8, 8, 1), np.float32)
        >>> real = jaxdd.real_data(images, np.arange(6) % 3, 3)
        >>> network = jaxdd.make_network("mlp", (8, 8, 1), 3, width=4)
        >>> learner = jaxdd.Learner(*network.init(jax.random.key(0)))
        >>> accuracy(network, learner, real).shape
        ()
    """
    return 100.0 * jnp.mean(right(network, learner, real, CHUNK))


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
        jitted (keys [E], sets Batch [E, N, ...], held_out, rate=None) -> accuracies
        [E] in percent. Network e is trained on set e, so that five networks on one set
        and one network on each of five random sets are the same program. `rate`
        replaces the schedule's learning rate, e.g. by a learned step size.

    Example:
        >>> import jax, jaxdd, numpy as np
        >>> images = np.ones((6, 8, 8, 1), np.float32)
        >>> real = jaxdd.real_data(images, np.arange(6) % 3, 3)
        >>> network = jaxdd.make_network("mlp", (8, 8, 1), 3, width=4)
        >>> training = jaxdd.Training(epochs=2)
        >>> evaluate = make_evaluate(network, training)
        >>> keys = jax.random.split(jax.random.key(0), 2)
        >>> sets = jaxdd.random_subsets(keys, real, ipc=1)
        >>> evaluate(keys, sets, real).shape
        (2,)
    """
    fit = make_fit(network, training, augment, microbatch=microbatch)

    @jax.jit
    def evaluate(keys: Key, sets: Batch, held_out: RealData, rate=None) -> Array:
        def one(xs):
            key, data = xs
            key_init, key_fit = jax.random.split(key)
            learner, _ = fit(key_fit, Learner(*network.init(key_init)), data, rate)
            return accuracy(network, learner, held_out)

        return policy.map_axis(one, (keys, sets))

    return evaluate


def repeat(data: Batch, times: int) -> Batch:
    """The same set for every network, [E, N, ...]."""
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (times, *x.shape)), data)


def random_subsets(keys: Key, real: RealData, ipc: int) -> Batch:
    """One random real subset per key, [E, N, ...], `ipc` distinct images per class.

    Example:
        >>> import jax, jaxdd, numpy as np
        >>> images = np.ones((6, 8, 8, 1), np.float32)
        >>> real = jaxdd.real_data(images, np.arange(6) % 3, 3)
        >>> keys = jax.random.split(jax.random.key(0), 5)
        >>> random_subsets(keys, real, ipc=2).images.shape
        (5, 6, 8, 8, 1)
    """

    def one(key: Key) -> Batch:
        batch = sample_classes(key, real, ipc)
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batch)

    return jax.lax.map(one, keys)
