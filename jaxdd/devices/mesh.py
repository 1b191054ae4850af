"""All devices of a machine, or of several: one mesh, over which mapped axes are spread.

Data, networks and results lie whole on every device; what is spread are the slices of
a mapped axis: classes, experts, networks of an evaluation. Every slice is computed as
on one device and all of them are gathered before they are summed, so that the number
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


def there_are() -> int:
    """How many devices JAX has, its backend started.

    Raises:
        UserError: the backend that was asked for cannot be started.
    """
    try:
        return jax.device_count()
    # JAX asserts that a backend came of what JAX_PLATFORMS lists.
    except (RuntimeError, AssertionError) as error:
        asked = jax.config.jax_platforms  # type: ignore[attr-defined]
        named = f"JAX_PLATFORMS={quoted(asked)[1:-1]}" if asked else "a backend"
        detail = " ".join(str(error).split())[:200]
        raise UserError(
            f"JAX cannot start {named}{f' ({detail})' if detail else ''}: install JAX "
            "for this device, or set JAX_PLATFORMS=cpu"
        ) from error


def parse(text: str) -> int:
    """The number of devices that `--devices` asks for: a number, or `all`.

    Raises:
        UserError: not a number, more than there are, or no backend can be started.
    """
    there = there_are()
    if text == "all":
        return there
    # More digits than there are devices anywhere; some that `int` does not take.
    if not re.fullmatch("0*[1-9][0-9]{0,17}", text):
        raise UserError(
            f"--devices must be a positive number or all, not {quoted(text)}"
        )
    count = int(text)
    if count > there:
        raise UserError(
            f"--devices={count}, but JAX sees {there} ({jax.default_backend()}): ask "
            "for at most that, or all"
        )
    if jax.process_count() > 1 and count != there:
        raise UserError(
            f"--devices={count}, but {jax.process_count()} processes share {there} "
            "devices: use --devices=all"
        )
    return count


@contextlib.contextmanager
def use(count: int) -> Iterator[None]:
    """Spread mapped axes over the first `count` devices while the context lasts.

    Source: ours.

    Example:
        >>> import jax, jaxdd
        >>> with jaxdd.devices.use(jax.device_count()):
        ...     found = jax.jit(lambda x: jaxdd.policy.spread_axis(jax.numpy.sin, x))(
        ...         jax.numpy.zeros(3))
        >>> found.shape
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
    """Over how many devices a mapped axis is spread here.

    One outside of `use`, and inside of an axis that is spread already.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if AXIS not in mesh.axis_names or AXIS in mesh.manual_axes:
        return 1
    return mesh.shape[AXIS]


def spread(function, xs, *shared):
    """Give every device an equal part of `xs` and gather what `function` makes of it.

    Args:
        function: (slices [m, ...], *shared) -> [m, ...]; closes over no traced array.
        xs: pytree of [size, ...]; where the devices do not divide it, the last ones
            repeat the first slices.
        shared: pytrees that every device gets whole.

    Returns:
        [size, ...], whole on every device.
    """
    parts = spread_over()
    size = jax.tree.leaves(xs)[0].shape[0]
    each = -(-size // parts)

    def part(xs, shared):
        # Slices are picked here rather than by `in_specs`, which would tempt the
        # compiler to keep parts of the state on one device each.
        mine = (jax.lax.axis_index(AXIS) * each + jnp.arange(each)) % size
        found = function(jax.tree.map(lambda x: x[mine], xs), *shared)
        return jax.lax.all_gather(found, AXIS, tiled=True)

    # Loops inside start from constants, equal on all devices, and go on with values
    # that differ: the check would have every one of them marked.
    gather = jax.shard_map(
        part, in_specs=PartitionSpec(), out_specs=PartitionSpec(), check_vma=False
    )
    return jax.tree.map(lambda x: x[:size], gather(xs, shared))


def everywhere(tree):
    """Arrays as they come out of a step: whole on every device in use."""
    if AXIS not in jax.sharding.get_abstract_mesh().axis_names:
        return tree
    return jax.jit(lambda x: jax.tree.map(jnp.copy, x))(tree)
