"""A term that keeps synthetic images recognisable for a trained network."""

from collections.abc import Callable

import jax

from jaxdd.objectives.lifts import class_gradients
from jaxdd.primitives.keys import Draw
from jaxdd.primitives.losses import cross_entropy
from jaxdd.types import (
    Array,
    Batch,
    Info,
    Inputs,
    Key,
    Learner,
    Network,
    Objective,
    Scalar,
    Synthetic,
)


def calibrated(
    objective: Objective,
    network: Network,
    augment: Callable[..., tuple[Array, ...]],
    weight: float,
) -> Objective:
    """Add the cross-entropy of the step's trained network on the synthetic images.

    Wang et al. (NCFM), CVPR 2025, official code ("calibration"), and DANCE ("expert
    alignment"): the trained end of the expert that the step interpolates, the labels of
    the images, an augmentation of its own draw; the mean over the images of a class,
    summed over classes. It shares a step with the match here (ours), where the official
    code updates the images by it apart.

    Args:
        objective: what is matched.
        network: the architecture of the experts.
        augment: (key, images) -> (images,), such as a Siamese one.
        weight: of the term.

    Returns:
        The objective, which needs `inputs.span`; its info has "calibration" as well.

    Example:
        >>> match = jaxdd.feature_match(network, jaxdd.siamese(()))
        >>> plain = jaxdd.per_class(match, jaxdd.Sampling(2))
        >>> objective = calibrated(plain, network, jaxdd.siamese(()), 1.0)
        >>> span = jaxdd.Span(learner.params, learner.params)
        >>> inputs = jaxdd.Inputs(real, real, span)
        >>> start = jaxdd.initial_set(key, "real", real, ipc=1)
        >>> loss, info = objective(key, start, learner, inputs, jnp.int32(0))
        >>> sorted(info)
        ['calibration', 'match']
    """

    def of_class(
        images: Batch,
        key: Key,
        index: Array,
        learner: Learner,
        inputs: Inputs,
        step: Array,
    ) -> tuple[Scalar, Info]:
        del index, step
        (augmented,) = augment(key, images.images)
        params = jax.lax.stop_gradient(inputs.expert_span().target)
        outputs, _ = network.apply(params, learner.stats, augmented, False)
        return cross_entropy(outputs.logits, images.labels), {}

    term = class_gradients(of_class, features=True)

    def whole(
        key: Key, synthetic: Synthetic, learner: Learner, inputs: Inputs, step: Array
    ) -> tuple[Scalar, Info]:
        value, info = objective(key, synthetic, learner, inputs, step)
        key_term = Draw.CALIBRATION.of(key, beside=synthetic.images.shape[0])
        penalty, _ = term(key_term, synthetic, learner, inputs, step)
        return value + weight * penalty, {**info, "calibration": penalty}

    return whole
