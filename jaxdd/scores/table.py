"""Every difficulty score by name: the one list.

A new score is a file in this folder and a line in `SCORES`. In every score larger means
harder; whether easy or hard samples are wanted is up to the caller.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

from jaxdd.data.real import take
from jaxdd.errors import UserError, quoted
from jaxdd.scores.fisher import fisher_traces
from jaxdd.scores.forgetting import forgetting_scores
from jaxdd.scores.gradients import empirical_fisher, grad_norm
from jaxdd.scores.influence import influence_scores
from jaxdd.scores.learnability import learnability_scores
from jaxdd.scores.outputs import el2n, entropy, error_probability, grand, loss, margin
from jaxdd.training.fit import Training
from jaxdd.types import Array, Network

Needs = Literal["networks", "dataset", "training"]
NEEDS: tuple[str, ...] = get_args(Needs)


@dataclass(frozen=True)
class Effort:
    """How much computation the scores of a dataset may take.

    Attributes:
        networks: networks that a score is averaged over.
        train_steps: SGD steps that each network is trained before it is scored at; not
            for forgetting. EL2N is meant early in training.
        forgetting_epochs: epochs over which forgetting is counted, and of the networks
            on all data that learnability compares with.
        damping: of influence, as a share of the curvature's largest eigenvalue.
        rank: eigenpairs that influence takes the curvature from.
    """

    networks: int = 5
    train_steps: int = 100
    forgetting_epochs: int = 10
    damping: float = 0.1
    rank: int = 16


class Score(NamedTuple):
    """One difficulty score.

    Attributes:
        compute: a function whose arguments depend on `needs`. With "networks" it is
            (network, learner, batch) -> [B], a score at one trained network. With
            "dataset" it is (network, effort) -> ((key, learners [E, ...], data) -> [M])
            and with "training" (network, effort) -> ((keys [E], data) -> [M]); these
            average over the E networks themselves and are pure.
        needs: what must be at hand. "networks": trained networks and any batch, real or
            synthetic. "dataset": trained networks and the whole dataset. "training":
            the whole dataset; the score trains its own networks.
    """

    compute: Callable[..., Any]
    needs: Needs


def _influence(network: Network, effort: Effort) -> Callable[..., Array]:
    return influence_scores(network, take, damping=effort.damping, rank=effort.rank)


def _forgetting(network: Network, effort: Effort) -> Callable[..., Array]:
    training = Training(effort.forgetting_epochs, 0.01, momentum=0.9)
    return forgetting_scores(network, training)


def _learnability(network: Network, effort: Effort) -> Callable[..., Array]:
    training = Training(effort.forgetting_epochs, 0.01, momentum=0.9)
    return learnability_scores(network, training)


SCORES: dict[str, Score] = {
    "grad_norm": Score(grad_norm, "networks"),
    "grand": Score(grand, "networks"),
    "el2n": Score(el2n, "networks"),
    "loss": Score(loss, "networks"),
    "error_probability": Score(error_probability, "networks"),
    "entropy": Score(entropy, "networks"),
    "margin": Score(margin, "networks"),
    "fisher": Score(fisher_traces, "networks"),
    "empirical_fisher": Score(empirical_fisher, "networks"),
    "influence": Score(_influence, "dataset"),
    "learnability": Score(_learnability, "dataset"),
    "forgetting": Score(_forgetting, "training"),
}


def score_named(name: str) -> Score:
    """The score of that name.

    Raises:
        UserError: no score has the name, or it needs what there is not.
    """
    if name not in SCORES:
        raise UserError(
            f"unknown score {quoted(name)}: choose from {', '.join(SCORES)}"
        )
    score = SCORES[name]
    if score.needs not in NEEDS:
        raise UserError(
            f"the score {name} needs {quoted(score.needs)}: choose from "
            f"{', '.join(NEEDS)}"
        )
    return score
