"""How hard samples are: the flags that say how that is measured, and the scores."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxdd import fields
from jaxdd.data import Dataset
from jaxdd.data.problem import (
    DataFlags,
    Problem,
    in_memory,
    open_problem,
    prepare,
)
from jaxdd.devices import needs
from jaxdd.errors import UserError
from jaxdd.fields import option
from jaxdd.fields.code import own_codes
from jaxdd.methods.network import Arithmetic, NetworkSpec, PrecisionFlag
from jaxdd.nets import NETS
from jaxdd.scores.dataset import compute as scores_of
from jaxdd.scores.ranks import rank_correlation
from jaxdd.scores.table import SCORES, Effort, score_named
from jaxdd.scoring.result import Difficulty
from jaxdd.storage import provenance
from jaxdd.types import Network


@dataclass(frozen=True, kw_only=True)
class ScoreFlags(DataFlags, PrecisionFlag):
    """The flags that say how samples are scored."""

    seed: int = option(0, "seed of the split and of the networks", kind="seed")
    net: str | None = option(
        None,
        "network at which the samples are scored; default: convnet, mlp for vectors, "
        "convnet1d for sequences",
    )
    width: int | None = option(None, "channels of the ConvNet")
    depth: int | None = option(None, "blocks of the ConvNet")
    networks: int = option(Effort.networks, "networks that a score is averaged over")
    train_steps: int = option(
        Effort.train_steps, "SGD steps that each network is trained before it scores"
    )
    forgetting_epochs: int = option(
        Effort.forgetting_epochs, "epochs over which forgetting is counted"
    )
    damping: float = option(
        Effort.damping,
        "damping of influence, as a share of the curvature's largest eigenvalue",
    )
    rank: int = option(Effort.rank, "eigenpairs of the curvature that influence uses")


@dataclass(frozen=True)
class Opened:
    """A scoring whose flags are checked, before anything is computed or written.

    Attributes:
        options: of the network, as `summary.json` has them.
        precision: of its products.
        names: of the scores, each once.
    """

    problem: Problem
    network: Network
    options: dict[str, Any]
    precision: str
    names: list[str]
    effort: Effort
    seed: int


def open_run(
    config: ScoreFlags,
    score: str,
    dataset: Dataset | None = None,
    validation: float = 0.0,
) -> Opened:
    """Read the data and check the flags.

    Args:
        config: the flags.
        score: as --score says.
        dataset: the data, where it is in memory.
        validation: share of the training split that is left out.

    Raises:
        UserError: bad input, named.
    """
    fields.check(config)
    arithmetic = Arithmetic(precision=config.precision).resolved()
    names = score_names(score)
    effort = effort_of(config)
    if dataset is None:
        problem = open_problem(config, validation, config.seed)
    else:
        problem = prepare(in_memory(dataset, config), validation, config.seed)
    net = config.net or problem.dataset.modality.network
    spec = NetworkSpec(net, config.width, config.depth).sized(problem.dataset)
    options, network = spec.options(), spec.make(problem.dataset, arithmetic)
    wanted = needs.networks(network, effort.networks, "networks")
    if "influence" in names:
        wanted += needs.networks(
            network, min(effort.rank, needs.parameters(network)), "rank"
        )
    needs.check(wanted)
    return Opened(
        problem, network, options, arithmetic.precision, names, effort, config.seed
    )


def compute(opened: Opened) -> Difficulty:
    """The scores of the training split, with their summary."""
    problem, names = opened.problem, opened.names
    train = problem.splits.train
    scores = scores_of(
        opened.network, problem.on_device(train), opened.seed, names, opened.effort
    )
    left_out = [name for name in names if name not in scores]
    names = list(scores)
    correlations: dict[str, dict[str, float | None]] = {}
    if len(names) > 1:
        matrix = np.asarray(rank_correlation(scores))
        # A constant score has no ranks to compare.
        cells = [[float(x) if np.isfinite(x) else None for x in row] for row in matrix]
        correlations = {
            a: dict(zip(names, row, strict=True))
            for a, row in zip(names, cells, strict=True)
        }
    summary = {
        "scores": {
            k: {f: float(getattr(v, f)()) for f in ("mean", "std", "min", "max")}
            for k, v in scores.items()
        },
        "rank_correlation": correlations,
        **({"left_out": left_out} if left_out else {}),
        **described(opened),
        "versions": provenance.versions(),
        "device": provenance.device(),
    }
    dataset = problem.dataset
    return Difficulty(
        scores, train, dataset.class_names, summary, dataset.whole_fingerprint
    )


def described(opened: Opened) -> dict[str, Any]:
    """What scores depend on, as `summary.json` has it."""
    problem = opened.problem
    written: dict[str, Callable[..., Any]] = {
        "network": NETS[opened.options["name"]].written
    }
    written |= {name: SCORES[name].compute for name in opened.names}
    codes = own_codes(written)
    return {
        **({"code": codes} if codes else {}),
        "dataset": problem.dataset.fingerprint,
        "samples": len(problem.splits.train.labels),
        "network": opened.options,
        "precision": opened.precision,
        "seed": opened.seed,
        "effort": dataclasses.asdict(opened.effort),
    }


def score_names(score: str) -> list[str]:
    """The names in `--score`, each once.

    Raises:
        UserError: an unknown one.
    """
    names: dict[str, None] = {}
    for name in score.split(","):
        if name != "all":
            score_named(name)
        names |= dict.fromkeys(SCORES if name == "all" else [name])
    return list(names)


def effort_of(config: ScoreFlags) -> Effort:
    """The flags that say how the scores are measured.

    Raises:
        UserError: one that is not positive.
    """
    values = {f.name: getattr(config, f.name) for f in dataclasses.fields(Effort)}
    for name, value in values.items():
        if not 0 < value < np.inf:
            raise UserError(f"--{name} must be positive, not {value}")
    return Effort(**values)
