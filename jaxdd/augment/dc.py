"""The augmentation of DC's own evaluation."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxdd.errors import UserError, quoted
from jaxdd.primitives.trees import aligned
from jaxdd.types import Array, Key

PAD = 4  # pixels on each side, for the crop
ANGLE = 45  # degrees
NOISE = 0.001  # standard deviation


def _crop(key: Key, image: Array, fill: Array) -> Array:
    """Shift by up to 4 pixels; pixels from outside get the batch's mean colour."""
    height, width, channels = image.shape
    canvas = jnp.broadcast_to(
        fill, (height + 2 * PAD, width + 2 * PAD, channels)
    ).astype(image.dtype)
    canvas = jax.lax.dynamic_update_slice(canvas, image, (PAD, PAD, 0))
    row, column = jax.random.randint(key, (2,), 0, 2 * PAD)
    return jax.lax.dynamic_slice(canvas, (row, column, 0), image.shape)


def _pick(
    image: Array, rows: Array, columns: Array, inside: Array, fill: Array
) -> Array:
    """The pixels at (rows, columns), [H, W] each; `fill` outside of `inside`."""
    height, width, _ = image.shape
    as_index = lambda p, size: jnp.clip(jnp.round(p).astype(jnp.int32), 0, size - 1)
    pixels = image[as_index(rows, height), as_index(columns, width)]
    return jnp.where(inside[..., None], pixels, aligned(fill, pixels))


def _scale(key: Key, image: Array, fill: Array) -> Array:
    """Resize height and width by factors in [0.8, 1.2), centred; zero outside."""
    sizes = image.shape[:2]
    factors = jax.random.uniform(key, (2,), minval=0.8, maxval=1.2)
    targets = [jnp.floor(f * size) for f, size in zip(factors, sizes, strict=True)]
    # One square canvas, so that the larger side determines the offset of both sides.
    canvas = jnp.maximum(jnp.maximum(*targets), max(sizes))

    def source(size: int, target: Array) -> tuple[Array, Array]:
        # The resized image sits in the middle of the canvas, whose middle is cut out.
        position = (
            jnp.arange(size)
            + jnp.floor((canvas - size) / 2)
            - jnp.floor((canvas - target) / 2)
        )
        inside = (position >= 0) & (position < target)
        return jnp.floor(position * size / target), inside

    rows, columns = (source(*x) for x in zip(sizes, targets, strict=True))
    y, x = jnp.meshgrid(rows[0], columns[0], indexing="ij")
    inside = rows[1][:, None] & columns[1]
    return _pick(image, y, x, inside, jnp.zeros_like(fill))


def _turn(degrees: Array, image: Array, fill: Array) -> Array:
    """Turn by an angle in degrees, nearest pixels; positive as SciPy's `rotate`."""
    height, width, _ = image.shape
    angle = jnp.deg2rad(degrees)
    sin, cos = jnp.sin(angle), jnp.cos(angle)

    def offsets(size: int, other: int) -> Array:
        """Offsets of the pixels from the centre of the canvas of the turned image."""
        canvas = jnp.floor(size * jnp.abs(cos) + other * jnp.abs(sin) + 0.5)
        first = jnp.trunc((canvas - size) / 2)  # first pixel of the part that is kept
        return jnp.arange(size) + first - (canvas - 1) / 2

    y, x = jnp.meshgrid(offsets(height, width), offsets(width, height), indexing="ij")
    rows = cos * y + sin * x + (height - 1) / 2
    columns = cos * x - sin * y + (width - 1) / 2
    inside = (rows >= 0) & (rows <= height - 1)
    inside &= (columns >= 0) & (columns <= width - 1)
    return _pick(image, rows, columns, inside, jnp.mean(fill))


def _rotate(key: Key, image: Array, fill: Array) -> Array:
    """Turn by a whole number of degrees in [-45, 45)."""
    return _turn(1.0 * jax.random.randint(key, (), -ANGLE, ANGLE), image, fill)


def _noise(key: Key, image: Array, fill: Array) -> Array:
    """Add Gaussian noise to every pixel."""
    return image + NOISE * jax.random.normal(key, image.shape, image.dtype)


_OPS = {"crop": _crop, "scale": _scale, "rotate": _rotate, "noise": _noise}
_DIGITS = "crop_scale_rotate"


def dc_evaluation(strategy: str = _DIGITS) -> Callable[[Key, Array], Array]:
    """One of the named operations for every image, drawn independently, [B, H, W, C].

    DC evaluates MNIST with "crop_scale_rotate", and ConvNets with batch norm with
    "crop_noise". Source: `augment` in DC's official code. Rotation takes nearest pixels
    whereas the original uses cubic splines (ours).

    Args:
        strategy: names among crop, scale, rotate and noise, joined by "_".

    Returns:
        (key, images) -> images.

    Raises:
        UserError: the strategy names an unknown operation.
    """
    names = strategy.split("_")
    unknown = [name for name in names if name not in _OPS]
    if unknown:
        raise UserError(
            f"the augmentation {quoted(f'dc:{strategy}')} names an unknown operation "
            f"{quoted(unknown[0])}: join some of {', '.join(_OPS)} by underscores"
        )
    branches = [_OPS[name] for name in names]

    def augment(key: Key, images: Array) -> Array:
        fill = jnp.mean(images, axis=(0, 1, 2))

        def one(index: Array, image: Array) -> Array:
            key_choice, key_draw = jax.random.split(jax.random.fold_in(key, index))
            choice = jax.random.randint(key_choice, (), 0, len(branches))
            return jax.lax.switch(choice, branches, key_draw, image, fill)

        return jax.vmap(one)(jnp.arange(images.shape[0]), images)

    return augment
