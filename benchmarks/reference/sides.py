"""The reference's side of a case."""

from collections.abc import Callable

from benchmarks.parts.cases import Case
from benchmarks.parts.draws import groups_of
from benchmarks.reference import METHODS
from benchmarks.reference.matching import Matching
from benchmarks.reference.trajectory import Trajectory
from jaxdd.learners.pools import TrainedBetween


def loop(case: Case) -> Matching | Trajectory:
    """The loop of a method that has one."""
    objective, learner = case.recipe.objective, case.recipe.learner
    groups = groups_of(objective.augmentation)
    if case.recipe.needs_experts:
        return Trajectory(case, groups)
    name = learner.augmentation if isinstance(learner, TrainedBetween) else None
    trained = groups if name is None else groups_of(name)
    return Matching(case, groups, trained)


def step(case: Case) -> Callable[[], None] | None:
    """What takes one outer step after the other; None without a reference."""
    return loop(case).step if case.name in METHODS else None
