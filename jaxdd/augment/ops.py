"""DSA's operations, each on one image.

An `Op` draws its parameters from a key and the image's size alone, so nothing depends
on the size or the order of a batch. Images are in preprocessed space, where zero is
about the mean colour.

Ranges and formulas are those of DSA's official code. Grids follow torch's
`align_corners=True`: the centres of the corner pixels are at -1 and 1.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float

from jaxdd.types import Array, Key

Shape: TypeAlias = tuple[int, ...]  # (H, W, C) of one image
Draws: TypeAlias = Any  # the random parameters of one op: a pytree of small arrays
Image: TypeAlias = Float[Array, "H W C"]


class Op(NamedTuple):
    """One augmentation of ONE sample; it keeps the sample's shape and dtype."""

    draw: Callable[[Key, Shape], Draws]
    apply: Callable[[Draws, Any], Any]
    rank: int = 3  # axes of a sample: an image, or 2 for a sequence [L, C]


# --- Colour -------------------------------------------------------------------------


def in_sequence(*ops: Op) -> Op:
    """The op that applies `ops` one after the other, each with its own draws."""

    def draw(key: Key, shape: Shape) -> Draws:
        keys = jax.random.split(key, len(ops))
        return tuple(op.draw(k, shape) for op, k in zip(ops, keys, strict=True))

    def apply(draws: Draws, image: Image) -> Image:
        for op, drawn in zip(ops, draws, strict=True):
            image = op.apply(drawn, image)
        return image

    return Op(draw, apply)


def _draw_unit(key: Key, shape: Shape) -> Array:
    return jax.random.uniform(key)  # []


def _brighten(u: Array, image: Image) -> Image:
    return image + (u - 0.5).astype(image.dtype)


def _saturate(u: Array, image: Image) -> Image:
    mean = image.mean(axis=2, keepdims=True)  # [H, W, 1]: the grey of each pixel
    return (image - mean) * (2.0 * u).astype(image.dtype) + mean


def _contrast(u: Array, image: Image) -> Image:
    mean = image.mean()
    return (image - mean) * (u + 0.5).astype(image.dtype) + mean


brightness = Op(_draw_unit, _brighten)
saturation = Op(_draw_unit, _saturate)
contrast = Op(_draw_unit, _contrast)
color = in_sequence(brightness, saturation, contrast)


# --- Position -----------------------------------------------------------------------


def _reach(size: int) -> int:
    return int(0.125 * size + 0.5)  # the largest translation, in pixels


def _draw_crop(key: Key, shape: Shape) -> Array:
    reach = jnp.array([_reach(size) for size in shape[:2]])
    return jax.random.randint(key, (2,), -reach, reach + 1)  # [2]: rows, columns


def _crop(offset: Array, image: Image) -> Image:
    """out[i, j] = image[i + offset[0], j + offset[1]], zero outside."""
    rows, columns = _reach(image.shape[0]), _reach(image.shape[1])
    padded = jnp.pad(image, ((rows, rows), (columns, columns), (0, 0)))
    start = (offset[0] + rows, offset[1] + columns, 0)
    return lax.dynamic_slice(padded, start, image.shape)


def _box(size: int) -> int:
    return int(0.5 * size + 0.5)  # the side of cutout's box


def _draw_cutout(key: Key, shape: Shape) -> Array:
    # An even box may also be centred one past the last pixel, as in the official code.
    stop = jnp.array([size + 1 - _box(size) % 2 for size in shape[:2]])
    return jax.random.randint(key, (2,), 0, stop)  # [2]: the centre of the box


def inside(start: Array, stop: Array, size: int) -> Array:
    index = jnp.arange(size)
    return (index >= start) & (index < stop)  # [size] bool: the part within the image


