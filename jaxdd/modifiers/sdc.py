"""Sample difficulty correction: a penalty on hard synthetic samples."""

from dataclasses import dataclass, replace
from typing import ClassVar

import jax
import jax.numpy as jnp

from jaxdd.errors import UserError, quoted
from jaxdd.fields import Choice, Misfit, option
from jaxdd.modifiers.terms import SCHEDULES, WeightedTerm, weight_schedule
from jaxdd.primitives import per_sample_gradient_norms
from jaxdd.primitives.horizons import last_step
from jaxdd.primitives.losses import mean_loss, present
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
    loss: str = "cross_entropy",
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
            They are the same where a match has one sample, as at one image per class.
        at: "start", at the network that is matched, which for a trajectory is the
            student's first step; or "path", averaged over all steps of a student,
            which computes these norms anyway (mean norm only; ours).
        microbatch: samples per chunk of a mean gradient that the match has not
            computed.
        loss: of the samples' own gradients, a name in `losses.LOSSES`; that of a mean
            gradient is the match's.

    Raises:
        UserError: the norm or the place is unknown, or both cannot be combined; on a
            call, the match has no path.

    Example:
        >>> gradient = jaxdd.primitives.evidence.later_gradient(network, learner, batch)
        >>> evidence = Evidence(batch, gradient)
        >>> float(sdc(network, "per_sample")(key, learner, evidence)) > 0
        True
    """
    of_sample = mean_loss(network, loss=loss)

    def mean_gradient(
        key: Key, learner: Learner, evidence: Evidence | PathEvidence
    ) -> Scalar:
        return global_norm(evidence.mean_gradient(microbatch))

    def per_sample(
        key: Key, learner: Learner, evidence: Evidence | PathEvidence
    ) -> Scalar:
        norms = per_sample_gradient_norms(of_sample)(
            learner.params, evidence.batch, learner.stats
        )
        count = jax.lax.stop_gradient(jnp.sum(present(evidence.batch.labels)))
        return jnp.sum(norms) / jnp.maximum(count, 1)

    def along_path(
        key: Key, learner: Learner, evidence: Evidence | PathEvidence
    ) -> Scalar:
        if not isinstance(evidence, PathEvidence):
            raise UserError(
                "sdc_at='path' needs a method that trains a student: use 'start'"
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


@dataclass(frozen=True)
class SDC(Choice):
    """The difficulty correction of every match: lambda * R, see `sdc`.

    Attributes:
        weight: lambda, of any sign; 0 leaves the term out.
        norm: "mean" or "per_sample".
        at: "start", or "path" along an unrolled student.
        schedule: how the weight rises: "constant", "linear" or "log".
        horizon: the step at which a rising weight arrives; None for the last one of the
            published run.
        relative: whether the weight is measured in units of the matching loss (ours).
    """

    subject: ClassVar[str] = "the difficulty correction"
    remedy: ClassVar[str] = "add e.g. --sdc_weight=1, or leave it out"

    weight: float = option(
        1.0,
        "weight of the difficulty correction (SDC), of any sign; 0 for none",
        flag="sdc_weight",
        opens=True,
        closes=0.0,
        often=True,
    )
    norm: str = option(
        "mean",
        "gradient norm that the difficulty correction (SDC) penalises: of the "
        "mean gradient (mean), or the mean over samples of their own norms "
        "(per_sample)",
        flag="sdc_norm",
        choices=NORMS,
    )
    at: str = option(
        "start",
        "network at which the difficulty correction (SDC) takes the gradient "
        "norm: the one that is matched (start), or a student in each of its "
        "steps, averaged (path)",
        flag="sdc_at",
        choices=PLACES,
    )
    schedule: str = option(
        "constant",
        "how the weight of the difficulty correction (SDC) rises over the run: "
        "constant, linear or log",
        flag="sdc_schedule",
        choices=SCHEDULES,
    )
    horizon: int | None = option(
        None,
        "step at which a rising weight of the difficulty correction (SDC) reaches "
        "--sdc_weight; default: the last step of the published run",
        flag="sdc_horizon",
        above=0,
        beside={"schedule": ("linear", "log")},
    )
    relative: bool = option(
        False,
        "whether the weight of the difficulty correction (SDC) is measured in "
        "units of the matching loss",
        flag="sdc_relative",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.at == "path" and self.norm == "per_sample":
            raise Misfit(
                self,
                "{norm=} is not offered along the path: use {at=start} or {norm=mean}",
            )

    def with_horizon(self, horizon: int) -> "SDC":
        """The same with a weight that arrives at step `horizon` where none is set."""
        return self if self.horizon is not None else replace(self, horizon=horizon)

    def make(
        self,
        network: Network,
        microbatch: int | None = None,
        loss: str = "cross_entropy",
    ) -> dict[str, WeightedTerm]:
        """The weighted term by its name, none at weight 0."""
        if self.weight == 0:
            return {}
        last = last_step(self.horizon)
        schedule = weight_schedule(self.schedule, self.weight, last)
        term = sdc(network, self.norm, self.at, microbatch, loss)
        return {"sdc": WeightedTerm(schedule, term, self.relative)}
