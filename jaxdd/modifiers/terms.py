"""Additive penalties on a match, and the schedules of their weights."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdd.errors import UserError, quoted
from jaxdd.types import (
    Array,
    BatchMatch,
    ClassMatch,
    Learner,
    Schedule,
    SetMatch,
    SpanMatch,
    TeacherMatch,
    Term,
)

SCHEDULES = ("constant", "linear", "log")


class WeightedTerm(NamedTuple):
    """A penalty with its weight.

    With `relative`, the weight is measured in units of the matching loss: the term
    then contributes `weight * match` in value, whatever its own scale (ours).
    """

    schedule: Schedule
    term: Term
    relative: bool = False


def weight_schedule(kind: str, weight: float | Array, horizon: int) -> Schedule:
    """The weight over the steps of a run (ours; SDC's own schedules are unpublished).

    Args:
        kind: "constant"; "linear", from 0 at step 0 to `weight` at the horizon; "log",
            the same with a logarithmic rise, steep at first.
        weight: final value [], of any sign; a negative one prefers harder samples. It
            may be traced, for a sweep by `vmap`.
        horizon: the step from which a rising schedule is constant.

    Raises:
        UserError: the kind is unknown, or the weight is not finite.

    Example:
        >>> weight = weight_schedule("linear", 2.0, horizon=100)
        >>> [float(weight(jnp.int32(step))) for step in (0, 50, 200)]
        [0.0, 1.0, 2.0]
    """
    if not isinstance(weight, jax.core.Tracer) and not np.isfinite(weight):
        raise UserError(f"the weight of a term must be a finite number, not {weight}")

    def progress(step: Array) -> Array:
        return jnp.clip(step / max(horizon, 1), 0.0, 1.0)

    if kind == "constant":
        return lambda step: jnp.float32(weight)
    if kind == "linear":
        return lambda step: weight * progress(step)
    if kind == "log":
        return lambda step: weight * jnp.log1p(progress(step) * 99) / jnp.log(100.0)
    raise UserError(
        f"unknown weight schedule {quoted(kind)}: choose one of {', '.join(SCHEDULES)}"
    )


def add_terms(
    match: ClassMatch | SetMatch | BatchMatch | SpanMatch | TeacherMatch,
    terms: Mapping[str, WeightedTerm],
):
    """Add weighted penalties to a match of any kind.

    Returns:
        (key, synthetic, target, learner, step, share) -> (value, info). `share` scales
        an absolute weight: a match that is summed over classes has its penalties
        averaged, so that its lift passes 1/K (ours).

    Example:
        >>> match = jaxdd.feature_match(network, jaxdd.siamese(()))
        >>> weight = jaxdd.weight_schedule("constant", 0.1, 1)
        >>> term = jaxdd.WeightedTerm(weight, jaxdd.sdc(network))
        >>> callable(add_terms(match, {"sdc": term}))
        True
    """

    def weighted(key, synthetic, target, learner: Learner, step, share):
        # The match's key does not depend on the terms: a run draws the same samples and
        # augmentations with and without them.
        value, evidence = match(jax.random.fold_in(key, 0), synthetic, target, learner)
        total, info = value, {"match": value, **getattr(evidence, "info", {})}
        for i, (name, entry) in enumerate(terms.items()):
            key_term = jax.random.fold_in(key, i + 1)
            penalty = entry.term(key_term, learner, evidence)
            unit = share
            if entry.relative:
                unit = jax.lax.stop_gradient(value / jnp.where(penalty > 0, penalty, 1))
            total = total + entry.schedule(step) * unit * penalty
            info[name] = penalty * share
        return total, info

    return weighted
