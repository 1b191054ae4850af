"""One mesh of the devices of one or several machines, which shares out mapped axes.

Data, networks and results are replicated on every device; only the slices of a mapped
axis (classes, experts, networks of an evaluation) are spread. Every slice is computed
as on one device, and all slices are gathered before they are summed, so that the number
of devices does not change the order of any sum.
"""

import contextlib
import re
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, PartitionSpec

from jaxdd.errors import UserError, quoted

AXIS = "devices"


def device_count() -> int:
    """The number of devices that JAX has; starts its backend.

    Raises:
        UserError: the backend in JAX_PLATFORMS cannot be started.
    """
    try:
        return jax.device_count()
    # JAX asserts that JAX_PLATFORMS led to a backend.
    except (RuntimeError, AssertionError) as error:
        platforms = jax.config.jax_platforms  # type: ignore[attr-defined]
        backend = "a backend"
        if platforms:
            backend = f"JAX_PLATFORMS={quoted(platforms)[1:-1]}"
        detail = " ".join(str(error).split())[:200]
        raise UserError(
            f"JAX cannot start {backend}{f' ({detail})' if detail else ''}: install "
            "JAX for this device, or set JAX_PLATFORMS=cpu"
        ) from error


def parse(text: str) -> int:
    """The number of devices in the flag --devices: a positive number, or "all".

    Raises:
        UserError: the text is neither, the number exceeds the devices that JAX has, or
            no backend can be started.
    """
    available = device_count()
    if text == "all":
        return available
    # No machine has a number of devices with more digits, and `int` refuses some.
    if not re.fullmatch("0*[1-9][0-9]{0,17}", text):
        raise UserError(
            f"--devices must be a positive number or all, not {quoted(text)}"
        )
    count = int(text)
    if count > available:
        raise UserError(
            f"--devices={count}, but JAX sees {available} ({jax.default_backend()}): "
            "give at most that number, or all"
        )
    if jax.process_count() > 1 and count != available:
        raise UserError(
            f"--devices={count}, but {jax.process_count()} processes share {available} "
            "devices: use --devices=all"
        )
    return count


@contextlib.contextmanager
def use(count: int) -> Iterator[None]:
    """Spread mapped axes over the first `count` devices while the context lasts.

    Source: ours.

    Example:
        >>> with jaxdd.devices.mesh.use(jax.device_count()):
        ...     sines = jax.jit(lambda x: jaxdd.devices.policy.spread_axis(
        ...         jax.numpy.sin, x))(jax.numpy.zeros(3))
        >>> sines.shape
        (3,)
    """
    if count == 1 and jax.process_count() == 1:
        yield
        return
    mesh = jax.make_mesh(
        (count,), (AXIS,), axis_types=(AxisType.Auto,), devices=jax.devices()[:count]
    )
    with jax.set_mesh(mesh):
        yield


def spread_over() -> int:
    """The number of devices over which a mapped axis is spread here.

    One outside of `use`, and inside an axis that is spread already.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if AXIS not in mesh.axis_names or AXIS in mesh.manual_axes:
        return 1
    return mesh.shape[AXIS]


def spread(function, xs, *shared):
    """Apply `function` to an equal part of `xs` on every device; gather the results.

    Args:
        function: (slices [m, ...], *shared) -> [m, ...]; closes over no traced array.
        xs: pytree of [size, ...]; if the number of devices does not divide the size,
            the last devices repeat the first slices.
        shared: pytrees that are replicated on every device.

    Returns:
        [size, ...], replicated on every device.
    """
    parts = spread_over()
    size = jax.tree.leaves(xs)[0].shape[0]
    each = -(-size // parts)

    def part(xs, shared):
        # Slices are picked here rather than by `in_specs`, which would tempt the
        # compiler to keep parts of the state on one device each.
        mine = (jax.lax.axis_index(AXIS) * each + jnp.arange(each)) % size
        results = function(jax.tree.map(lambda x: x[mine], xs), *shared)
        return jax.lax.all_gather(results, AXIS, tiled=True)

    # Loops inside start from constants, which are equal on all devices, and continue
    # with values that differ: with check_vma every such constant would need a pvary.
    gather = jax.shard_map(
        part, in_specs=PartitionSpec(), out_specs=PartitionSpec(), check_vma=False
    )
    return jax.tree.map(lambda x: x[:size], gather(xs, shared))


def on_every_device(function):
    """A function of arrays that every device in use computes by itself.

    Args:
        function: of replicated arrays; its results are replicated, too. It closes over
            no traced array.
    """
    if spread_over() == 1:
        return function
    every = PartitionSpec()
    return jax.jit(
        jax.shard_map(function, in_specs=every, out_specs=every, check_vma=False)
    )


@jax.jit
def _copied(tree):
    return jax.tree.map(jnp.copy, tree)


def everywhere(tree):
    """A tree of arrays, replicated on all devices in use, as a step returns them."""
    if AXIS not in jax.sharding.get_abstract_mesh().axis_names:
        return tree
    return _copied(tree)
