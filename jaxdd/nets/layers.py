"""Layers with PyTorch's definitions, as flax modules, for this folder only.

The published results of this field come from PyTorch networks, so the constants here
are PyTorch's, and so are the initial values; those of the networks of the registry are
drawn at once in `draws`. All layers compute in the dtype of their inputs and
parameters, channels last.
"""

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxdd.errors import UserError, quoted
from jaxdd.nets.conv import conv2d, matmul
from jaxdd.primitives.trees import aligned

EPSILON = 1e-5
MOMENTUM = 0.1  # share of the new batch in the running statistics of batch norm
GROUPS = 4
SHARPNESS = 60.0  # of the softplus, a smooth ReLU (RCIG's official code)

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": jax.nn.relu,
    "leaky_relu": partial(jax.nn.leaky_relu, negative_slope=0.01),
    "sigmoid": jax.nn.sigmoid,
    "swish": jax.nn.swish,
    "softplus": lambda x: jax.nn.softplus(SHARPNESS * x) / SHARPNESS,
}
NORMS = ("instance", "group", "layer", "batch", "none")


def first_padding(image_shape: tuple[int, ...], usual: int) -> int:
    """Padding of the first convolution: two more for 28x28x1, as if it were 32x32.

    The official code pads every one-channel image. Here only 28x28x1 is padded (ours):
    on 8x8 digits the border would be half as wide as the image.
    """
    return usual + 2 if tuple(image_shape) == (28, 28, 1) else usual


class Conv(nn.Module):
    """Convolution [B, H, W, C] -> [B, Ho, Wo, features], see `conv.conv2d`.

    With `in_time` it is along the first axis alone, for sequences [B, L, 1, C].
    """

    features: int
    size: int = 3
    stride: int = 1
    padding: int = 0
    bias: bool = True
    in_time: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        across = 1 if self.in_time else self.size
        padding = (self.padding, 0) if self.in_time else self.padding
        shape = (self.size, across, x.shape[-1], self.features)
        uniform = _uniform(math.prod(shape[:-1]))
        kernel = self.param("kernel", uniform, shape)
        y = conv2d(x, kernel, stride=self.stride, padding=padding)
        if not self.bias:
            return y
        return y + aligned(self.param("bias", uniform, (self.features,)), y)


class Dense(nn.Module):
    """Affine layer [B, F] -> [B, features]."""

    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        uniform = _uniform(x.shape[-1])
        kernel = self.param("kernel", uniform, (x.shape[-1], self.features))
        y = matmul(x, kernel)
        return y + aligned(self.param("bias", uniform, (self.features,)), y)


class Norm(nn.Module):
    """A normalisation of [B, H, W, C] by name.

    instance: per image and channel, over H x W (the `GroupNorm(C, C)` of the official
        code); scale and bias [C]
    group: per image, over H x W and a quarter of the channels; scale and bias [C]
    layer: per image, over H x W x C; scale and bias [H, W, C]
    batch: per channel, over B x H x W; scale and bias [C]; running statistics
    none: the identity

    `share` and `unbiased` are those of `BatchStatistics`.

    Raises:
        UserError: the name is not in `NORMS`.
    """

    kind: str
    share: float = MOMENTUM
    unbiased: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        if self.kind == "none":
            return x
        if self.kind == "batch":
            running = BatchStatistics(self.share, self.unbiased, name="statistics")
            return self._affine(running(x, train), (3,))
        if self.kind == "instance":
            return self._affine(standardize(x, (1, 2)), (3,))
        if self.kind == "layer":
            return self._affine(standardize(x, (1, 2, 3)), (1, 2, 3))
        if self.kind == "group":
            return self._affine(_standardize_groups(x), (3,))
        raise UserError(f"norm={quoted(self.kind)} is not one of {', '.join(NORMS)}")

    def _affine(self, x: jax.Array, axes: tuple[int, ...]) -> jax.Array:
        shape = tuple(x.shape[axis] for axis in axes)
        scale = self.param("scale", _ones, shape)
        bias = self.param("bias", _zeros, shape)
        return x * aligned(scale, x) + aligned(bias, x)


