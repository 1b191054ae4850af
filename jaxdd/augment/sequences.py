"""Operations on one sequence [L, C], after the names of papers on time series.

Jitter and scaling are those of Um et al. 2017 ("Data Augmentation of Wearable Sensor
Data for Parkinson's Disease Monitoring using Convolutional Neural Networks"); a shift
in time is their permutation's plain form, and a crop is window slicing (Le Guennec et
al. 2016). Strengths are ours, for standardised sequences. Like the operations on images
they are differentiable and draw from a key and the shape alone.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from jaxdd.augment.ops import Draws, Op, Shape
from jaxdd.types import Array, Key

JITTER = 0.1  # standard deviation of the noise
SCALE = 0.2  # largest relative change of the amplitude
SHIFT = 0.125  # largest shift, as a share of the length: DSA's for images
CROP = 0.8  # least share of the length that a crop keeps


def _draw_jitter(key: Key, shape: Shape) -> Draws:
    return JITTER * jax.random.normal(key, shape)


def _jitter(noise: Array, sequence: Array) -> Array:
    return sequence + noise.astype(sequence.dtype)


def _draw_scale(key: Key, shape: Shape) -> Draws:
    return jax.random.uniform(key, (shape[-1],), minval=1 - SCALE, maxval=1 + SCALE)


def _scale(factors: Array, sequence: Array) -> Array:
    return sequence * factors.astype(sequence.dtype)[None]


def _reach(length: int) -> int:
    return int(SHIFT * length + 0.5)


def _draw_shift(key: Key, shape: Shape) -> Draws:
    reach = _reach(shape[0])
    return jax.random.randint(key, (), -reach, reach + 1)


def _shift(offset: Array, sequence: Array) -> Array:
    """out[i] = sequence[i + offset], zero outside."""
    length, reach = sequence.shape[0], _reach(sequence.shape[0])
    padded = jnp.pad(sequence, ((reach, reach), (0, 0)))
    return jax.lax.dynamic_slice_in_dim(padded, offset + reach, length)


def _draw_crop(key: Key, shape: Shape) -> Draws:
    """[2]: the kept share of the length, and where it begins in the rest."""
    share, place = jax.random.uniform(key, (2,))
    return jnp.stack([CROP + (1 - CROP) * share, place])


def _crop(window: Array, sequence: Array) -> Array:
    """A window in time, stretched to the whole length by linear interpolation."""
    length = sequence.shape[0]
    kept = window[0] * (length - 1)
    times = window[1] * (length - 1 - kept) + kept * jnp.linspace(0.0, 1.0, length)
    # One small matrix, as for the scale of images: no scatter in its gradient.
    weights = jnp.maximum(0, 1 - jnp.abs(times[:, None] - jnp.arange(length)[None]))
    highest = jax.lax.Precision.HIGHEST
    return jnp.matmul(weights.astype(sequence.dtype), sequence, precision=highest)


OPS: Mapping[str, Op] = {
    "jitter": Op(_draw_jitter, _jitter, rank=2),
    "scale": Op(_draw_scale, _scale, rank=2),
    "shift": Op(_draw_shift, _shift, rank=2),
    "crop": Op(_draw_crop, _crop, rank=2),
}
