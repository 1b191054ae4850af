"""An expert as a teacher: its last parameters, and running statistics to go with them.

A bank has parameters. The running statistics of batch norm are measured anew, but for
those of a teacher that stand beside them, such as imported ones.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxdd.data.real import sample_any, take
from jaxdd.devices import policy
from jaxdd.experts.bank import Snapshots
from jaxdd.nets import told_moments
from jaxdd.training.evaluate import CHUNK
from jaxdd.types import Array, Key, Learner, Network, RealData, Stats

# Of the passes over real images that settle running statistics: with a momentum of 0.1
# the initial ones have lost all weight after them.
BATCHES, BATCH = 100, 128


@dataclass(frozen=True, eq=False)
class Teaching:
    """A trained network that labels images.

    Attributes:
        network, learner: the network and its state.
    """

    network: Network
    learner: Learner

    def probabilities(self, images: Array) -> Array:
        """[S, N, K] of images [S, N, ...], which are inputs of the network."""
        rows = images.reshape(-1, *images.shape[2:])
        labels = self._of_rows(self.learner, rows)
        return labels.reshape(*images.shape[:2], -1)

    @cached_property
    def _of_rows(self) -> Callable[[Learner, Array], Array]:
        # A network is in a program's closure: as a static argument JAX would keep it,
        # and what was compiled for it, for as long as the process lives.
        return jax.jit(partial(_probabilities, self.network))


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


def class_moments(network: Network, learner: Learner, real: RealData) -> Stats:
    """The mean and variance of every batch norm's input, over the samples of a class.

    All samples in play are gone over once, the network in evaluation mode; the variance
    is that over samples and positions, biased as `Outputs.moments` are. (WMDD's code
    averages the variances of batches, which lacks what lies between them.) Chunks are
    joined as in Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm
    for Computing Sample Variances", 1979.

    Args:
        network: with batch norm.
        learner: its parameters and running statistics.
        real: the samples in play.

    Returns:
        A tree like the running statistics, [K, ...]; zeros for a class without samples.
    """

    def of_image(image: Array) -> Stats:
        outputs, _ = network.apply(learner.params, learner.stats, image[None], False)
        return told_moments(outputs, learner.stats)

    def of_class(index: Array) -> Stats:
        row, count = real.table[index], real.counts[index]

        def joined(i: Array, before: Stats) -> Stats:
            place = i * CHUNK + jnp.arange(CHUNK)
            is_sample = (place < count).astype(real.scale.dtype)
            rows = row[jnp.minimum(place, row.shape[0] - 1)]
            each = jax.vmap(of_image)(take(real, rows).images)
            share = jnp.sum(is_sample) / jnp.minimum(count, (i + 1) * CHUNK)
            return _by_layer(
                lambda now, one: _joined(now, one, is_sample, share), before, each
            )

        nothing = jax.tree.map(jnp.zeros_like, learner.stats)
        return jax.lax.fori_loop(0, -(-count // CHUNK), joined, nothing)

    return jax.lax.map(of_class, jnp.arange(real.table.shape[0]))


def _by_layer(function, *trees: Stats) -> Stats:
    """Apply a function to the {"mean", "variance"} of every layer."""
    is_layer = lambda x: "mean" in x
    return jax.tree.map(function, *trees, is_leaf=is_layer)


def _joined(before: Stats, each: Stats, is_sample: Array, share: Array) -> Stats:
    """The moments of samples before and of some more, which are a share of them all.

    Args:
        before: of the samples so far.
        each: [B, ...], of every further sample.
        is_sample: [B], 0 for padding.
        share: [] of the further samples among all.
    """
    weights = is_sample / jnp.maximum(jnp.sum(is_sample), 1)
    mean = jnp.tensordot(weights, each["mean"], 1)
    between = jnp.square(each["mean"] - mean)
    variance = jnp.tensordot(weights, each["variance"] + between, 1)
    apart = mean - before["mean"]
    return {
        "mean": before["mean"] + share * apart,
        "variance": (1 - share) * before["variance"]
        + share * variance
        + share * (1 - share) * jnp.square(apart),
    }


def known_of_classes(
    bank: Snapshots, network: Network, teacher: Learner, real: RealData
) -> Stats:
    """What a teacher knows of classes: stored beside it, or measured.

    Args:
        bank: of the teacher, the first expert.
        network: its network.
        teacher: see `first_teacher`.
        real: the samples that classes are known by; those that are stored count where
            all samples are in play.

    Returns:
        As `class_moments`.

    Raises:
        UserError: what is stored cannot be read.
    """
    if _in_play(real):
        classes = real.table.shape[0]
        like = jax.tree.map(lambda x: np.zeros((classes, *x.shape)), teacher.stats)
        stored = bank.class_moments(like)
        if stored is not None:
            return jax.tree.map(jnp.asarray, stored)
    return jax.jit(partial(class_moments, network))(teacher, real)


def _in_play(real: RealData) -> bool:
    """Whether all samples are."""
    return int(real.counts.sum()) == real.labels.shape[0]


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
    stored = bank.statistics(stats) if expert == 0 and _in_play(real) else None
    if stored is not None:
        return learner._replace(stats=jax.tree.map(jnp.asarray, stored))
    settle = jax.jit(lambda key, *state: settled(key, network, *state))
    return learner._replace(stats=settle(jax.random.key(0), learner, real))


def first_teacher(bank: Snapshots, network: Network, real: RealData) -> Learner:
    """The first expert, see `trained_expert`."""
    return trained_expert(bank, 0, network, real)
