"""Every score of difficulty by name, and what each is measured on."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax

from jaxdd.data.real import take
from jaxdd.errors import UserError, quoted
from jaxdd.scores import ensemble as difficulty
from jaxdd.scores.forgetting import forgetting_scores
from jaxdd.scores.influence import influence_scores
from jaxdd.training.fit import Training
from jaxdd.types import Array, Key, Learner, Network, RealData


@dataclass(frozen=True)
class Effort:
    """How many networks the scores are averaged over, and what is done with each."""

    networks: int = 5
    train_steps: int = 100  # before all but forgetting; EL2N is meant early in training
    forgetting_epochs: int = 10
    damping: float = 0.1  # of influence
    rank: int = 16


class Subject(NamedTuple):
    """What a score is measured on."""

    key: Key  # of this score's own randomness
    network: Network
    probes: Callable[[], Learner]  # trained when first asked for, shared by the scores
    real: RealData
    effort: Effort


def _at_probes(name: str, subject: Subject) -> Array:
    scores = jax.jit(difficulty.ensemble_scores(subject.network, name, take))
    return scores(subject.probes(), subject.real)


def _influence(subject: Subject) -> Array:
    damping, rank = subject.effort.damping, subject.effort.rank
    scores = influence_scores(subject.network, take, damping=damping, rank=rank)
    return jax.jit(scores)(subject.key, subject.probes(), subject.real)


def _forgetting(subject: Subject) -> Array:
    training = Training(subject.effort.forgetting_epochs, 0.01, momentum=0.9)
    keys = jax.random.split(subject.key, subject.effort.networks)
    return jax.jit(forgetting_scores(subject.network, training))(keys, subject.real)


# Each is (subject) -> [M].
MEASURES: dict[str, Callable[[Subject], Array]] = {
    **{name: partial(_at_probes, name) for name in difficulty.SCORES},
    "influence": _influence,
    "forgetting": _forgetting,
}


SCORES = tuple(MEASURES)


def check_name(name: str) -> None:
    """Raise UserError for a score that there is not."""
    if name not in MEASURES:
        raise UserError(
            f"unknown score {quoted(name)}: choose from {', '.join(SCORES)}"
        )
