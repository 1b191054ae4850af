"""Rows of an SDC comparison: weights, norms and schedules of every method."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from experiments.comparing import lists, methods
from experiments.comparing.groups import Flags, Group
from jaxdd.errors import UserError, quoted
from jaxdd.modifiers import sdc as terms
from jaxdd.modifiers.terms import SCHEDULES

# The choices of --norms as flags of a run: a norm, or the mean along a student's path.
NORMS: Mapping[str, Flags] = {
    **{norm: {"sdc_norm": norm, "sdc_at": "start"} for norm in terms.NORMS},
    "path": {"sdc_norm": "mean", "sdc_at": "path"},
}
USUAL_WEIGHT = 1.0  # the reference where none is named
OF_TRAJECTORIES = ("linear", "constant", "log")  # the order of their schedules


class Row(NamedTuple):
    """A method without SDC, with a weight, or with another norm or schedule; or without
    it and with longer steps, the factor of the images' learning rate."""

    method: str
    weight: float | None = None
    norm: str | None = None
    schedule: str | None = None
    longer: float | None = None

    def __str__(self) -> str:
        if self.longer is not None:
            return f"{self.method}, longer steps {self.longer:g}"
        if self.weight is not None:
            return f"{self.method}, weight {self.weight:g}"
        if self.norm is not None:
            return f"{self.method}, norm {self.norm}"
        return (
            self.method if self.schedule is None else f"{self.method}, {self.schedule}"
        )


def rows_of(config: Any, method: str) -> dict[Row, Flags]:
    """Without SDC, the weights, then other norms and schedules; longer steps."""
    norms, schedules = _norms(config, method), _schedules(config, method)
    reference = {
        "sdc_weight": reference_of(config, method),
        **NORMS[norms[0]],
        **_rising(schedules[0], config.steps),
        "sdc_relative": config.relative,
    }
    rows: dict[Row, Flags] = {Row(method): {}}
    for weight in weights_of(config, method):
        rows[Row(method, weight=weight)] = {**reference, "sdc_weight": weight}
    for norm in norms[1:]:
        rows[Row(method, norm=norm)] = {**reference, **NORMS[norm]}
    for schedule in schedules[1:]:
        rising = _rising(schedule, config.steps)
        same = {k: v for k, v in reference.items() if k != "sdc_horizon"}
        rows[Row(method, schedule=schedule)] = {**same, **rising}
    if config.longer is not None:
        usual = methods.published_image_lr(method, config.dataset, config.ipc)
        flags = {"image_lr": usual * config.longer}
        rows[Row(method, longer=config.longer)] = flags
    return rows


def _rising(schedule: str, steps: int | None) -> Flags:
    """A schedule, and the step at which its weight arrives where it rises."""
    rising = steps is not None and schedule != "constant"
    horizon = {"sdc_horizon": steps} if rising else {}
    return {"sdc_schedule": schedule, **horizon}


def _norms(config: Any, method: str) -> list[str]:
    norms = lists.names(config.norms, "norms", NORMS)
    if not methods.has_students(method):
        norms = [norm for norm in norms if norm != "path"]
    if not norms:
        raise UserError(
            f"--norms=path needs trajectories, which --methods={method} has not: add "
            "mean"
        )
    return norms


def _schedules(config: Any, method: str) -> list[str]:
    if config.schedules is not None:
        return lists.names(config.schedules, "schedules", SCHEDULES)
    return list(OF_TRAJECTORIES if methods.has_students(method) else SCHEDULES)


def weights_of(config: Any, method: str) -> list[float]:
    """The weights of a method's sweep, the reference among them; 0 is the plain run."""
    return sorted({*_sweep(config), reference_of(config, method)} - {0.0})


def candidates_of(config: Any) -> list[float]:
    """The weights among which validation data choose.

    Raises:
        UserError: none of --weights is positive.
    """
    positive = sorted(weight for weight in _sweep(config) if weight > 0)
    if not positive:
        raise UserError(
            "--validation chooses among the positive weights of --weights, and "
            f"{quoted(config.weights)} has none"
        )
    return positive


def chosen_of(accuracies: Mapping[Row, Sequence[float]]) -> float:
    """The weight with the best mean accuracy, of equal ones the smallest.

    Args:
        accuracies: {row: on validation data, per seed}, without SDC and with weights.
    """
    weights = [(row.weight, x) for row, x in accuracies.items() if row.weight]
    best = max(weights, key=lambda item: (sum(item[1]) / len(item[1]), -item[0]))
    return best[0]


def reference_of(config: Any, method: str) -> float:
    """The reference weight of a method.

    Where it is yet to be chosen, the first candidate stands for it.

    Raises:
        UserError: --weight is neither a positive number nor METHOD:WEIGHT for every
            method.
    """
    if config.weight is not None:
        return _references(config)[method]
    return USUAL_WEIGHT if config.validation is None else candidates_of(config)[0]


def _references(config: Any) -> dict[str, float]:
    """{method: --weight}, which is one number or METHOD:NUMBER joined by commas."""
    compared = lists.names(config.methods, "methods", methods.NAMES)
    text = str(config.weight)
    if ":" not in text:
        return dict.fromkeys(compared, _reference(text))
    parts = [part.partition(":") for part in text.split(",")]
    given = [name for name, _, _ in parts]
    if sorted(given) != sorted(compared):
        raise UserError(
            f"--weight={quoted(text)} has to name each of {', '.join(compared)} once, "
            "as METHOD:WEIGHT joined by commas, or be one number for all"
        )
    return {name: _reference(number) for name, _, number in parts}


def _reference(text: str) -> float:
    try:
        weight = float(text)
    except ValueError as error:
        raise UserError(
            "--weight must be a number, or METHOD:WEIGHT joined by commas, not "
            f"{quoted(text)}"
        ) from error
    if not 0 < weight < math.inf:
        raise UserError(f"--weight must be positive and finite, not {weight:g}")
    return weight


def _sweep(config: Any) -> list[float]:
    """The weights that --weights names."""
    weights = lists.numbers(config.weights, "weights", float)
    for weight in weights:
        if not math.isfinite(weight):
            raise UserError(f"the weights must be finite numbers, not {weight}")
    if len({f"{weight:g}" for weight in weights}) < len(weights):
        raise UserError(f"--weights names a weight twice: {quoted(config.weights)}")
    return weights


def sweeps_of(groups: Sequence[Group[Row]]) -> dict[str, dict[str, Row]]:
    """{method: {label in a plot: row}} of the sweep of weights."""
    return {
        group.method: {
            "without SDC" if row.weight is None else f"weight {row.weight:g}": row
            for row in group.rows
            if row in (Row(group.method), Row(group.method, row.weight))
        }
        for group in groups
    }
