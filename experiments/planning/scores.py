"""What scores of difficulty cost: the networks they are taken at, and each of them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import jax
import numpy as np

from experiments.planning.programs import Fitted, fit_cost
from jaxdd.data.real import real_data, take
from jaxdd.devices import policy
from jaxdd.devices.timing import Stopwatch
from jaxdd.scores.ensemble import measure
from jaxdd.scores.probes import probe_training
from jaxdd.scores.table import Effort, score_named
from jaxdd.types import Network, RealData

# Samples that a score is timed with: few, and more.
FEW, MORE = 64, 512


class Sorting(NamedTuple):
    """What sorting the samples by a score costs."""

    compile_seconds: float
    seconds: float


class Scoring(NamedTuple):
    """What several scores of the same samples cost.

    Attributes:
        fitted: the training of the networks that scores are taken at.
        training: seconds of it, for all networks; 0 where every score trains its own.
        scores: {name: what it costs beside that training}.
    """

    fitted: Fitted
    training: float
    scores: Mapping[str, Sorting]


def sorting_cost(network: Network, real: RealData, seed: int, name: str) -> Sorting:
    """The score of few samples and of more, by one network each."""
    cost = scoring_cost(network, real, seed, [name], Effort())
    score = cost.scores[name]
    compiling = cost.fitted.compile_seconds + score.compile_seconds
    return Sorting(compiling, cost.training + score.seconds)


def scoring_cost(
    network: Network,
    real: RealData,
    seed: int,
    names: Sequence[str],
    effort: Effort,
) -> Scoring:
    """Time a shortened training, and each score of few samples and of more.

    Args:
        network: at which the samples are scored.
        real: the samples.
        seed: of the scores.
        names: of the scores.
        effort: how many networks there are, and how far they are trained.
    """
    samples = real.labels.shape[0]
    training, _ = probe_training(samples, effort.train_steps)
    fitted = fit_cost(network, training, real, None, effort.networks, fetch=take)
    batches = -(-samples // training.batch_size)
    groups = -(-effort.networks // fitted.at_once)
    seconds = groups * effort.train_steps * fitted.epoch / batches
    if all(score_named(name).needs == "training" for name in names):
        seconds = 0.0
    scores = {
        name: _score_cost(network, real, seed, name, effort, fitted) for name in names
    }
    return Scoring(fitted, seconds, scores)


def _score_cost(
    network: Network,
    real: RealData,
    seed: int,
    name: str,
    effort: Effort,
    fitted: Fitted,
) -> Sorting:
    """A score at networks that are there."""
    at_once = policy.networks_at_once(effort.networks)
    groups = -(-effort.networks // at_once)
    samples = real.labels.shape[0]
    keys = jax.random.split(jax.random.key(seed), at_once)
    learners = fitted.learners
    watches = []
    sizes = sorted({min(FEW, samples), min(MORE, samples)})
    for size in sizes:
        images, labels = np.asarray(real.images[:size]), np.asarray(real.labels[:size])
        classes, scale, shift = real.table.shape[0], *map(np.asarray, real[4:])
        part = real_data(images, labels, classes, scale, shift)
        few = replace(effort, networks=at_once)
        with Stopwatch() as watch:
            jax.block_until_ready(
                measure(name, network, keys[0], lambda: learners, part, few)
            )
        watches.append(watch)
    slope = 0.0
    if len(sizes) == 2:
        more = watches[1].seconds - watches[0].seconds
        slope = max(0.0, more) / (sizes[1] - sizes[0])
    # What does not grow with the samples is mostly done once for all networks.
    fixed = max(0.0, watches[-1].seconds - slope * sizes[-1])
    return Sorting(watches[0].compile_seconds, fixed + groups * slope * samples)
