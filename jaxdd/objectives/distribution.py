"""Distribution matching, class by class or with all classes in one batch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jaxdd import augment as augmentations
from jaxdd.augment import augment_both
from jaxdd.errors import UserError, quoted
from jaxdd.fields import option, variant
from jaxdd.modifiers.masks import Masking
from jaxdd.nets import has_batch_statistics
from jaxdd.objectives.bases import SampleMatching
from jaxdd.objectives.calibration import calibrated
from jaxdd.objectives.feature_distances import (
    FEATURE_DISTANCES,
    MMD,
    Attention,
    CharacteristicFunction,
    FeatureDistance,
    Means,
    Sample,
)
from jaxdd.objectives.lifts import per_class
from jaxdd.objectives.parts import Parts
from jaxdd.objectives.set_lifts import per_set
from jaxdd.primitives.evidence import later_gradient
from jaxdd.primitives.keys import Draw
from jaxdd.synthetic.sets import fill, flatten
from jaxdd.types import (
    Array,
    Batch,
    ClassMatch,
    Evidence,
    Key,
    Learner,
    Network,
    Objective,
    Samples,
    Scalar,
    SetMatch,
    Synthetic,
)

FEATURES = ("last", "all")
MEANS = Means()


def feature_match(
    network: Network,
    augment: Callable[..., tuple[Array, ...]],
    features: str = "last",
    mask: Masking | None = None,
    distance: FeatureDistance = MEANS,
) -> ClassMatch:
    """How far the features of real and synthetic samples of one class are apart.

    By default the squared distance of their means: Zhao, Bilen, "Dataset Condensation
    with Distribution Matching", WACV 2023, eq. (4), with a Siamese augmentation.

    Args:
        network: the network of the features, in evaluation mode; networks with batch
            norm need `joint_feature_match`.
        augment: Siamese, (key, *batches of images) -> tuple of images.
        features: "last", the penultimate features (DM), or "all", the features of every
            block (ours), which a mask needs.
        mask: the features that are matched (PAD's FIEM; blocks count as layers, shallow
            to deep), from their squared difference; None for all of them.
        distance: of the two samples, see `feature_distances`.

    Raises:
        UserError: an unknown choice of features, or a mask on the last ones only.

    Example:
        >>> match = feature_match(network, jaxdd.siamese(()))
        >>> float(match(key, batch, batch, learner)[0])
        0.0
    """
    first_block(features, mask)  # refuses what cannot be

    def sample(learner: Learner, batch: Batch) -> Sample:
        outputs, _ = network.apply(learner.params, learner.stats, batch.images, False)
        rows = distance.describe(outputs, features)
        return Sample(rows, jnp.sum(batch.labels, axis=-1))

    def match(
        key: Key, synthetic: Batch, real: Batch, learner: Learner
    ) -> tuple[Scalar, Evidence]:
        real, synthetic = augment_both(key, augment, real, synthetic)
        target = jax.lax.stop_gradient(sample(learner, real))
        value = distance.compare(
            Draw.FREQUENCIES.of(key), sample(learner, synthetic), target, mask
        )
        return value, Evidence(synthetic, later_gradient(network, learner, synthetic))

    return match


def joint_feature_match(
    network: Network,
    augment: Callable[..., tuple[Array, ...]],
    features: str = "last",
    mask: Masking | None = None,
    distance: FeatureDistance = MEANS,
) -> SetMatch:
    """The same distances, summed over classes, for networks with batch norm.

    As in DM's official code, the real images of all classes are one batch in training
    mode, normalised by its own statistics, and the synthetic ones are another: the mean
    features of a class depend on the other classes, so that a match of one class alone
    is another loss. Every class has its own Siamese draw. Padding is replaced by copies
    of other images (ours), since it would be part of the statistics.

    Args:
        network: the network of the features, in training mode.
        augment, features, mask, distance: as in `feature_match`.

    Returns:
        The match of all classes.

    Raises:
        UserError: as in `feature_match`.

    Example:
        >>> import jax, jaxdd, numpy as np
        >>> images = np.ones((6, 8, 8, 1), np.float32)
        >>> real = jaxdd.real_data(images, np.arange(6) % 3, 3)
        >>> network = jaxdd.make_network("convnet_bn", (8, 8, 1), 3, width=4, depth=1)
        >>> key = jax.random.key(0)
        >>> learner = jaxdd.Learner(*network.init(key))
        >>> start = jaxdd.initial_set(key, "real", real, ipc=1)
        >>> match = joint_feature_match(network, jaxdd.siamese(()))
        >>> fetch = lambda key, k: jaxdd.data.real.sample_class(key, real, k, 2)
        >>> round(float(match(key, start, fetch, learner)[0]), 6)
        0.0
    """
    first_block(features, mask)  # refuses what cannot be

    def samples(learner: Learner, batch: Batch) -> Sample:
        """The samples of every class, [K, n, F] in each leaf, of images [K, n, ...]."""
        classes, count = batch.labels.shape[:2]
        images = fill(jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batch))
        outputs, _ = network.apply(learner.params, learner.stats, images, True)
        rows = jax.tree.map(
            lambda x: x.reshape(classes, count, -1),
            distance.describe(outputs, features),
        )
        return Sample(rows, jnp.sum(batch.labels, axis=-1))

    def match(
        key: Key,
        synthetic: Synthetic,
        real: Samples,
        learner: Learner,
    ) -> tuple[Scalar, Evidence]:
        def draw(xs):
            index, images = xs
            key_sample, key_match = jax.random.split(jax.random.fold_in(key, index))
            batch = real(key_sample, index)
            real_images, augmented = augment(key_match, batch.images, images)
            return batch._replace(images=real_images), augmented

        # One class after the other, so that of an augmentation's operations only the
        # chosen one is computed.
        xs = jnp.arange(synthetic.images.shape[0]), synthetic.images
        real_batch, augmented = jax.lax.map(draw, xs)
        batch = Batch(augmented, synthetic.labels)
        target = jax.lax.stop_gradient(samples(learner, real_batch))
        classes = synthetic.images.shape[0]
        keys = jax.random.split(Draw.FREQUENCIES.of(key, beside=classes), classes)
        each = jax.vmap(lambda key, x, y: distance.compare(key, x, y, mask))
        value = jnp.sum(each(keys, samples(learner, batch), target))
        flat = flatten(synthetic._replace(images=augmented))
        return value, Evidence(flat, later_gradient(network, learner, flat))

    return match


def first_block(features: str, mask: Masking | None) -> int:
    """Index of the first block that is matched.

    Raises:
        UserError: there are no such features, or a mask chooses among those of one
            block.
    """
    if features not in FEATURES:
        raise UserError(
            f"unknown features {quoted(features)}: choose one of {', '.join(FEATURES)}"
        )
    if mask is not None and features == "last":
        raise UserError(
            "a mask chooses among the features of all blocks: add --features=all"
        )
    return 0 if features == "all" else -1


@dataclass(frozen=True)
class FeatureMatching(SampleMatching):
    """Features of each class are matched (DM, M3D, DataDAM), see `feature_match`.

    Attributes:
        features: which are matched: those of the "last" block, or of "all" blocks.
        distance: of the real and the synthetic features of a class.
        calibration: weight of the cross-entropy of trained networks on the synthetic
            images, where networks are interpolated (NCFM); 0 for none.
    """

    name: ClassVar[str] = "distribution"
    subject: ClassVar[str] = "matching features"

    features: str = option(
        "last",
        "blocks of the network whose features are matched: the last one (last), "
        "or all of them (all)",
        choices=FEATURES,
    )
    distance: Means | MMD | CharacteristicFunction | Attention = variant(
        MEANS,
        "distance of the features of real and synthetic samples of a class: of their "
        "means (means), by a kernel (mmd), of characteristic functions (cf), or of "
        "attention maps (attention)",
        "feature_distance",
        FEATURE_DISTANCES,
    )
    calibration: float = option(
        0.0,
        "weight of the cross-entropy of experts on the synthetic images (methods with "
        "interpolated networks); 0 for none",
        at_least=0,
    )

    def make(self, network: Network, parts: Parts) -> Objective:
        """The objective."""
        siamese = augmentations.siamese(augmentations.pipeline(self.augmentation))
        matched = self._matching(network, siamese, parts)
        if not self.calibration:
            return matched
        return calibrated(matched, network, siamese, self.calibration)

    def _matching(
        self,
        network: Network,
        siamese: Callable[..., tuple[Array, ...]],
        parts: Parts,
    ) -> Objective:
        """The objective without a calibration."""
        arguments = network, siamese, self.features, parts.mask, self.distance
        if has_batch_statistics(network):
            # Classes share the statistics of one batch: none can be matched alone.
            joint = joint_feature_match(*arguments)
            return per_set(joint, self.samples(), parts.terms, parts.remember)
        match = feature_match(*arguments)
        return per_class(
            match, self.samples(), parts.terms, parts.remember, features=True
        )

    def check_run(
        self, network: Network, image_shape: tuple[int, ...], classes: int, images: int
    ) -> None:
        """Refuse a network without what the distance compares, see `ChecksRun`."""
        del classes, images
        self.matched(network, image_shape)

    def matched(self, network: Network, image_shape: tuple[int, ...]) -> Any:
        """The shapes of what is compared: features of the blocks, or maps of them.

        Raises:
            UserError: the network lacks what the distance compares.
        """
        image = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
        outputs, _ = jax.eval_shape(
            lambda key, x: network.apply(*network.init(key), x, False),
            jax.random.key(0), image,
        )  # fmt: skip
        # Of one image, so that every leaf has a row.
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype),
            jax.eval_shape(lambda x: self.distance.describe(x, "all"), outputs),
        )
