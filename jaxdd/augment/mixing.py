"""Augmentations that mix the images of a batch."""

import jax
import jax.numpy as jnp

from jaxdd.augment.ops import inside
from jaxdd.primitives.losses import present
from jaxdd.types import Batch, Key


def cutmix(key: Key, batch: Batch, probability: float) -> Batch:
    """Paste one box, from the batch in a random order, into every image; mix labels.

    One lambda ~ U(0, 1) and one box serve the whole batch: its sides are
    sqrt(1 - lambda) times those of the image, its centre is uniform, and it is clipped
    to the image; labels are mixed by area. Padding (zero labels) stays unchanged.
    Source: Yun et al., ICCV 2019, as in IDC's `rand_bbox`.

    Args:
        key: consumed.
        batch: images [B, H, W, C], labels [B, K].
        probability: probability that the batch is mixed at all.
    """
    coin_key, lambda_key, centre_key, order_key = jax.random.split(key, 4)
    size, height, width = batch.images.shape[:3]
    sides = jnp.array([height, width])
    mixed = jax.random.bernoulli(coin_key, probability)
    ratio = jnp.where(mixed, jnp.sqrt(1 - jax.random.uniform(lambda_key)), 0.0)
    half = (sides * ratio).astype(jnp.int32) // 2
    centre = jax.random.randint(centre_key, (2,), 0, sides)
    start, stop = centre - half, centre + half
    rows = inside(start[0], stop[0], height)
    columns = inside(start[1], stop[1], width)
    box = rows[:, None] & columns[None, :]
    is_image = present(batch.labels)
    shuffled = jax.random.permutation(order_key, size)
    shuffled = shuffled[jnp.argsort(~is_image[shuffled], stable=True)]  # padding last
    order = jnp.where(is_image, shuffled[jnp.cumsum(is_image) - 1], jnp.arange(size))
    images = jnp.where(box[:, :, None], batch.images[order], batch.images)
    pasted = box.mean(dtype=batch.labels.dtype)  # [] share of the area
    return Batch(images, (1 - pasted) * batch.labels + pasted * batch.labels[order])
