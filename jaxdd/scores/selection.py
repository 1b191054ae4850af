"""Real samples that are selected instead of distilled, equally many of each class.

`SELECTIONS` names every way: herding, k-centre, and the easiest, middle and hardest
samples of every score in `table.SCORES`. A class with fewer samples than are asked for
gives them again.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxdd.data.real import class_table, take
from jaxdd.devices import policy
from jaxdd.primitives.ends import ENDS, first_of
from jaxdd.scores.dataset import compute, probes_of
from jaxdd.scores.table import SCORES, Effort
from jaxdd.types import Array, Learner, Network, RealData

_CHUNK = 64


def herding(features: Array, real: RealData, ipc: int) -> Array:
    """The samples whose mean follows the mean of their class most closely.

    One after another: the k-th brings the mean of the first k closest to that of all.

    Args:
        features: [M, F], of the samples.
        real: their classes.
        ipc: samples per class.

    Returns:
        [K, ipc] int32, indices of samples in the order of their choice.

    Source: Welling, "Herding dynamical weights to learn", ICML 2009, in the greedy form
    of iCaRL (Rebuffi et al., CVPR 2017, Algorithm 4), without a repetition.

    Example:
        >>> herding(real.images.reshape(12, -1), real, ipc=2).shape
        (3, 2)
    """

    def pick(points: Array, is_there: Array, mean: Array) -> Array:
        def step(state, k: Array):
            total, left = state
            gaps = jnp.sum(((k + 1) * mean - total - points) ** 2, axis=1)
            place = jnp.argmin(jnp.where(left, gaps, jnp.inf))
            return (total + points[place], left.at[place].set(False)), place

        start = jnp.zeros_like(mean), is_there
        return jax.lax.scan(step, start, jnp.arange(ipc))[1]

    return _class_by_class(pick, features, real, ipc)


def k_centre(features: Array, real: RealData, ipc: int) -> Array:
    """Samples that leave no sample of their class far from all of them.

    The first is the one closest to the mean of the class (ours: the original begins
    with given ones); each next one is farthest from those that are chosen.

    Args:
        features: [M, F], of the samples.
        real: their classes.
        ipc: samples per class.

    Returns:
        [K, ipc] int32, indices of samples in the order of their choice.

    Source: Sener and Savarese, "Active learning for convolutional neural networks: a
    core-set approach", ICLR 2018, Algorithm 1 (k-Center-Greedy).

    Example:
        >>> k_centre(real.images.reshape(12, -1), real, ipc=2).shape
        (3, 2)
    """

    def pick(points: Array, is_there: Array, mean: Array) -> Array:
        def distances(point: Array) -> Array:
            squares = jnp.sum((points - point) ** 2, axis=1)
            return jnp.where(is_there, squares, -jnp.inf)

        def after(nearest: Array, place: Array) -> Array:
            nearest = jnp.minimum(nearest, distances(points[place]))
            return nearest.at[place].set(-jnp.inf)  # also of equals one after another

        first = jnp.argmin(jnp.where(is_there, distances(mean), jnp.inf))

        def step(nearest: Array, _: Array):
            place = jnp.argmax(nearest)
            return after(nearest, place), place

        start = after(jnp.full(points.shape[0], jnp.inf), first)
        others = jax.lax.scan(step, start, jnp.arange(ipc - 1))[1]
        return jnp.concatenate([first[None], others])

    return _class_by_class(pick, features, real, ipc)


def by_score(scores: np.ndarray, real: RealData, ipc: int, end: str) -> np.ndarray:
    """The easiest, the middle or the hardest samples of each class.

    Args:
        scores: [M], larger is harder.
        real: the samples.
        ipc: samples per class.
        end: "easy", "median" or "hard".

    Returns:
        [K, ipc] int32, indices of samples, from easy to hard.

    Source: ours; the field prunes data by either end (Paul et al., NeurIPS 2021;
    Sorscher et al., NeurIPS 2022), and by the middle (Xia et al., ICLR 2023).

    Example:
        >>> by_score(np.arange(12.0), real, ipc=1, end="hard").tolist()
        [[9], [10], [11]]
    """
    labels, classes = np.asarray(real.labels), real.table.shape[0]
    table, counts = class_table(labels, classes, scores)
    spare = np.maximum(counts - ipc, 0)
    first = first_of(end, spare)
    places = (first[:, None] + np.arange(ipc)) % np.maximum(counts, 1)[:, None]
    return np.take_along_axis(table, places, axis=1)


def share_by_score(
    scores: np.ndarray,
    labels: np.ndarray,
    keep: float,
    end: str = "easy",
    balanced: bool = False,
) -> np.ndarray:
    """The places of a share of all samples, by score.

    Args:
        scores: [M], larger is harder.
        labels: [M] int.
        keep: the share, in (0, 1]; rounded to a number of samples, at least one.
        end: "easy", "median" or "hard": which of the order are kept.
        balanced: whether the share is of every class; otherwise of all samples
            together, so that classes lose more or fewer.

    Returns:
        [m] int64, increasing. Equal scores are in the order of the samples.

    Source: data pruning as in Paul et al. (NeurIPS 2021), Sorscher et al. (NeurIPS
    2022, who balance classes in part) and Xia et al. (ICLR 2023, the middle).

    Example:
        >>> share_by_score(np.array([3., 1., 2., 0.]), np.zeros(4, int), 0.5).tolist()
        [1, 3]
    """
    groups = [np.flatnonzero(labels == k) for k in np.unique(labels)]
    parts = []
    for members in groups if balanced else [np.arange(len(labels))]:
        order = members[np.argsort(scores[members], kind="stable")]
        count = max(1, round(keep * len(order)))
        spare = len(order) - count
        first = first_of(end, spare)
        parts.append(order[first : first + count])
    return np.sort(np.concatenate(parts))


BY_FEATURES: Mapping[str, Callable[[Array, RealData, int], Array]] = {
    "herding": herding,
    "kcenter": k_centre,
}
# {name: (score, end)}
BY_SCORE: Mapping[str, tuple[str, str]] = {
    f"{score}_{end}": (score, end) for score in SCORES for end in ENDS
}
SELECTIONS = (*BY_FEATURES, *BY_SCORE)


def select(
    names: Sequence[str],
    sizes: Sequence[int],
    network: Network,
    real: RealData,
    seed: int,
    effort: Effort = Effort(),  # noqa: B008 - immutable
) -> dict[tuple[str, int], np.ndarray]:
    """Samples by several ways and of several sizes, at the same networks.

    Args:
        names: in `SELECTIONS`.
        sizes: numbers of samples per class.
        network: the architecture whose difficulty and features decide.
        real: the samples.
        seed: of the networks.
        effort: of the scores. Features are those of the first of these networks.

    Returns:
        {(name, size): [K, size] indices of samples}.

    Raises:
        UserError: a score is not finite.

    Example:
        >>> few = Effort(networks=1, train_steps=1)
        >>> chosen = select(["el2n_easy", "herding"], [1], network, real, 0, few)
        >>> chosen["herding", 1].shape
        (3, 1)
    """
    probes = probes_of(network, real, seed, effort)
    wanted = dict.fromkeys(BY_SCORE[name][0] for name in names if name in BY_SCORE)
    scores = compute(network, real, seed, list(wanted), effort, probes)
    chosen = {}
    features = None
    for name in names:
        for size in sizes:
            if name in BY_SCORE:
                score, end = BY_SCORE[name]
                chosen[name, size] = by_score(scores[score], real, size, end)
                continue
            if features is None:
                one = jax.tree.map(lambda x: x[0], probes())
                features = jax.jit(partial(_features, network))(one, real)
            pick = jax.jit(BY_FEATURES[name], static_argnums=2)
            chosen[name, size] = np.asarray(pick(features, real, size))
    return chosen


def _features(network: Network, learner: Learner, real: RealData) -> Array:
    """[M, F], the last features before the classes."""

    def of_chunk(index: Array) -> Array:
        images = take(real, index).images
        outputs, _ = network.apply(learner.params, learner.stats, images, False)
        return outputs.features[-1]

    return policy.map_chunks(of_chunk, real.labels.shape[0], _CHUNK)


def _class_by_class(
    pick: Callable[[Array, Array, Array], Array],
    features: Array,
    real: RealData,
    ipc: int,
) -> Array:
    """[K, ipc] indices, from `pick`: (features [m, F] of a class with padding, whether
    each is there [m], their mean [F]) -> [ipc] places."""

    def of_class(row_and_count: tuple[Array, Array]) -> Array:
        row, count = row_and_count
        points, is_there = features[row], jnp.arange(row.shape[0]) < count
        mean = jnp.sum(points * is_there[:, None], axis=0) / jnp.maximum(count, 1)
        places = pick(points, is_there, mean)
        # From the first on again, where a class has too few.
        return row[places[jnp.arange(ipc) % jnp.maximum(count, 1)]]

    return jax.lax.map(of_class, (real.table, real.counts))
