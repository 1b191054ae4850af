"""Rows of a PAD comparison: the two filters, and the sweeps of PAD's paper."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from experiments.comparing.groups import Flags

# The values of PAD's own sweeps: scores, IR x AEE, and shares of parameters.
SWEPT_SCORES = ("el2n", "loss", "entropy", "grad_norm", "forgetting")
SWEPT_RATIOS = (0.5, 0.75, 0.8)
SWEPT_SHARES = (0.0, 0.25, 0.5, 0.75)


class Filters(NamedTuple):
    """A row with some of the two filters."""

    fiex: bool = False
    fiem: bool = False

    def __str__(self) -> str:
        names = [name for name, on in (("FIEX", self.fiex), ("FIEM", self.fiem)) if on]
        return " + ".join(names) or "base"


class Scored(NamedTuple):
    """A row whose FIEX sorts by another score."""

    score: str

    def __str__(self) -> str:
        return f"FIEX by {self.score}"


class Paced(NamedTuple):
    """A row whose experts see another curriculum."""

    init_ratio: float
    add_end_epoch: int

    def __str__(self) -> str:
        return f"IR {self.init_ratio:g}, AEE {self.add_end_epoch}"


class Masked(NamedTuple):
    """A row that drops another share of the parameters."""

    share: float

    def __str__(self) -> str:
        return f"alpha {self.share:g}"


Rows = dict[Filters | Scored | Paced | Masked, Flags]


def _filters(fiex: Flags, fiem: Flags) -> Rows:
    return {
        Filters(): {},
        Filters(fiex=True): fiex,
        Filters(fiem=True): fiem,
        Filters(fiex=True, fiem=True): {**fiex, **fiem},
    }


def _scores(fiex: Flags, fiem: Flags) -> Rows:
    rows: Rows = {Filters(): {}}
    return rows | {Scored(score): {**fiex, "score": score} for score in SWEPT_SCORES}


def _curricula(fiex: Flags, fiem: Flags) -> Rows:
    epochs = [factor * fiex["add_end_epoch"] for factor in (1, 2, 3)]
    swept = [Paced(ratio, epoch) for ratio in SWEPT_RATIOS for epoch in epochs]
    rows: Rows = {Filters(): {}}
    return rows | {row: {**fiex, **row._asdict()} for row in swept}


def _shares(fiex: Flags, fiem: Flags) -> Rows:
    return {
        Masked(share): {**fiem, "mask_ratio": share} if share else {"mask": "none"}
        for share in SWEPT_SHARES
    }


SWEEPS: Mapping[str, Callable[[Flags, Flags], Rows]] = {
    "none": _filters,
    "score": _scores,
    "curriculum": _curricula,
    "alpha": _shares,
}
