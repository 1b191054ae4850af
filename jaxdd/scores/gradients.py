"""Scores of a sample from its gradient by all parameters.

Every score takes (network, learner, batch) and returns [B], larger for harder samples
and zero for padding rows.
"""

import jax.numpy as jnp

from jaxdd.primitives import per_sample_gradient_norms
from jaxdd.primitives.losses import mean_loss
from jaxdd.types import Array, Batch, Learner, Network


def grad_norm(network: Network, learner: Learner, batch: Batch) -> Array:
    """GraDN at one network, [B]: the norm of the loss's gradient by all parameters.

    SDC (Wang et al. 2024) averages it over networks.
    """
    norms = per_sample_gradient_norms(mean_loss(network))
    return norms(learner.params, batch, learner.stats)


def empirical_fisher(network: Network, learner: Learner, batch: Batch) -> Array:
    """Trace of the empirical Fisher matrix: the squared gradient norm, [B].

    Most code calls this the Fisher information (Kunstner et al., NeurIPS 2019, on the
    difference). At one network it ranks samples as `grad_norm` does; on average over
    networks it leans towards those at which a sample's gradient is large.
    """
    return jnp.square(grad_norm(network, learner, batch))
