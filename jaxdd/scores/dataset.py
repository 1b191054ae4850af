"""Scores of all samples of a dataset, at networks that several scores share."""

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from jaxdd.errors import UserError
from jaxdd.primitives.keys import named_key
from jaxdd.progress import say
from jaxdd.scores.ensemble import check_shape, measure
from jaxdd.scores.probes import make_probes
from jaxdd.scores.table import Effort
from jaxdd.types import Learner, Network, RealData


def probes_of(
    network: Network, real: RealData, seed: int, effort: Effort
) -> Callable[[], Learner]:
    """A function that trains the networks of scores at its first call, [E, ...]."""

    @cache
    def probes() -> Learner:
        return make_probes(network, real, seed, effort.networks, effort.train_steps)

    return probes


def compute(
    network: Network,
    real: RealData,
    seed: int,
    names: Sequence[str],
    effort: Effort = Effort(),  # noqa: B008 - immutable
    probes: Callable[[], Learner] | None = None,
) -> dict[str, np.ndarray]:
    """Scores [M] by name; the networks are shared by all but forgetting.

    Args:
        network: the architecture.
        real: the dataset.
        seed: of the networks and of every score's own draws.
        names: in `table.SCORES`.
        effort: how much may be computed.
        probes: the networks, from `probes_of` with the same values; by default a score
            that needs them has them trained.

    Raises:
        UserError: an unknown score, one that gives another number of values than there
            are samples, or none that is finite; of several one that is not is left out.
    """
    for name in names:
        check_shape(name, network, real.images.shape[1:], real.table.shape[0])
    probes = probes or probes_of(network, real, seed, effort)
    scores = {}
    for name in names:
        say(f"{name}: {effort.networks} networks, {real.labels.shape[0]} samples")
        key = named_key(seed, name)
        measured = measure(name, network, key, probes, real, effort)
        scores[name] = np.asarray(measured).astype(np.float32)  # ranks may be integers
        if scores[name].shape != real.labels.shape:
            raise UserError(
                f"the score {name} gives an array of shape {list(scores[name].shape)} "
                f"for {real.labels.shape[0]} samples: it has to give a number for each"
            )
        if not np.isfinite(scores[name]).all():
            sentence = (
                f"the score {name} is not finite: train the networks for fewer steps"
            )
            if len(names) == 1:
                raise UserError(sentence)
            say(f"warning: {sentence}; it is left out")
            del scores[name]
    if names and not scores:
        raise UserError(
            f"none of the scores {', '.join(names)} is finite: train the networks for "
            "fewer steps"
        )
    return scores
