"""Distribution matching."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxdd.types import Array, Batch, Evidence, Key, Learner, Match, Network, Scalar


def feature_match(network: Network, augment: Callable[..., tuple[Array, ...]]) -> Match:
    """Squared distance between the mean penultimate features of one class.

    Zhao, Bilen, "Dataset Condensation with Distribution Matching", WACV 2023, eq. (4):
    summed over features, with a Siamese augmentation.

    Args:
        network: gives the features, in evaluation mode.
        augment: Siamese, (key, *batches of images) -> tuple of images.

    Example:
        >>> import jax, jaxdd, numpy as np
        >>> images = np.ones((6, 8, 8, 1), np.float32)
        >>> real = jaxdd.real_data(images, np.arange(6) % 3, 3)
        >>> network = jaxdd.make_network("mlp", (8, 8, 1), 3, width=4)
        >>> learner = jaxdd.Learner(*network.init(jax.random.key(0)))
        >>> key = jax.random.key(0)
        >>> batch = jaxdd.windows.take(real, jax.numpy.arange(4))
        >>> match = feature_match(network, jaxdd.siamese(()))
        >>> float(match(key, batch, batch, learner)[0])
        0.0
    """

    def mean_features(learner: Learner, batch: Batch) -> Array:
        outputs, _ = network.apply(learner.params, learner.stats, batch.images, False)
        weights = jnp.sum(batch.labels, axis=-1)
        mass = jnp.sum(weights)
        return weights @ outputs.features[-1] / jnp.where(mass > 0, mass, 1)

    def match(
        key: Key, synthetic: Batch, real: Batch, learner: Learner
    ) -> tuple[Scalar, Evidence]:
        seen, made = augment(key, real.images, synthetic.images)
        synthetic = Batch(made, synthetic.labels)
        target = jax.lax.stop_gradient(mean_features(learner, Batch(seen, real.labels)))
        difference = mean_features(learner, synthetic) - target
        return jnp.sum(difference**2), Evidence(synthetic, None)

    return match
