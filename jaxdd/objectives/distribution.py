"""Distribution matching."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxdd.errors import UserError, quoted
from jaxdd.masks import Mask
from jaxdd.trees import apply_mask, total
from jaxdd.types import Array, Batch, Evidence, Key, Learner, Match, Network, Scalar

FEATURES = ("last", "all")


def feature_match(
    network: Network,
    augment: Callable[..., tuple[Array, ...]],
    features: str = "last",
    mask: Mask | None = None,
) -> Match:
    """Squared distance between the mean features of one class.

    Zhao, Bilen, "Dataset Condensation with Distribution Matching", WACV 2023, eq. (4):
    summed over features, with a Siamese augmentation.

    Args:
        network: gives the features, in evaluation mode.
        augment: Siamese, (key, *batches of images) -> tuple of images.
        features: "last", the penultimate ones (DM), or "all", those of every block
            (ours), which is what a mask can choose from.
        mask: which features are matched (PAD's FIEM; blocks count as layers, shallow
            to deep), from their squared difference; None for all of them.

    Raises:
        UserError: an unknown choice of features, or a mask on the last ones only.

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

    if features not in FEATURES:
        raise UserError(
            f"unknown features {quoted(features)}: choose one of {', '.join(FEATURES)}"
        )
    if mask is not None and features == "last":
        raise UserError(
            "a mask chooses among the features of all blocks: add --features=all"
        )
    first = 0 if features == "all" else -1

    def mean_features(learner: Learner, batch: Batch) -> dict[str, Array]:
        outputs, _ = network.apply(learner.params, learner.stats, batch.images, False)
        weights = jnp.sum(batch.labels, axis=-1)
        mass = jnp.sum(weights)
        return {
            f"block{i}": weights @ x / jnp.where(mass > 0, mass, 1)
            for i, x in enumerate(outputs.features[first:])
        }

    def match(
        key: Key, synthetic: Batch, real: Batch, learner: Learner
    ) -> tuple[Scalar, Evidence]:
        seen, made = augment(key, real.images, synthetic.images)
        synthetic = Batch(made, synthetic.labels)
        target = jax.lax.stop_gradient(mean_features(learner, Batch(seen, real.labels)))
        made_features = mean_features(learner, synthetic)
        squares = jax.tree.map(lambda a, b: (a - b) ** 2, made_features, target)
        if mask is not None:
            squares = apply_mask(mask(squares), squares)
        return total(squares), Evidence(synthetic)

    return match
