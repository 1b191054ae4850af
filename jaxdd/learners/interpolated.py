"""Networks between the start and the end of an expert's training (DANCE, NCFM)."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from jaxdd.errors import UserError
from jaxdd.fields import Choice
from jaxdd.learners.context import Context
from jaxdd.nets import has_batch_statistics
from jaxdd.primitives.keys import Draw
from jaxdd.types import Array, Inputs, Key, Learner, LearnerSource, Network


def between(start: Array, end: Array, share: Array) -> Array:
    """share * start + (1 - share) * end; exact at both ends."""
    return share * start + (1 - share) * end


def interpolated(network: Network, experts: int) -> LearnerSource:
    """A network between a random one and what training made of it.

    theta = u theta_0 + (1 - u) theta_star, with an expert and a share u that are drawn
    uniformly in every step and shared by all classes. Zhang et al., "DANCE: Dual-View
    Distribution Alignment for Dataset Condensation", IJCAI 2024; Wang et al. (NCFM),
    CVPR 2025, official code. The span of a step is the whole training of its expert,
    so that `inputs.span.target` is the trained network.

    Args:
        network: the architecture of the experts, without running statistics.
        experts: the number of experts in the bank.

    Example:
        >>> target = network.init(jax.random.key(1))[0]
        >>> inputs = jaxdd.Inputs(real, real, jaxdd.Span(learner.params, target))
        >>> drawn = interpolated(network, 20).draw(key, (), inputs)
        >>> jax.tree.structure(drawn.params) == jax.tree.structure(target)
        True
    """

    def init(key: Key):
        return ()

    def span_index(root: Key, step: Array) -> Array:
        key = jax.random.fold_in(Draw.SPANS.of(root), step)
        expert = jax.random.randint(key, (), 0, experts)
        return jnp.stack([expert, 0]).astype(jnp.int32)

    def draw(key: Key, state, inputs: Inputs) -> Learner:
        key_share, key_stats = jax.random.split(key)
        span = inputs.expert_span()
        share = jax.random.uniform(key_share)

        def mixed(start: Array, end: Array) -> Array:
            return between(start, end, share.astype(start.dtype))

        params = jax.tree.map(mixed, span.start, span.target)
        return Learner(params, network.init(key_stats)[1])

    def advance(key: Key, state, learner, synthetic, inputs):
        return state

    return LearnerSource(init, draw, advance, span_index)


@dataclass(frozen=True)
class Interpolated(Choice):
    """Networks between the start and the end of an expert's training."""

    name: ClassVar[str] = "interpolated"
    matches: ClassVar[int] = 1
    needs_experts: ClassVar[bool] = True

    def make(
        self, network: Network, context: Context, augmentation: str
    ) -> LearnerSource:
        """The source.

        Raises:
            UserError: there are no experts, or networks with batch norm, whose running
                statistics a bank does not hold.
        """
        del augmentation
        if context.experts is None:
            raise UserError("interpolated networks need a bank of experts")
        if has_batch_statistics(network):
            raise UserError(
                "interpolated networks cannot have batch norm, since experts are "
                "stored without running statistics: use --norm=instance"
            )
        return interpolated(network, context.experts)
