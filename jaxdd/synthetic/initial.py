"""Initial images and labels of a synthetic set."""

from collections.abc import Iterable

import jax
import jax.numpy as jnp

from jaxdd.data.real import sample_classes
from jaxdd.errors import UserError, quoted
from jaxdd.synthetic.decoder import INPUT
from jaxdd.synthetic.formation import mosaic
from jaxdd.types import Array, Key, RealData, Space, Synthetic

DRAWN = ("noise", "unit_noise", "real")  # without experts
INITIALS = (*DRAWN, "correct", "crops")


def initial_set(key: Key, kind: str, real: RealData, ipc: int) -> Synthetic:
    """An initial synthetic set with hard labels and a step size of 0.

    Args:
        key: consumed.
        kind: "noise" for standard normal images in preprocessed space; "unit_noise" for
            the same with an L2 norm of 1 per image (RaT-BPTT, official code); "real"
            for distinct random real images of the class.
        real: the real images; noise only uses their shape.
        ipc: images per class.

    Raises:
        UserError: the kind is unknown.

    Example:
        >>> import jax, jaxdd, numpy as np
        >>> images = np.ones((6, 8, 8, 1), np.float32)
        >>> real = jaxdd.real_data(images, np.arange(6) % 3, 3)
        >>> key = jax.random.key(0)
        >>> initial_set(key, "noise", real, ipc=2).images.shape
        (3, 2, 8, 8, 1)
    """
    if kind not in DRAWN:
        raise UserError(
            f"unknown initial images {quoted(kind)}: choose one of {', '.join(DRAWN)}"
        )
    classes, shape = real.table.shape[0], real.images.shape[1:]
    if kind == "real":
        images = sample_classes(key, real, ipc).images
    else:
        images = jax.random.normal(key, (classes, ipc, *shape), real.scale.dtype)
    if kind == "unit_noise":
        squares = jnp.sum(images**2, axis=tuple(range(2, images.ndim)), keepdims=True)
        images = images / jnp.sqrt(squares)
    return with_hard_labels(images)


def with_hard_labels(images: Array) -> Synthetic:
    """The set of some images [K, n, ...], labelled by their class.

    Example:
        >>> with_hard_labels(jnp.ones((3, 2, 8, 8, 1))).labels.shape
        (3, 2, 3)
    """
    classes, ipc = images.shape[:2]
    labels = jnp.broadcast_to(
        jnp.eye(classes, dtype=images.dtype)[:, None], (classes, ipc, classes)
    )
    return Synthetic(images, labels, jnp.zeros((), images.dtype))


def mosaics(images: Synthetic, factor: int, space: Space = INPUT) -> Synthetic:
    """Stored images of `factor`^2 reduced images each: IDC's initialisation "mix".

    Args:
        images: [K, f * f * n, ...], in the input space; the labels of the images in a
            mosaic are averaged.
        factor: f, images along each side.
        space: space in which mosaics are composed; the result is in the input space.

    Returns:
        [K, n, ...].

    Example:
        >>> labels = jnp.tile(jnp.eye(3)[:, None], (1, 4, 1))
        >>> images = Synthetic(jnp.ones((3, 4, 8, 8, 1)), labels, jnp.float32(0))
        >>> mosaics(images, factor=2).images.shape
        (3, 1, 8, 8, 1)
    """
    if factor == 1:
        return images
    classes, count = images.labels.shape[:2]
    labels = images.labels.reshape(classes, factor**2, count // factor**2, -1)
    whole = space.decode(mosaic(space.encode(images.images), factor))
    return images._replace(images=whole, labels=jnp.mean(labels, axis=1))


def correct_set(
    key: Key, real: RealData, right: Iterable[Array], ipc: int
) -> tuple[Synthetic, int]:
    """Distinct random real images that an expert classifies correctly.

    DATM (official code) takes the images that the first expert classifies correctly and
    fills up classes with too few of them by those of the next experts. If all experts
    together have too few, the rest are random real images (ours; the official code
    loops for ever).

    Args:
        key: consumed.
        real: the real images.
        right: [M] bool for one expert after another, whether it classifies the image
            correctly; only consumed as far as needed.
        ipc: images per class.

    Returns:
        The set with hard labels, and the number of its images that no expert classifies
        correctly.

    Example:
        >>> import jaxdd, numpy as np
        >>> images = np.ones((6, 8, 8, 1), np.float32)
        >>> real = jaxdd.real_data(images, np.arange(6) % 3, 3)
        >>> right = jnp.array([True, True, True, True, True, False])
        >>> chosen, wrong = correct_set(jax.random.key(0), real, [right], ipc=2)
        >>> chosen.images.shape, wrong
        ((3, 2, 8, 8, 1), 1)
    """
    key_order, key_draw = jax.random.split(key)
    classes, width = real.table.shape
    in_play = jnp.arange(width) < real.counts[:, None]
    # The rank of a sample is the first expert that classifies it correctly.
    rank = jnp.full(real.labels.shape[0], jnp.inf)
    for expert, hits in enumerate(right):
        rank = jnp.where(hits & jnp.isinf(rank), float(expert), rank)
        correct = jnp.sum(in_play & jnp.isfinite(rank[real.table]), axis=1)
        if jnp.all(correct >= jnp.minimum(real.counts, ipc)):
            break

    def chosen(key: Key, row: Array, count: Array) -> Array:
        shuffled = jax.random.permutation(key, row.shape[0])
        present = shuffled < count
        order = jnp.where(present, rank[row[shuffled]], jnp.inf)
        # Padding comes last, after samples that no expert classifies correctly.
        order = jnp.lexsort((order, ~present))
        return row[shuffled[order]][:ipc]

    keys = jax.random.split(key_order, classes)
    table = jax.vmap(chosen)(keys, real.table, real.counts)
    picked = real._replace(table=table, counts=jnp.minimum(real.counts, ipc))
    wrong = int(jnp.sum(in_play[:, :ipc] & jnp.isinf(rank[table])))
    return initial_set(key_draw, "real", picked, ipc), wrong


def label_logits(synthetic: Synthetic, logits: Iterable[Array]) -> Array:
    """Initial logits of learned labels: the mean over experts that are correct.

    DATM, official code. An image that no expert classifies correctly gets the mean over
    all experts (ours; 0/0 in the official code).

    Args:
        synthetic: a set with hard labels.
        logits: [N, K] for one expert after another, of the images class by class.

    Returns:
        [K, n, K] logits.

    Example:
        >>> labels = jnp.eye(2)[:, None]
        >>> start = Synthetic(jnp.zeros((2, 1, 4, 4, 1)), labels, jnp.float32(0))
        >>> logits = [jnp.array([[2.0, 1.0], [1.0, 0.0]])]
        >>> label_logits(start, logits).tolist()
        [[[2.0, 1.0]], [[1.0, 0.0]]]
    """
    shape = synthetic.labels.shape
    own = jnp.argmax(synthetic.labels, -1).ravel()
    good = count = everything = jnp.zeros((), synthetic.labels.dtype)
    experts = 0
    for z in logits:
        hit = (jnp.argmax(z, -1) == own)[:, None]
        good, count = good + jnp.where(hit, z, 0), count + hit
        everything, experts = everything + z, experts + 1
    mean = jnp.where(count > 0, good / jnp.maximum(count, 1), everything / experts)
    return mean.reshape(shape)