class BatchStatistics(nn.Module):
    """Standardisation over B x H x W, in training by the batch's own statistics.

    With `train`, running <- (1 - share) running + share batch, where the batch variance
    is biased in the normalisation and, with `unbiased`, unbiased in the running buffer
    (PyTorch). Without, the running statistics are used, so a result does not depend on
    the rest of the batch. Rows that are padding count like any other: do not pad a
    training batch.

    Without `train` the mean and the biased variance of the input, over the batch, are
    left in the collection `moments`, under the names of the running statistics.
    """

    share: float = MOMENTUM
    unbiased: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        shape = (x.shape[-1],)
        mean = self.variable("batch_stats", "mean", _zeros, None, shape)
        variance = self.variable("batch_stats", "variance", _ones, None, shape)
        if not train:
            batch_mean, _, batch_variance = _moments(x)
            self.sow("moments", "mean", batch_mean, **_LATEST)
            self.sow("moments", "variance", batch_variance, **_LATEST)
            inverse = jax.lax.rsqrt(variance.value + EPSILON)
            return (x - aligned(mean.value, x)) * aligned(inverse, x)
        batch_mean, centred, batch_variance = _moments(x)
        if not self.is_initializing():
            count = x.size // x.shape[-1]
            factor = count / max(count - 1, 1) if self.unbiased else 1.0
            mean.value = _update(mean.value, batch_mean, self.share)
            variance.value = _update(
                variance.value, batch_variance * factor, self.share
            )
        return centred * aligned(jax.lax.rsqrt(batch_variance + EPSILON), x)


# What is sown takes the place of what was there.
_LATEST: dict[str, Callable] = {
    "reduce_fn": lambda before, now: now,
    "init_fn": lambda: None,
}


def _moments(x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The mean [C], the centred x and the biased variance [C] of x [B, H, W, C]."""
    mean = x.mean((0, 1, 2))
    centred = x - aligned(mean, x)
    return mean, centred, jnp.square(centred).mean((0, 1, 2))


def _update(running: jax.Array, batch: jax.Array, share: float) -> jax.Array:
    """The running statistics after one batch, in their own dtype."""
    new = (1 - share) * running + share * batch
    return new.astype(running.dtype)


def standardize(x: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    """(x - mean) / sqrt(biased variance + 1e-5) over `axes`; the shape stays."""
    return _standardize(axes, x)[0]


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _standardize(axes: tuple[int, ...], x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The standardised x, and the inverse standard deviation.

    The derivative needs the result alone: with t for the tangent of x,
    y' = r (t - mean t - y mean(y t)). Deriving mean and variance one by one takes
    more passes over x, again in every further derivative.
    """
    centred = x - x.mean(axes, keepdims=True)
    variance = jnp.square(centred).mean(axes, keepdims=True)
    inverse = jax.lax.rsqrt(variance + EPSILON)
    return centred * inverse, inverse


@_standardize.defjvp
def _standardize_jvp(axes, primals, tangents):
    (x,), (t,) = primals, tangents
    y, inverse = _standardize(axes, x)
    along = (y * t).mean(axes, keepdims=True)
    by_y = inverse * (t - t.mean(axes, keepdims=True) - y * along)
    return (y, inverse), (by_y, -jnp.square(inverse) * along)


def _standardize_groups(x: jax.Array) -> jax.Array:
    channels = x.shape[-1]
    grouped = x.reshape(*x.shape[:3], GROUPS, channels // GROUPS)
    return standardize(grouped, (1, 2, 4)).reshape(x.shape)


def _uniform(fan_in: int) -> Callable[[jax.Array, tuple[int, ...]], jax.Array]:
    """U(-1/sqrt(fan_in), 1/sqrt(fan_in)), as `draws.draw_params` has it at once."""
    bound = fan_in**-0.5
    return lambda key, shape: jax.random.uniform(key, shape, jnp.float32, -bound, bound)


def _zeros(key: jax.Array | None, shape: tuple[int, ...]) -> jax.Array:
    del key
    return jnp.zeros(shape, jnp.float32)


def _ones(key: jax.Array | None, shape: tuple[int, ...]) -> jax.Array:
    del key
    return jnp.ones(shape, jnp.float32)


def flatten(x: jax.Array) -> jax.Array:
    """[B, ...] -> [B, F], in H, W, C order (PyTorch's is C, H, W)."""
    return x.reshape(x.shape[0], -1)
