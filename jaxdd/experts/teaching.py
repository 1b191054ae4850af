"""An expert as a teacher: its last parameters, and running statistics to go with them.

A bank has parameters. The running statistics of batch norm are measured anew, but for
those of a teacher that stand beside them, such as imported ones.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdd.data.real import sample_any
from jaxdd.devices import policy
from jaxdd.experts.bank import Snapshots
from jaxdd.training.evaluate import CHUNK
from jaxdd.types import Array, Key, Learner, Network, RealData, Stats

# Of the passes over real images that settle running statistics: with a momentum of 0.1
# the initial ones have lost all weight after them.
BATCHES, BATCH = 100, 128


class Teaching(NamedTuple):
    """A trained network that labels images.

    Attributes:
        network, learner: the network and its state.
    """

    network: Network
    learner: Learner

    def probabilities(self, images: Array) -> Array:
        """[S, N, K] of images [S, N, ...], which are inputs of the network."""
        rows = images.reshape(-1, *images.shape[2:])
        labels = jax.jit(_probabilities, static_argnums=0)(*self, rows)
        return labels.reshape(*images.shape[:2], -1)


def _probabilities(network: Network, learner: Learner, images: Array) -> Array:
    def of_chunk(index: Array) -> Array:
        part = images[index]
        outputs, _ = network.apply(learner.params, learner.stats, part, False)
        return jax.nn.softmax(outputs.logits)

    return policy.map_chunks(of_chunk, images.shape[0], CHUNK)


def settled(key: Key, network: Network, learner: Learner, real: RealData) -> Stats:
    """Running statistics after many batches of real samples, the parameters fixed.

    Wu and Johnson, "Rethinking Batch in BatchNorm" (2021), call a mean over batches
    precise; here it is the layers' own moving average (ours).

    Args:
        key: consumed.
        network: with batch norm.
        learner: its parameters, and any statistics.
        real: the samples in play.
    """

    def after(i, stats: Stats) -> Stats:
        batch = sample_any(jax.random.fold_in(key, i), real, BATCH)
        return network.apply(learner.params, stats, batch.images, True)[1]

    return jax.lax.fori_loop(0, BATCHES, after, learner.stats)


def trained_expert(
    bank: Snapshots, expert: int, network: Network, real: RealData
) -> Learner:
    """An expert of a bank after its last stored epoch.

    Args:
        bank: the experts.
        expert: its index.
        network: theirs.
        real: samples that it was trained on, for the statistics of batch norm; those
            that are stored for the first expert count where all samples are in play.

    Raises:
        UserError: the snapshot cannot be read.
    """
    params, stats = network.init(jax.random.key(0))
    params = bank.snapshot(expert, bank.manifest.last_epoch, params)
    learner = Learner(params, stats)
    if not jax.tree.leaves(stats):
        return learner
    whole = int(real.counts.sum()) == real.labels.shape[0]
    stored = bank.statistics(stats) if whole and expert == 0 else None
    if stored is not None:
        return learner._replace(stats=jax.tree.map(jnp.asarray, stored))
    settle = jax.jit(settled, static_argnums=1)
    return learner._replace(stats=settle(jax.random.key(0), network, learner, real))


def first_teacher(bank: Snapshots, network: Network, real: RealData) -> Learner:
    """The first expert, see `trained_expert`."""
    return trained_expert(bank, 0, network, real)