def _cutout(centre: Array, image: Image) -> Image:
    height, width = _box(image.shape[0]), _box(image.shape[1])
    start = centre - jnp.array([height // 2, width // 2])
    rows = inside(start[0], start[0] + height, image.shape[0])
    columns = inside(start[1], start[1] + width, image.shape[1])
    box = rows[:, None] & columns[None, :]
    return jnp.where(box[:, :, None], 0, image)


def _draw_coin(key: Key, shape: Shape) -> Array:
    return jax.random.bernoulli(key)  # [] bool


def _flip(coin: Array, image: Image) -> Image:
    return jnp.where(coin, image[:, ::-1], image)


def _draw_scale(key: Key, shape: Shape) -> Array:
    # [2]: rows, columns; a factor above 1 shrinks the content of the image
    return jax.random.uniform(key, (2,), minval=1 / 1.2, maxval=1.2)


def _scale(factor: Array, image: Image) -> Image:
    # The grid is separable, so bilinear sampling is one small matrix per axis: quicker
    # than a gather, whose gradient is a scatter-add. HIGHEST because on accelerators
    # the default would round the pixels themselves.
    rows, columns = (
        _tent_weights(factor[axis] * _centred(size) + (size - 1) / 2, size)
        for axis, size in enumerate(image.shape[:2])
    )
    return jnp.einsum(
        "ip,jq,pqc->ijc",
        rows.astype(image.dtype),
        columns.astype(image.dtype),
        image,
        precision=lax.Precision.HIGHEST,
    )


def _draw_rotate(key: Key, shape: Shape) -> Array:
    return jnp.deg2rad(jax.random.uniform(key, minval=-15.0, maxval=15.0))  # []


def _rotate(angle: Array, image: Image) -> Image:
    # The angle is in the [-1, 1] grid, as in the official code: an image that is not
    # square is also sheared.
    height, width = image.shape[:2]
    half_y, half_x = (height - 1) / 2, (width - 1) / 2
    y = (_centred(height) / max(half_y, 0.5))[:, None]
    x = (_centred(width) / max(half_x, 0.5))[None, :]
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    rows = half_y + half_y * (sin * x + cos * y)
    columns = half_x + half_x * (cos * x - sin * y)
    return _bilinear(image, rows, columns)


def _centred(size: int) -> Array:
    return jnp.arange(size) - (size - 1) / 2  # [size]: pixels from the centre


def _tent_weights(position: Array, size: int) -> Array:
    """[n] positions in pixels -> [n, size] weights of bilinear interpolation."""
    return jnp.maximum(0, 1 - jnp.abs(position[:, None] - jnp.arange(size)[None]))


def _bilinear(image: Image, rows: Array, columns: Array) -> Image:
    """Sample at [H, W] positions given in pixels; zero outside.

    One gather of 2x2 windows: at 32x32x3 its gradient inside a scan is quicker on CPU
    than four gathers or interpolation matrices.
    """
    height, width, channels = image.shape
    padded = jnp.pad(image, ((1, 1), (1, 1), (0, 0)))
    rows = jnp.clip(rows, -1, height) + 1  # further out, all is zero anyway
    columns = jnp.clip(columns, -1, width) + 1
    top = jnp.clip(jnp.floor(rows), 0, height).astype(jnp.int32)
    left = jnp.clip(jnp.floor(columns), 0, width).astype(jnp.int32)
    down, right = rows - top, columns - left

    def window(i: Array, j: Array) -> Array:
        return lax.dynamic_slice(padded, (i, j, jnp.zeros_like(i)), (2, 2, channels))

    windows = jax.vmap(jax.vmap(window))(top, left)  # [H, W, 2, 2, C]
    vertical = jnp.stack([1 - down, down], axis=-1)[..., :, None]
    horizontal = jnp.stack([1 - right, right], axis=-1)[..., None, :]
    weights = (vertical * horizontal).astype(image.dtype)  # [H, W, 2, 2]
    return (windows * weights[..., None]).sum(axis=(2, 3))


crop = Op(_draw_crop, _crop)
cutout = Op(_draw_cutout, _cutout)
flip = Op(_draw_coin, _flip)
scale = Op(_draw_scale, _scale)
rotate = Op(_draw_rotate, _rotate)

OPS: Mapping[str, Op] = {
    "brightness": brightness,
    "saturation": saturation,
    "contrast": contrast,
    "color": color,
    "crop": crop,
    "cutout": cutout,
    "flip": flip,
    "scale": scale,
    "rotate": rotate,
}
