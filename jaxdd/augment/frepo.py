"""The operations of FRePo's evaluation, by DSA's formulas in ranges of their own.

Source: the official code of FRePo, which RCIG's evaluation shares: one operation for a
batch, of {flip, colour, crop, rotate, translate, cutout}.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from jaxdd.augment import ops
from jaxdd.augment.ops import Image, Op, Shape, in_sequence, inside
from jaxdd.types import Array, Key

ZOOM = 0.8, 1.25  # factors of the size of what is seen
CUT = 0.25  # side of the box that is cut out, as a share of the image's


def _between(least: float, most: float) -> Callable[[Key, Shape], Array]:
    return lambda key, shape: jax.random.uniform(key, minval=least, maxval=most)


def _draw_zoom(key: Key, shape: Shape) -> Array:
    """[2]: rows and columns alike, so that shapes keep their proportions."""
    return jnp.broadcast_to(_between(*ZOOM)(key, shape), (2,))


def _draw_corner(key: Key, shape: Shape) -> Array:
    """[2]: the first row and column of the box, which lies inside the image."""
    stop = jnp.array([size - _side(size) + 1 for size in shape[:2]])
    return jax.random.randint(key, (2,), 0, stop)


def _side(size: int) -> int:
    return max(1, int(CUT * size + 0.5))


def _cut(corner: Array, image: Image) -> Image:
    height, width = image.shape[:2]
    rows = inside(corner[0], corner[0] + _side(height), height)
    columns = inside(corner[1], corner[1] + _side(width), width)
    return jnp.where((rows[:, None] & columns[None, :])[:, :, None], 0, image)


# Brightness moves by at most 0.25, saturation and contrast change by a quarter.
color = in_sequence(
    ops.brightness._replace(draw=_between(0.25, 0.75)),
    ops.saturation._replace(draw=_between(0.375, 0.625)),
    ops.contrast._replace(draw=_between(0.25, 0.75)),
)

OPS: Mapping[str, Op] = {
    "flip": ops.flip,
    "color": color,
    "crop": ops.scale._replace(draw=_draw_zoom),
    "rotate": ops.rotate,
    "translate": ops.crop,
    "cutout": Op(_draw_corner, _cut),
}
