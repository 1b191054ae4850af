"""What PAD's two filters bring: base, +FIEX, +FIEM and both, in paired seeds.

    python -m experiments.pad --dataset=digits --ipc=1 --seeds=0,1,2 --workdir=runs/pad

FIEX filters the samples that experts are trained on (for gradient and distribution
matching: the real batches), FIEM the parameters that are matched. Two banks of experts
are trained first, without and with the curriculum; all seeds share them. --sweep varies
one thing instead: the score that sorts the data, the curriculum, or the share of
parameters that is dropped. Writes table.md, table.csv, table.json, gain.png and
report.html; the same command continues a stopped comparison.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.comparing import lists, methods, shared_banks
from experiments.comparing.comparison import Comparison, Table
from experiments.comparing.flags import ComparisonFlags, base_of
from experiments.comparing.groups import Finished, Group
from experiments.comparing.pad_rows import SWEEPS
from experiments.console.flags import main, option
from jaxdd import report
from jaxdd.errors import UserError
from jaxdd.methods.published.trajectories import MASK_RATIO
from jaxdd.scores.table import SCORES


@dataclass(frozen=True, kw_only=True)
class Config(ComparisonFlags):
    """Flags of `experiments.pad`."""

    method: str = option("datm", "the method to filter, any method without filters")
    sweep: str = option(
        "none", "what to vary instead of the four rows: none, score, curriculum, alpha"
    )
    mask: str = option("depth", "rule by which FIEM drops parameters: depth or loss")
    mask_ratio: float | None = option(
        None, "share of parameters that FIEM drops; default: PAD's, or 0.25"
    )
    score: str = option("el2n", "score by which FIEX sorts samples from easy to hard")
    drop_hardest: float = option(
        0.2,
        "methods without experts: share of each class, the hardest, that FIEX drops",
    )


def groups(config: Config) -> list[Group]:
    """The rows of the comparison or of a sweep."""
    _check(config)
    # A mask chooses among blocks, so the base has to match all of them as well.
    features = "all" if methods.has_features(config.method) else None
    base = base_of(config, config.method, features=features)
    fiex: dict[str, Any] = {"score": config.score}
    if methods.has_experts(config.method):
        fiex |= methods.published_curriculum(config.dataset, config.ipc)
    else:
        fiex["drop_hardest"] = config.drop_hardest
    ratio = config.mask_ratio
    if ratio is None:
        published = methods.published_mask_ratio(config.dataset, config.ipc)
        ratio = published or MASK_RATIO
    fiem = {"mask": config.mask, "mask_ratio": ratio}
    return [Group(base, SWEEPS[config.sweep](fiex, fiem))]


def _check(config: Config) -> None:
    """Refuse an unknown sweep or score, and a method that cannot be filtered so."""
    lists.check_name(config.sweep, "sweep", SWEEPS)
    lists.check_name(config.score, "score", SCORES)
    if methods.has_filters(config.method):
        raise UserError(
            f"--method={config.method} has filters of its own: choose a base without, "
            "such as datm"
        )
    if config.sweep == "curriculum" and not methods.has_experts(config.method):
        raise UserError(
            f"--sweep=curriculum is about experts, and --method={config.method} has "
            "none: choose score or alpha"
        )


# --- Results ------------------------------------------------------------------------


def meaning(config: Config, table: Table) -> list[str]:
    """The sentence below the table."""
    return [
        f"Means over {len(lists.seeds(config.seeds))} seeds of {config.num_eval} "
        "networks each; gains are paired by seed, with the 95 % interval over seeds. "
        "Test accuracy after the last epoch, no selection; random: real subsets of the "
        "same size, same protocol.",
    ]


def _gain(finished: Finished, table: Table, path: Path) -> Path:
    """The gain of every row, with its interval."""
    rows = table["rows"]
    names, gains = [row["name"] for row in rows], [row["gain"] for row in rows]
    halves = [row["interval"] or 0.0 for row in rows]
    return report.intervals(names, gains, halves, path, f"points over {names[0]}")


COMPARISON = Comparison(
    "pad", Config, lambda config: config.method, groups, meaning,
    banks=shared_banks.by_curriculum, plots={"gain.png": _gain},
)  # fmt: skip
run, show = COMPARISON.run, COMPARISON.show

if __name__ == "__main__":
    main(Config, run, show)
