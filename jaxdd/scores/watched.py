"""Work on a few networks of an ensemble at a time, whose progress can be watched."""

import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from jaxdd.devices import policy
from jaxdd.progress import Stage
from jaxdd.types import Array


def joined(compute, networks, *shared, stage: str):
    """What a function gives for every network, joined along their axis.

    Args:
        compute: (networks [e, ...], *shared) -> pytree [e, ...]; it is compiled here.
        networks: pytree of [E, ...], such as learners or keys.
        shared: pytrees that all networks need.
        stage: name of the work, for whoever listens.

    Returns:
        The pytree [E, ...].

    Source: ours.

    Example:
        >>> joined(lambda keys: 2 * keys, jnp.arange(3.0), stage="doubling").tolist()
        [0.0, 2.0, 4.0]
    """
    parts = [part for part, _ in _parts(compute, networks, shared, stage)]
    if len(parts) == 1:
        return parts[0]
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)


def averaged(compute, networks, *shared, stage: str) -> Array:
    """What a function gives on average over networks.

    Args:
        compute: (networks [e, ...], *shared) -> [M], a mean over the networks; it is
            compiled here.
        networks, shared, stage: as of `joined`.

    Returns:
        [M], the mean over all E networks.

    Source: ours.

    Example:
        >>> mean = lambda values: jnp.mean(values, axis=0, keepdims=True)
        >>> averaged(mean, jnp.array([1.0, 2.0, 6.0]), stage="mean").tolist()
        [3.0]
    """
    parts = list(_parts(compute, networks, shared, stage))
    if len(parts) == 1:
        return parts[0][0]
    means, sizes = zip(*parts, strict=True)
    weights = jnp.array(sizes, means[0].dtype)
    return jnp.tensordot(weights, jnp.stack(means), axes=1) / jnp.sum(weights)


def _parts(
    compute, networks, shared: tuple[Any, ...], stage: str
) -> Iterator[tuple[Any, int]]:
    """Results of a few networks at a time, and how many these were."""
    count = jax.tree.leaves(networks)[0].shape[0]
    at_once = policy.networks_at_once(count)
    compiled = jax.jit(compute)
    if at_once == count:  # there is nothing to watch
        yield compiled(networks, *shared), count
        return
    with Stage(stage, count, unit="network") as progress:
        for first in range(0, count, at_once):
            began = time.perf_counter()
            few = jax.tree.map(lambda x, i=first: x[i : i + at_once], networks)
            size = min(at_once, count - first)
            result = jax.block_until_ready(compiled(few, *shared))
            seconds = (time.perf_counter() - began) / size
            progress.count(first + size, count, seconds)
            yield result, size
