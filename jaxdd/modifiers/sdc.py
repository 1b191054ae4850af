"""Sample difficulty correction: a penalty on hard synthetic samples."""

import jax
import jax.numpy as jnp

from jaxdd.errors import UserError, quoted
from jaxdd.primitives import per_sample_gradient_norms
from jaxdd.primitives.losses import mean_loss
from jaxdd.primitives.trees import global_norm
from jaxdd.types import (
    Evidence,
    Key,
    Learner,
    Network,
    PathEvidence,
    Scalar,
    Term,
)

NORMS = ("mean", "per_sample")
PLACES = ("start", "path")


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
        network: the network of the samples' own gradients.
        norm: "mean", the norm of the mean gradient of a class's synthetic samples,
            almost free where the match has computed that gradient; or "per_sample",
            the mean of the samples' own norms, which is the difficulty measure GraDN.
        at: "start", at the network that is matched, which for a trajectory is the
            student's first step; or "path", averaged over all steps of a student,
            which computes these norms anyway (mean norm only; ours).
        microbatch: samples per chunk of a mean gradient that the match has not
            computed.

    Raises:
        UserError: the norm or the place is unknown, or both cannot be combined; on a
            call, the match has no path.

    Example:
        >>> import jax, jaxdd, numpy as np
        >>> images = np.ones((6, 8, 8, 1), np.float32)
        >>> real = jaxdd.real_data(images, np.arange(6) % 3, 3)
        >>> network = jaxdd.make_network("mlp", (8, 8, 1), 3, width=4)
        >>> learner = jaxdd.Learner(*network.init(jax.random.key(0)))
        >>> key = jax.random.key(0)
        >>> batch = jaxdd.data.real.take(real, jax.numpy.arange(4))
        >>> gradient = jaxdd.primitives.evidence.later_gradient(network, learner, batch)
        >>> evidence = Evidence(batch, gradient)
        >>> float(sdc(network, "per_sample")(key, learner, evidence)) > 0
        True
    """
    loss = mean_loss(network)

    def mean_gradient(
        key: Key, learner: Learner, evidence: Evidence | PathEvidence
    ) -> Scalar:
        return global_norm(evidence.mean_gradient(microbatch))

    def per_sample(
        key: Key, learner: Learner, evidence: Evidence | PathEvidence
    ) -> Scalar:
        norms = per_sample_gradient_norms(loss)(
            learner.params, evidence.batch, learner.stats
        )
        present = jax.lax.stop_gradient(jnp.any(evidence.batch.labels > 0, axis=-1))
        return jnp.sum(norms) / jnp.maximum(jnp.sum(present), 1)

    def along_path(
        key: Key, learner: Learner, evidence: Evidence | PathEvidence
    ) -> Scalar:
        if not isinstance(evidence, PathEvidence):
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
