"""Initial parameters and running statistics: PyTorch's or flax's, in one random draw.

XLA:CPU takes about 0.3 s to compile each random draw of a network that is created
inside a compiled step. Therefore the networks of the registry are asked for their
shapes alone, and all weights of one are cut from one vector: 0.3 s instead of 2.3 s for
ConvNet, 0.4 s instead of 7 s for ResNet18.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxdd.types import Key, Params

# Standard deviation of a standard normal number that is cut off at -2 and 2.
CUT_DEVIATION = 0.8796256610342398


def draw_params(key: Key, shapes: Any) -> Params:
    """Parameters for a nested dict of shapes, float32.

    A layer with a kernel [..., fan_in axes ..., features] gets kernel and bias from
    U(-1/sqrt(fan_in), 1/sqrt(fan_in)), the default of PyTorch's convolution and affine
    layers; a norm gets scale 1 and bias 0.
    """
    leaves = flatten_dict(shapes)
    kernels = {path[:-1]: leaf for path, leaf in leaves.items() if path[-1] == "kernel"}
    sizes = {path: leaf.size for path, leaf in leaves.items() if path[:-1] in kernels}
    noise = jax.random.uniform(key, (sum(sizes.values()),), jnp.float32, -1, 1)
    params, start = {}, 0
    for path, leaf in leaves.items():
        if path not in sizes:
            params[path] = constant(path[-1], leaf.shape)
            continue
        bound = math.prod(kernels[path[:-1]].shape[:-1]) ** -0.5
        values = noise[start : start + leaf.size] * bound
        params[path] = values.reshape(leaf.shape)
        start += leaf.size
    return unflatten_dict(params)


def draw_lecun(key: Key, shapes: Any) -> Params:
    """Parameters for a nested dict of shapes, float32, as flax draws them.

    A kernel [..., fan_in axes ..., features] gets a normal distribution of variance
    1 / fan_in, cut off at two standard deviations (LeCun normal); a norm's scale is 1
    and every bias 0. Source: the defaults of flax, with which FRePo and RCIG train.
    """
    leaves = flatten_dict(shapes)
    kernels = {path: leaf for path, leaf in leaves.items() if path[-1] == "kernel"}
    size = sum(leaf.size for leaf in kernels.values())
    noise = jax.random.truncated_normal(key, -2.0, 2.0, (size,), jnp.float32)
    params, start = {}, 0
    for path, leaf in leaves.items():
        if path not in kernels:
            params[path] = constant(path[-1], leaf.shape)
            continue
        deviation = math.prod(leaf.shape[:-1]) ** -0.5 / CUT_DEVIATION
        values = noise[start : start + leaf.size] * deviation
        params[path] = values.reshape(leaf.shape)
        start += leaf.size
    return unflatten_dict(params)


def initial_stats(shapes: Any) -> Any:
    """Running statistics for a nested dict of shapes: mean 0, variance 1."""
    leaves = flatten_dict(shapes)
    return unflatten_dict(
        {path: constant(path[-1], leaf.shape) for path, leaf in leaves.items()}
    )


def constant(name: str, shape: tuple[int, ...]) -> jax.Array:
    """Ones for a scale or a variance, else zeros."""
    return jnp.full(shape, float(name in ("scale", "variance")), jnp.float32)
