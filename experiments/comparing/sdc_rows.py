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
        "sdc_weight": config.weight,
        **NORMS[norms[0]],
        **_rising(schedules[0], config.steps),
        "sdc_relative": config.relative,
    }
    rows: dict[Row, Flags] = {Row(method): {}}
    for weight in weights_of(config):
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


def weights_of(config: Any) -> list[float]:
    """The weights of the sweep, the reference among them; 0 is the plain run."""
    weights = lists.numbers(config.weights, "weights", float)
    for weight in (*weights, config.weight):
        if not math.isfinite(weight):
            raise UserError(f"the weights must be finite numbers, not {weight}")
    if len({f"{weight:g}" for weight in weights}) < len(weights):
        raise UserError(f"--weights names a weight twice: {quoted(config.weights)}")
    if config.weight <= 0:
        raise UserError(f"--weight must be positive, not {config.weight:g}")
    return sorted({*weights, config.weight} - {0.0})


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
