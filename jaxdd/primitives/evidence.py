"""The mean gradient that a match hands to the terms: computed already, or later."""

from dataclasses import dataclass

from jax.tree_util import Partial

from jaxdd.primitives.gradients import inner_gradient
from jaxdd.primitives.losses import mean_loss
from jaxdd.types import Batch, Learner, MeanGradient, Network, Params


def known_gradient(gradient: Params) -> MeanGradient:
    """The gradient that a match has computed, for its evidence."""
    return Partial(_given, gradient)


def later_gradient(
    network: Network,
    learner: Learner,
    batch: Batch,
    train: bool = False,
    loss: str = "cross_entropy",
) -> MeanGradient:
    """A gradient that is computed if a term asks for it, for the evidence of a match.

    Both forms are pytrees, so that a jitted match can return its evidence, and one of
    the same structure for the same network: what is compiled for it is used again.

    Args:
        network: the network that was matched.
        learner: its state.
        batch: the batch that was matched.
        train: whether batch norm uses the statistics of the batch.
        loss: a name in `losses.LOSSES`.

    Example:
        >>> images = jax.numpy.ones((6, 8, 8, 1))
        >>> batch = jaxdd.Batch(images, jax.nn.one_hot(np.arange(6) % 3, 3))
        >>> gradient = later_gradient(network, learner, batch)
        >>> jax.tree.structure(gradient(2)) == jax.tree.structure(learner.params)
        True
    """
    compute = _Later(network, train, loss)
    return Partial(compute, learner.params, learner.stats, batch)


def _given(gradient: Params, microbatch: int | None = None) -> Params:
    del microbatch
    return gradient


@dataclass(frozen=True)
class _Later:
    """What `later_gradient` computes; equal ones are one structure to JAX."""

    network: Network
    train: bool
    loss: str

    def __call__(
        self, params: Params, stats: Params, batch: Batch, microbatch: int | None = None
    ) -> Params:
        loss = mean_loss(self.network, self.train, self.loss)
        return inner_gradient(loss, microbatch)(params, batch, stats)
