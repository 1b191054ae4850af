"""First images that are cut from real ones, chosen by how hard they are (RDED)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from jaxdd.data.real import sample_class
from jaxdd.devices import policy
from jaxdd.fields import Choice, option
from jaxdd.primitives.ends import ENDS, first_of
from jaxdd.types import Array, Batch, Key, RealData

# (images with hard labels [B]) -> [B], larger for harder ones.
ScoreImages = Callable[[Batch], Array]
# Real images at a time, each of which is cut several times.
CHUNK = 20


@dataclass(frozen=True)
class Crops(Choice):
    """How images are cut from real ones, and which of them are kept.

    Sun et al., CVPR 2024 (RDED), keep what a teacher finds easiest; median crops are
    those of DELT (Shen et al., CVPR 2025); hard ones are the opposite (ours).

    Attributes:
        realism: which crops are kept, a name in `primitives.ends.ENDS`.
        score: of difficulty, a name in `scores.table.SCORES`.
        images: real images of a class that are cut, at most.
        per_image: crops of each, of which one is kept.
        area: the least share of an image's area that a crop has.
    """

    subject: ClassVar[str] = "crops"
    remedy: ClassVar[str] = "add --init=crops, or leave it out"

    realism: str = option(
        "easy",
        "crops of real images that are kept by --init=crops: those that a teacher "
        "finds easy, those in the middle (median), or hard ones",
        choices=ENDS,
    )
    score: str = option(
        "loss",
        "score of difficulty by which a teacher chooses among crops, such as loss or "
        "grad_norm",
        flag="realism_score",
    )
    images: int = option(
        300,
        "real images of each class that are cut into crops, at most",
        flag="crop_images",
        above=0,
    )
    per_image: int = option(
        5, "crops of every real image, one of which is kept", flag="crops", above=0
    )
    area: float = option(
        0.08,
        "least share of an image's area that a crop of it has; 1 for whole images",
        flag="crop_area",
        above=0,
        at_most=1,
    )


def random_boxes(key: Key, count: int, area: float) -> Array:
    """Squares at random places, as shares of an image's height and width.

    Their area is uniform, as that of torchvision's RandomResizedCrop at a ratio of 1;
    their places are not whole pixels (ours).

    Args:
        key: consumed.
        count: how many.
        area: the least share of the image's area, in (0, 1].

    Returns:
        [count, 3]: top, left and side, each in [0, 1], with top + side and left + side
        at most 1.

    Example:
        >>> random_boxes(jax.random.key(0), 2, area=1.0).tolist()
        [[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]
    """
    key_area, key_place = jax.random.split(key)
    side = jnp.sqrt(jax.random.uniform(key_area, (count, 1), minval=area, maxval=1.0))
    place = jax.random.uniform(key_place, (count, 2)) * (1 - side)
    return jnp.concatenate([place, side], axis=1)


def cut(image: Array, box: Array) -> Array:
    """The part of an image in a box, enlarged to the size of the image.

    Args:
        image: [H, W, C].
        box: [3], see `random_boxes`.

    Example:
        >>> whole = jnp.arange(16.0).reshape(4, 4, 1)
        >>> float(cut(whole, jnp.array([0.5, 0.5, 0.5]))[0, 0, 0])
        8.75
    """
    size = jnp.array(image.shape[:2], box.dtype)
    scale = jnp.broadcast_to(1 / box[2], (2,))
    return jax.image.scale_and_translate(
        image, image.shape, (0, 1), scale, -box[:2] * size / box[2], "linear"
    )


def _as_it_is(image: Array, box: Array) -> Array:
    del box
    return image


def kept(scores: Array, present: Array, count: int, realism: str) -> Array:
    """The positions of `count` scores at an end of them, or in their middle.

    Args:
        scores: [m].
        present: [m] bool, at least `count` of them; the others are left out.
        count: how many are kept.
        realism: a name in `primitives.ends.ENDS`.

    Returns:
        [count] int, from easy to hard; of the hard ones the hardest first.

    Example:
        >>> scores, everything = jnp.array([3.0, 1.0, 2.0, 9.0]), jnp.ones(4, bool)
        >>> [kept(scores, everything, 2, x).tolist() for x in ENDS]
        [[1, 2], [2, 0], [3, 0]]
    """
    order = jnp.argsort(jnp.where(present, scores, jnp.inf))
    spare = jnp.sum(present) - count
    first = first_of(realism, spare)
    chosen = jax.lax.dynamic_slice_in_dim(order, first, count)
    return chosen[::-1] if realism == "hard" else chosen


def crop_classes(
    key: Key, real: RealData, count: int, crops: Crops, score: ScoreImages
) -> tuple[Array, Array]:
    """Crops of random real images, class by class.

    Of every image the crop is kept that is easiest (or of median difficulty, or
    hardest) among its own, then as many of these as are wanted, by the same rule. Of a
    class with fewer images than crops are wanted, images are cut several times. Source:
    RDED's official code, whose teacher sees crops at the size at which they are stored;
    here it sees them enlarged (ours).

    Args:
        key: consumed.
        real: the images in play.
        count: crops of each class.
        crops: how they are cut and chosen.
        score: their difficulty.

    Returns:
        images [K, count, H, W, C] (of whole samples, of any shape), and their scores
        [K, count]. Pure, not jitted.

    Example:
        >>> by_mean = lambda batch: jnp.mean(batch.images, axis=(1, 2, 3))
        >>> images, scores = crop_classes(key, real, 2, Crops(images=3), by_mean)
        >>> images.shape, bool(jnp.all(scores[:, 0] <= scores[:, 1]))
        ((3, 2, 8, 8, 1), True)
    """
    classes, width = real.table.shape
    candidates = max(min(crops.images, width), count)
    # Whole samples, which may be other than images, have one view alone.
    whole = crops.area == 1
    each, view = (1, _as_it_is) if whole else (crops.per_image, cut)

    def of_class(xs: tuple[Key, Array]) -> tuple[Array, Array]:
        key, index = xs
        key_samples, key_boxes = jax.random.split(key)
        batch = sample_class(key_samples, real, index, candidates)
        boxes = random_boxes(key_boxes, candidates * each, crops.area)
        boxes = boxes.reshape(candidates, each, 3)

        def of_images(chosen: Array) -> Array:
            parts = jax.vmap(jax.vmap(view, (None, 0)))(
                batch.images[chosen], boxes[chosen]
            )
            labels = jnp.repeat(batch.labels[chosen], each, axis=0)
            rows = parts.reshape(-1, *parts.shape[2:])
            return score(Batch(rows, labels)).reshape(-1, each)

        scores = policy.map_chunks(of_images, candidates, CHUNK)
        every = jnp.ones(each, bool)
        best = jax.vmap(lambda s: kept(s, every, 1, crops.realism)[0])(scores)
        rows = jnp.arange(candidates)
        boxes, scores = boxes[rows, best], scores[rows, best]
        present = rows < jnp.maximum(real.counts[index], count)
        chosen = kept(scores, present, count, crops.realism)
        return jax.vmap(view)(batch.images[chosen], boxes[chosen]), scores[chosen]

    keys = jax.random.split(key, classes)
    return jax.lax.map(of_class, (keys, jnp.arange(classes)))
