"""Checks of the arguments that simulation and limit share."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from jaxdd.errors import UserError

Amounts: TypeAlias = Sequence[float] | np.ndarray  # [A]

KEEPS = ("easy", "hard", "random")


def check_keep(keep: str) -> None:
    """Refuse a rule that is not in `KEEPS`.

    Raises:
        UserError: the rule is unknown.
    """
    if keep not in KEEPS:
        raise UserError(f"unknown keep={keep!r}: choose one of {', '.join(KEEPS)}")


def checked(alphas: Amounts, fraction: float, angle: float) -> list[float]:
    """The amounts of data [A] as floats, if all arguments are in their ranges.

    Raises:
        UserError: an argument is out of its range.
    """
    amounts = np.array(alphas, dtype=float)
    if amounts.ndim != 1 or not amounts.size or not np.isfinite(amounts).all():
        raise UserError(f"alphas={alphas} must be a list of finite numbers")
    if amounts.min() <= 0:
        raise UserError(f"alphas={alphas} must be positive: samples per dimension")
    if not 0 < fraction <= 1:
        raise UserError(f"fraction={fraction} must be above 0 and at most 1")
    if not 0 <= angle <= 90:
        raise UserError(f"angle={angle} must be between 0 and 90 degrees")
    return amounts.tolist()
