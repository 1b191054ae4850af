"""The reference's side of a case."""

from collections.abc import Callable

from benchmarks.parts.cases import Case
from benchmarks.parts.draws import groups_of
from benchmarks.reference import METHODS
from benchmarks.reference.matching import Matching
from benchmarks.reference.trajectory import Trajectory


def loop(case: Case) -> Matching | Trajectory:
    """The loop of a method that has one."""
    settings = case.settings
    groups = groups_of(settings.augmentation)
    if settings.objective == "trajectory":
        return Trajectory(case, groups)
    name = settings.pool_augmentation
    trained = groups if name is None else groups_of(name)
    return Matching(case, groups, trained)


def step(case: Case) -> Callable[[], None] | None:
    """What takes one outer step after the other; None without a reference."""
    return loop(case).step if case.name in METHODS else None
