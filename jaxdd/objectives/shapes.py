"""The shapes of what is matched, from which a mask chooses; nothing is allocated."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxdd.types import Network


def parameters_of(network: Network) -> Any:
    """The shapes of a network's parameters, as `jax.ShapeDtypeStruct`s."""
    return jax.eval_shape(network.init, jax.random.key(0))[0]


def features_of(network: Network, image_shape: tuple[int, ...]) -> Any:
    """The shapes of the features of an image by block, as `jax.ShapeDtypeStruct`s."""
    image = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    outputs, _ = jax.eval_shape(
        lambda key, x: network.apply(*network.init(key), x, False),
        jax.random.key(0), image,
    )  # fmt: skip
    return {
        f"block{i}": jax.ShapeDtypeStruct(x.shape[1:], x.dtype)
        for i, x in enumerate(outputs.features)
    }
