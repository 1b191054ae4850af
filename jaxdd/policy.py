"""Choices that depend on the backend, made in one place.

Measured on two CPU cores: mapping classes, experts or networks one after another beats
`vmap` by 2-8 times, because batched weights turn convolutions into grouped ones. On
accelerators small kernels leave the device idle, so the axis is batched there.
"""

import jax
import jax.numpy as jnp

from jaxdd import devices

# Networks or classes that an accelerator works on at once.
ACCELERATOR_CHUNK = 32
# Images of a gradient's chunk on CPU: what stays in cache at 32x32 and width 128.
CPU_MICROBATCH = 8


def on_cpu() -> bool:
    return jax.default_backend() == "cpu"


def map_axis(function, xs, chunk: int | None = None):
    """Apply `function` to every slice of `xs` along axis 0 and stack the results.

    On one device: sequential on CPU, `chunk` slices at a time on accelerators (all of
    them if there are at most ACCELERATOR_CHUNK). The results do not depend on the
    choice beyond rounding.
    """
    if on_cpu():
        return jax.lax.map(function, xs)
    size = jax.tree.leaves(xs)[0].shape[0]
    chunk = chunk or ACCELERATOR_CHUNK
    if size <= chunk:
        return jax.vmap(function)(xs)
    return jax.lax.map(function, xs, batch_size=chunk)


def spread_axis(function, xs, *shared):
    """`map_axis` over all devices in use (see `devices.use`).

    For the outermost axis of a computation: classes, experts, networks, seeds.

    Args:
        function: (slice of xs, *shared) -> pytree. It must not close over traced
            arrays: what all slices need is in `shared`.
        xs: pytree of [size, ...].
        shared: pytrees that lie whole on every device.
    """

    def part(xs, *shared):
        return map_axis(lambda x: function(x, *shared), xs)

    if devices.spread_over() == 1:
        return part(xs, *shared)
    return devices.spread(part, xs, *shared)


def map_chunks(function, count: int, chunk: int):
    """Apply `function` to the indices 0..count-1 in chunks of equal length.

    Args:
        function: (indices [chunk]) -> [chunk, ...], one result per index.
        count: how many indices; the last chunk is filled up with repeated ones.
        chunk: the most that are worked on at a time.

    Returns:
        [count, ...].
    """
    size = min(chunk, count)
    indices = jnp.resize(jnp.arange(count), (-(-count // size), size))
    found = jax.lax.map(function, indices)
    return found.reshape(-1, *found.shape[2:])[:count]


def microbatch_for(image_shape: tuple[int, ...], width: int) -> int | None:
    """Chunk length for gradients over a batch, or None for the whole batch at once.

    Only wide networks on CPU gain: 2.1-2.4 times at width 128 on 32x32 images, nothing
    at 8x8 and width 32.
    """
    if on_cpu() and width >= 64 and image_shape[0] >= 24:
        return CPU_MICROBATCH
    return None
