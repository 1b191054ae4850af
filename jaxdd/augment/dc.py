"""The augmentation of DC's own evaluation."""

import jax
import jax.numpy as jnp

from jaxdd.trees import aligned
from jaxdd.types import Array, Key

PAD = 4  # pixels on each side, for the crop
ANGLE = 45  # degrees


def _crop(key: Key, image: Array, fill: Array) -> Array:
    """Shift by up to 4 pixels; outside is the batch's mean colour."""
    height, width, channels = image.shape
    canvas = jnp.broadcast_to(
        fill, (height + 2 * PAD, width + 2 * PAD, channels)
    ).astype(image.dtype)
    canvas = jax.lax.dynamic_update_slice(canvas, image, (PAD, PAD, 0))
    row, column = jax.random.randint(key, (2,), 0, 2 * PAD)
    return jax.lax.dynamic_slice(canvas, (row, column, 0), image.shape)


def _resample(image: Array, rows: Array, columns: Array, fill: Array) -> Array:
    """Nearest pixels at (rows, columns) [H, W] each; `fill` outside the image."""
    height, width, _ = image.shape
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    found = image[jnp.clip(rows, 0, height - 1), jnp.clip(columns, 0, width - 1)]
    return jnp.where(inside[..., None], found, aligned(fill, found))


def _scale(key: Key, image: Array, fill: Array) -> Array:
    """Resize height and width by factors in [0.8, 1.2), centred; zero outside."""
    height, width, _ = image.shape
    factors = jax.random.uniform(key, (2,), minval=0.8, maxval=1.2)

    def source(size: int, factor: Array) -> Array:
        target = jnp.floor(factor * size)
        canvas = jnp.maximum(target, size)
        # The resized image sits in the middle of the canvas, whose middle is cut out.
        position = (
            jnp.arange(size)
            + jnp.floor((canvas - size) / 2)
            - jnp.floor((canvas - target) / 2)
        )
        index = jnp.floor(position * size / target).astype(jnp.int32)
        return jnp.where((position >= 0) & (position < target), index, -1)

    rows, columns = source(height, factors[0]), source(width, factors[1])
    rows, columns = jnp.meshgrid(rows, columns, indexing="ij")
    return _resample(image, rows, columns, jnp.zeros_like(fill))


def _rotate(key: Key, image: Array, fill: Array) -> Array:
    """Turn by a whole number of degrees in [-45, 45), nearest pixels."""
    height, width, _ = image.shape
    angle = jnp.deg2rad(1.0 * jax.random.randint(key, (), -ANGLE, ANGLE))
    y, x = jnp.meshgrid(
        jnp.arange(height) - (height - 1) / 2,
        jnp.arange(width) - (width - 1) / 2,
        indexing="ij",
    )
    rows = jnp.cos(angle) * y - jnp.sin(angle) * x + (height - 1) / 2
    columns = jnp.sin(angle) * y + jnp.cos(angle) * x + (width - 1) / 2
    as_index = lambda p: jnp.round(p).astype(jnp.int32)
    return _resample(image, as_index(rows), as_index(columns), jnp.mean(fill))


def dc_evaluation(key: Key, images: Array) -> Array:
    """One of crop, scale and rotate for every image on its own, [B, H, W, C].

    Source: official code of DC, `augment` with "crop_scale_rotate", which evaluates
    MNIST with it. Rotation takes nearest pixels where the original uses cubic splines
    (ours).
    """
    fill = jnp.mean(images, axis=(0, 1, 2))

    def one(index: Array, image: Array) -> Array:
        key_choice, key_draw = jax.random.split(jax.random.fold_in(key, index))
        choice = jax.random.randint(key_choice, (), 0, 3)
        return jax.lax.switch(choice, (_crop, _scale, _rotate), key_draw, image, fill)

    return jax.vmap(one)(jnp.arange(images.shape[0]), images)
