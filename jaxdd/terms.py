"""Additive penalties on the matching loss, and their weight schedules."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdd.errors import UserError, quoted
from jaxdd.losses import mean_loss
from jaxdd.primitives import inner_gradient, per_sample_gradient_norms
from jaxdd.trees import global_norm
from jaxdd.types import Array, Evidence, Key, Learner, Network, Scalar, Schedule, Term

SCHEDULES = ("constant", "linear", "log")
NORMS = ("mean", "per_sample")
PLACES = ("start", "path")


class WeightedTerm(NamedTuple):
    """A penalty with its weight.

    With `relative`, the weight is measured in units of the matching loss: the term
    then contributes `weight * match` in value, whatever its own scale (ours).
    """

    schedule: Schedule
    term: Term
    relative: bool = False


def weight_schedule(kind: str, weight: float, horizon: int) -> Schedule:
    """The weight over the steps of a run (ours; SDC's own schedules are unpublished).

    Args:
        kind: "constant"; "linear", from 0 at step 0 to `weight` at the horizon; "log",
            the same with a logarithmic rise, steep at first.
        weight: final value, of any sign; a negative one prefers harder samples.
        horizon: the step at which a rising schedule arrives; constant from there on.

    Raises:
        UserError: an unknown kind or a weight that is not finite.

    Example:
        >>> weight = weight_schedule("linear", 2.0, horizon=100)
        >>> [float(weight(jnp.int32(step))) for step in (0, 50, 200)]
        [0.0, 1.0, 2.0]
    """
    if not jnp.isfinite(weight):
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


def sdc(
    network: Network,
    norm: str = "mean",
    at: str = "start",
    microbatch: int | None = None,
) -> Term:
    """Sample difficulty correction: the gradient norm of the synthetic samples.

    Wang et al., "Not All Samples Should Be Utilized Equally", 2024 (arXiv 2408.12483):
    L = L_match + lambda * R. The published text gives no formula for R that we could
    check; both readings are offered, with "mean" as the default (ours).

    Args:
        network: whose gradients are matched.
        norm: "mean", the norm of the mean gradient of a class's synthetic samples,
            almost free where the match has computed that gradient; or "per_sample",
            the mean of the samples' own norms, which is the difficulty measure GraDN.
        at: "start", at the network that is matched, which for a trajectory is the
            student's first step; or "path", averaged over all steps of a student,
            which computes these norms anyway (mean norm only; ours).
        microbatch: chunk length of a mean gradient that the match has not computed.

    Raises:
        UserError: an unknown norm or place, or per-sample norms along the path; when
            it is called, "path" on a match that has none.

    Example:
        >>> import jax, jaxdd, numpy as np
        >>> images = np.ones((6, 8, 8, 1), np.float32)
        >>> real = jaxdd.real_data(images, np.arange(6) % 3, 3)
        >>> network = jaxdd.make_network("mlp", (8, 8, 1), 3, width=4)
        >>> learner = jaxdd.Learner(*network.init(jax.random.key(0)))
        >>> key = jax.random.key(0)
        >>> batch = jaxdd.windows.take(real, jax.numpy.arange(4))
        >>> evidence = Evidence(batch, None)
        >>> float(sdc(network, "per_sample")(key, learner, evidence)) > 0
        True
    """
    loss = mean_loss(network)

    def mean_gradient(key: Key, learner: Learner, evidence: Evidence) -> Scalar:
        gradient = evidence.gradient
        if gradient is None:
            # Batch norm of a student in training uses the statistics of its batch.
            trains = evidence.path_norms is not None
            gradient = inner_gradient(mean_loss(network, trains), microbatch)(
                learner.params, evidence.batch, learner.stats
            )
        return global_norm(gradient)

    def per_sample(key: Key, learner: Learner, evidence: Evidence) -> Scalar:
        norms = per_sample_gradient_norms(loss)(
            learner.params, evidence.batch, learner.stats
        )
        present = jax.lax.stop_gradient(jnp.any(evidence.batch.labels > 0, axis=-1))
        return jnp.sum(norms) / jnp.maximum(jnp.sum(present), 1)

    def along_path(key: Key, learner: Learner, evidence: Evidence) -> Scalar:
        if evidence.path_norms is None:
            raise UserError(
                "sdc_at='path' needs a method that matches trajectories: use 'start'"
            )
        return jnp.mean(evidence.path_norms)

    if norm not in NORMS:
        raise UserError(
            f"unknown SDC norm {quoted(norm)}: choose one of {', '.join(NORMS)}"
        )
    if at not in PLACES:
        raise UserError(
            f"unknown sdc_at={quoted(at)}: choose one of {', '.join(PLACES)}"
        )
    if at == "path" and norm == "per_sample":
        raise UserError(
            "sdc_norm='per_sample' is not offered along the path: use sdc_at='start' "
            "or sdc_norm='mean'"
        )
    if at == "path":
        return along_path
    return mean_gradient if norm == "mean" else per_sample
