"""What SDC brings: every method with and without it, in paired seeds.

    python -m experiments.sdc --dataset=digits --methods=dsa,mtt --seeds=0,1,2 \\
        --workdir=runs/sdc

Sweeps the weight (without SDC and a negative one included) with one norm and schedule,
then the other norms and schedules at the reference weight, which --validation chooses
on data held out from train; trajectory methods share one bank of experts. Judges the
claims (a) to (e) of `experiments/comparing/claims.py`. Writes table.md, table.csv,
table.json, difficulty.png (the set's gradient norm along the distillation), gain.png
and grad_norm.png (both against the plain run) and report.html; the same command
continues a stopped comparison, and methods, weights, norms, schedules and seeds can be
added to a finished one.

A weight means something only beside the scale of the matching loss, and that differs
by orders of magnitude: on digits about 120 for DSA, which sums distances over classes
and layers, and 0.2 for MTT. So weights are by default relative: 1 lets the term weigh
as much as the match. --norelative takes them as they are.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from experiments.comparing import claims, lists, methods, sdc_results, shared_banks
from experiments.comparing.comparison import Comparison, Table
from experiments.comparing.flags import ABOUT_EXPERTS, ComparisonFlags, base_of
from experiments.comparing.groups import Finished, Group, Selection
from experiments.comparing.sdc_rows import (
    Row,
    candidates_of,
    chosen_of,
    reference_of,
    rows_of,
    weights_of,
)
from experiments.console.flags import main, option
from jaxdd.distillation import options
from jaxdd.errors import UserError, quoted
from jaxdd.scores.probes import kinds_of
from jaxdd.training.schedules import MIN_RANDOM

CURVE_POINTS = 20  # measurements of difficulty along a run


@dataclass(frozen=True, kw_only=True)
class Config(ComparisonFlags):
    """Flags of `experiments.sdc`."""

    methods: str = option(
        "dsa,mtt", "methods to compare with and without SDC, joined by commas"
    )
    weights: str = option(
        "-1,1,10", "weights of SDC in the sweep, joined by commas; 0 always runs"
    )
    weight: str | None = option(
        None,
        "reference weight of SDC, for other norms and schedules and for claims b, c "
        "and e: one for all methods, or METHOD:WEIGHT joined by commas; default: 1",
    )
    validation: float | None = option(
        None,
        "share of the training data that is held out to choose the reference weight of "
        "each method among the positive ones of --weights; the comparison itself then "
        "uses all of it",
        above=0,
        at_most=0.5,
    )
    relative: bool = option(
        True, "measure the weights of SDC in units of the matching loss"
    )
    norms: str = option(
        "mean,per_sample,path",
        "norms of SDC, joined by commas; the sweep of weights has the first; path is "
        "the mean along a student's path (trajectory methods)",
    )
    schedules: str | None = option(
        None,
        "schedules of SDC's weight, joined by commas; the sweep of weights has the "
        "first; default: linear, constant, log for trajectory methods and constant, "
        "linear, log for others",
    )
    longer: float | None = option(
        None,
        "also a run without SDC whose learning rate of the images is so many times as "
        "large: what SDC gains is compared with what longer steps gain",
        above=1,
    )
    width: int | None = option(None, "channels of the ConvNet; default: the field's")
    init: str | None = option(
        None, "the first images, such as noise or real; default: each method's own"
    )
    batch_real: int | None = option(
        None, "real samples of each class in a match; default: each method's own"
    )


# --- Rows ---------------------------------------------------------------------------


def groups(config: Config) -> list[Group[Row]]:
    """The rows of every method."""
    return [
        Group(_base(config, method), rows_of(config, method))
        for method in lists.names(config.methods, "methods", methods.NAMES)
    ]


def candidates(config: Config) -> list[Group[Row]]:
    """Without SDC and the weights among which validation data choose; short of probes.

    Raises:
        UserError: the weight is named as well, or none may be chosen.
    """
    if config.validation is None:
        return []
    if config.weight is not None:
        raise UserError(
            "--validation chooses the reference weight, and --weight names it: leave "
            "one of them out"
        )
    weights = candidates_of(config)
    chosen = []
    for group in groups(config):
        among = {Row(group.method), *(Row(group.method, x) for x in weights)}
        rows = {row: flags for row, flags in group.rows.items() if row in among}
        # Difficulty plays no part in the choice; fresh networks cost least.
        base = dataclasses.replace(
            group.base, validation=config.validation, probes=1, probe_kinds="random",
            measure_every=None,
        )  # fmt: skip
        chosen.append(Group(base, rows))
    return chosen


def choose(config: Config, selection: Selection) -> Config:
    """The flags with the weights that validation data chose."""
    weights = {method: chosen_of(rows) for method, rows in selection.items()}
    # In full: a rounded weight would be another row.
    named = ",".join(f"{method}:{weight!r}" for method, weight in weights.items())
    return dataclasses.replace(config, weight=named)


def _base(config: Config, method: str) -> options.Config:
    """The flags that all rows of a method share."""
    if not methods.in_one_piece(method):
        raise UserError(
            f"the method {quoted(method)} distils in segments, each with a start of "
            "its own: choose a method in one piece"
        )
    steps = config.steps or methods.published_steps(method, config.dataset, config.ipc)
    every = max(1, steps // CURVE_POINTS)
    return base_of(
        config, method, width=config.width, init=config.init,
        batch_real=config.batch_real, num_random=MIN_RANDOM, measure_every=every,
    )  # fmt: skip


# --- Results ------------------------------------------------------------------------


def _claims(finished: Finished[Config, Row]) -> dict[str, Any]:
    """The claims about every method, judged by its finished runs."""
    config, runs = finished.config, finished.runs
    judged = []
    for group in finished.groups:
        method = group.method
        reference = reference_of(config, method)
        largest = max(weights_of(config, method))
        plain, corrected = runs[Row(method)], runs[Row(method, reference)]
        above = runs[Row(method, largest)] if largest > reference else None
        factor = config.longer
        longer = None if factor is None else runs[Row(method, longer=factor)]
        family = methods.family(method)
        judged += claims.of_method(
            method,
            family,
            plain,
            corrected,
            above,
            longer,
            kinds_of(config.probe_kinds),
        )
    selection = {
        method: {
            "chosen": reference_of(config, method),
            "by_weight": {f"{row.weight or 0:g}": x for row, x in rows.items()},
        }
        for method, rows in finished.selection.items()
    }
    return {"claims": judged, "selection": selection}


def meaning(config: Config, table: Table) -> list[str]:
    """The claims, and the sentences below them."""
    sweeps = {
        group.method: group.rows[Row(group.method, reference_of(config, group.method))]
        for group in groups(config)
    }
    return sdc_results.notes(
        config, sweeps, table["claims"], table.get("selection", {})
    )


# The reference weight says what the claims are about; a bank knows how it was trained,
# and a run how long its students learn.
ROWS = ("methods", "weights", "weight", "norms", "schedules", "longer")


def _identity(values: Mapping[str, Any]) -> dict[str, Any]:
    """Further rows make no other comparison: their runs have folders of their own.

    A rising weight depends on the steps: more of them do.
    """
    named = {**values, "horizon": values["steps"]}
    return {k: v for k, v in named.items() if k not in (*ROWS, *ABOUT_EXPERTS)}


COMPARISON = Comparison(
    "sdc", Config, lambda config: "SDC", groups, meaning, sdc_results.LAYOUT,
    banks=shared_banks.by_method, identity=_identity,
    candidates=candidates, choose=choose,
    details=sdc_results.details, findings=_claims,
    plots={
        "difficulty.png": sdc_results.plot_difficulty,
        "gain.png": sdc_results.plot_gain,
        "grad_norm.png": sdc_results.plot_grad_norm,
    },
)  # fmt: skip
run, show = COMPARISON.run, COMPARISON.show

if __name__ == "__main__":
    main(Config, run, show)
