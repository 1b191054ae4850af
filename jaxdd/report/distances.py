"""How far a distilled set is from the data, in the features of networks."""

from collections.abc import Mapping
from functools import partial

import jax
import jax.numpy as jnp

from jaxdd.data.real import sample_class
from jaxdd.primitives.samples import (
    characteristic_distance,
    gaussian,
    shares,
    squared_mmd,
    unit_rows,
)
from jaxdd.types import Array, Key, Learner, Network, RealData, Scalar, Synthetic

# Of the characteristic functions; the error of the distance falls as its root.
FREQUENCIES = 1024


def feature_distances(network: Network, learners: Learner, batch_real: int = 256):
    """Build the distances of a set from the data, class by class (ours).

    They are what distribution matching minimises, at networks that a set was not
    distilled with: the mean over networks and classes, of the features before the head,
    without an augmentation. Sets can be compared by them at equal images per class.

    Args:
        network: the architecture; with batch norm in evaluation mode.
        learners: [E, ...], for example random networks of a fixed key.
        batch_real: real samples per class.

    Returns:
        (key, synthetic, real) -> scalars by name. "means" is the squared distance of
        the mean features, "mmd" the squared maximum mean discrepancy with M3D's kernel,
        and "cf" the mean distance of characteristic functions of features of length 1.
        Pure, not jitted.

    Example:
        >>> from jaxdd.report.distances import feature_distances
        >>> learners = jax.tree.map(lambda x: x[None], learner)
        >>> distances = feature_distances(network, learners, batch_real=4)
        >>> start = jaxdd.initial_set(key, "real", real, ipc=4)
        >>> measured = distances(key, start, real)
        >>> sorted(measured), float(measured["means"]) < 1e-6
        (['cf', 'means', 'mmd'], True)
    """

    def described(learner: Learner, images: Array) -> Array:
        outputs, _ = network.apply(learner.params, learner.stats, images, False)
        return outputs.features[-1]

    def of_class(
        key: Key, learner: Learner, synthetic: Synthetic, real: RealData, index: Array
    ) -> Mapping[str, Scalar]:
        key_real, key_frequencies = jax.random.split(jax.random.fold_in(key, index))
        batch = sample_class(key_real, real, index, batch_real)
        x = described(learner, synthetic.images[index])
        y = described(learner, batch.images)
        weights = (
            jnp.sum(synthetic.labels[index], axis=-1),
            jnp.sum(batch.labels, axis=-1),
        )
        shape = FREQUENCIES, x.shape[-1]
        frequencies = jax.random.normal(key_frequencies, shape, x.dtype)
        apart = shares(weights[0]) @ x - shares(weights[1]) @ y
        return {
            "means": jnp.sum(apart**2),
            "mmd": squared_mmd(gaussian, x, y, *weights),
            "cf": characteristic_distance(
                frequencies, unit_rows(x), unit_rows(y), *weights
            ),
        }

    def distances(
        key: Key, synthetic: Synthetic, real: RealData
    ) -> Mapping[str, Scalar]:
        classes = jnp.arange(synthetic.images.shape[0])

        def at(learner: Learner) -> Mapping[str, Scalar]:
            one = partial(of_class, key, learner, synthetic, real)
            return jax.tree.map(jnp.mean, jax.lax.map(one, classes))

        return jax.tree.map(jnp.mean, jax.lax.map(at, learners))

    return distances
