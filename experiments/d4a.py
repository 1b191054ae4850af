"""Where distilling in segments helps: a base against D4A, in paired seeds.

    python -m experiments.d4a --dataset=digits --ipc=5 --segments=5 --seeds=0,1,2 \\
        --workdir=runs/d4a

Three rows with the same images per class: the base in one piece, D4A without and with
its term against forgetting. Beside their accuracy: the accuracy on every tenth of the
test split, from easy to hard by the loss of a fixed ensemble trained on real data; the
samples that every segment keeps per class; and how much each segment forgets. Every
segment takes --steps updates, so D4A takes as many times more than the base. Writes
table.md, table.csv, table.json, plots and report.html; the same command continues a
stopped comparison.
"""

import enum
from dataclasses import dataclass

from experiments.comparing import d4a_results, methods, shared_banks
from experiments.comparing.comparison import Comparison, Table
from experiments.comparing.flags import ComparisonFlags, base_of
from experiments.comparing.groups import Flags, Group
from experiments.console.flags import main, option
from jaxdd.data.problem import Problem
from jaxdd.devices import needs
from jaxdd.errors import UserError, quoted
from jaxdd.objectives import REMEMBERED
from jaxdd.training.schedules import MIN_RANDOM

TERMS = REMEMBERED[1:]  # the first stands for no term


@dataclass(frozen=True, kw_only=True)
class Config(ComparisonFlags):
    """Flags of `experiments.d4a`."""

    method: str = option("idc", "the base: any method that distils in one piece")
    ipc: int = option(5, "synthetic images per class", above=0)
    segments: int = option(5, "D4A: segments in which the set is distilled")
    forgetting: str = option("replay", "D4A: term against forgetting, proxy or replay")
    forgetting_weight: float = option(1.0, "D4A: weight of the term against forgetting")
    steps: int | None = option(
        None,
        "updates of the synthetic images in the base and in every segment of D4A; "
        "default: the published ones",
    )
    factor: int | None = option(
        None, "tiles along each side of a stored image; default: the method's"
    )
    matches: int | None = option(
        None, "matching steps with one network before a new one; default: the method's"
    )
    width: int | None = option(None, "channels of the ConvNet; default: the field's")
    batch_real: int | None = option(
        None, "real samples of each class in a step; default: the method's"
    )
    min_keep: int | None = option(
        None, "D4A: samples of each class that every segment keeps at least"
    )
    judges: int | None = option(
        None, "D4A: networks that decide which samples the next segment keeps"
    )
    judge_epochs: int | None = option(
        None, "D4A: epochs for which --judges are trained; default: --eval_epochs"
    )
    ensemble: int = option(5, "networks whose loss sorts the test split by difficulty")
    ensemble_steps: int = option(
        500, "SGD steps on real data for which each network of --ensemble is trained"
    )


class Row(enum.StrEnum):
    """The rows of the table."""

    BASE = "base"
    WITHOUT = "D4A without the term"
    WITH = "D4A"


def groups(config: Config) -> list[Group[Row]]:
    """The three rows."""
    _check(config)
    base = base_of(
        config, config.method, width=config.width, factor=config.factor,
        matches=config.matches, batch_real=config.batch_real, num_random=MIN_RANDOM,
    )  # fmt: skip
    names = ("segments", "min_keep", "judges", "judge_epochs")
    segments: Flags = {
        name: getattr(config, name)
        for name in names
        if getattr(config, name) is not None
    }
    term: Flags = {
        "forgetting": config.forgetting,
        "forgetting_weight": config.forgetting_weight,
    }
    rows = {Row.BASE: {}, Row.WITHOUT: segments, Row.WITH: {**segments, **term}}
    return [Group(base, rows)]


def _check(config: Config) -> None:
    """Refuse a base in segments, and the absence of anything to compare."""
    if not methods.in_one_piece(config.method):
        raise UserError(
            f"--method={config.method} has segments of its own: choose a base without, "
            "such as idc"
        )
    if config.segments < 2:
        raise UserError(f"--segments must be at least 2, not {config.segments}")
    if config.forgetting not in TERMS or config.forgetting_weight == 0:
        raise UserError(
            f"--forgetting must be {' or '.join(TERMS)} with a weight other than 0, "
            f"not {quoted(config.forgetting)} with {config.forgetting_weight:g}"
        )
    for name in ("ensemble", "ensemble_steps"):
        if getattr(config, name) < 1:
            raise UserError(f"--{name} must be positive, not {getattr(config, name)}")


def _check_ensemble(config: Config, group: Group[Row], problem: Problem) -> None:
    """Refuse an ensemble that does not fit into memory."""
    network = methods.network_of(group.base, problem)
    needs.check(needs.networks(network, config.ensemble, "ensemble"))


def meaning(config: Config, table: Table) -> list[str]:
    """Two further tables, and the sentences below them."""
    return [
        *d4a_results.tables(table["rows"]),
        "",
        f"Gains are paired by seed, with the 95 % interval over seeds; "
        f"{config.num_eval} networks per run. Test accuracy after the last epoch, no "
        "selection; random: real subsets of the same size, same protocol. D4A's term: "
        f"{config.forgetting}, weight {config.forgetting_weight:g}; every segment "
        "takes as many steps as the base.",
    ]


COMPARISON = Comparison(
    "d4a", Config, lambda config: config.method, groups, meaning,
    banks=shared_banks.by_method, check_data=_check_ensemble,
    details=d4a_results.details,
    plots={
        "tenths.png": d4a_results.plot_tenths,
        "forgotten.png": d4a_results.plot_forgotten,
        "kept.png": d4a_results.plot_kept,
    },
)  # fmt: skip
run, show = COMPARISON.run, COMPARISON.show

if __name__ == "__main__":
    main(Config, run, show)
