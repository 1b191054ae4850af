"""Ranks of scores: the agreement of two scores, and the percentile of a value."""

from collections.abc import Mapping

import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxdd.types import Array


def rank_correlation(scores: Mapping[str, ArrayLike]) -> Array:
    """Spearman's correlation of every pair of scores, [s, s]; ties share their rank.

    Args:
        scores: name -> [M], all for the same samples.
    """

    def ranks(x: Array) -> Array:
        below = jnp.searchsorted(jnp.sort(x), x, side="left")
        upto = jnp.searchsorted(jnp.sort(x), x, side="right")
        return (below + upto) / 2.0

    return jnp.corrcoef(jnp.stack([ranks(jnp.asarray(x)) for x in scores.values()]))


def percentile(value: Array, population: Array) -> Array:
    """Share of the population [M] below the value, in percent; ties count half."""
    ordered = jnp.sort(population)
    below = jnp.searchsorted(ordered, value, side="left")
    upto = jnp.searchsorted(ordered, value, side="right")
    return 50.0 * (below + upto) / population.shape[0]
