"""An artifact as the initial set of a distillation."""

import jax.numpy as jnp
import numpy as np

from jaxdd.artifact.artifact import Artifact
from jaxdd.data.preprocess import Preprocess
from jaxdd.types import Array, Synthetic


def initial_from(
    artifact: Artifact,
    preprocess: Preprocess | None = None,
    learned_labels: bool = False,
) -> Synthetic:
    """The initial set of a distillation from an artifact, for `Method.init`.

    `initial.initial_set` is the same for noise and real images.

    Args:
        artifact: the set.
        preprocess: preprocessing of the data to distill; None for the artifact's. If
            they differ, images are converted through pixels, without clipping.
        learned_labels: whether the labels are learned (`Settings.labels` is "soft"):
            then they are the logits of the artifact's labels. Otherwise every image has
            the hard label of its class, whatever the artifact's labels are. Hard labels
            cannot be learned as logits: if the softmax is 0 or 1 in float32, its
            gradient is 0. Use `initial.label_logits` for them.

    Returns:
        Images [K, n, H, W, C] in the input space, as stored: not cut into tiles.
        Labels [K, n, K]: logits or one-hot. The step size, 0 if the artifact has
        none.

    Raises:
        UserError: the preprocessing does not fit the images.

    Example:
        >>> from jaxdd.artifact.artifact import _example
        >>> start = initial_from(_example())
        >>> start.images.shape, start.labels.argmax(-1).tolist()
        ((2, 1, 4, 4, 1), [[0], [1]])
    """
    images = artifact.images
    if artifact.space == "pixels":
        images = (preprocess or artifact.fitted).apply(images)
    elif preprocess is not None and not same_preprocessing(preprocess, artifact.fitted):
        images = preprocess.apply(artifact.fitted.invert(images))
    if learned_labels:
        labels = label_logits_of(artifact.probabilities())
    else:
        hard = np.eye(len(artifact.class_names), dtype=np.float32)[:, None]
        labels = jnp.array(np.broadcast_to(hard, artifact.labels.shape))
    step_size = jnp.float32(artifact.step_size or 0.0)
    return Synthetic(jnp.array(images), labels, step_size)


def label_logits_of(probabilities: np.ndarray) -> Array:
    """Logits [..., K] whose softmax is [..., K] probabilities again.

    A probability of 0 becomes the smallest that float32 can hold.

    Example:
        >>> label_logits_of(np.array([0.5, 0.5], np.float32)).round(3).tolist()
        [-0.6930000185966492, -0.6930000185966492]
    """
    smallest = np.finfo(np.float32).tiny
    return jnp.log(jnp.maximum(jnp.asarray(probabilities), smallest))


def same_preprocessing(ours: Preprocess, theirs: Preprocess) -> bool:
    """Whether two preprocessings are equal up to rounding.

    The matrices of a whitening differ in the last digits between machines.
    """
    if ours.kind != theirs.kind:
        return False
    pairs = ((getattr(ours, k), getattr(theirs, k)) for k in ours.to_arrays())
    return all(
        np.shape(a) == np.shape(b) and np.allclose(a, b, rtol=1e-5, atol=1e-6)
        for a, b in pairs
        if not isinstance(a, str)
    )
