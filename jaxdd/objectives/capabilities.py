"""What an objective may have beside `make`: a run asks for these, never for a class.

Each is a protocol, so that an objective of your own has a capability as soon as it has
the names, and combines with every learner source, modifier and check that asks for it.
"""

from collections.abc import Collection
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import optax

from jaxdd.modifiers.masks import Masking
from jaxdd.objectives.parts import Parts
from jaxdd.primitives.truncation import Student
from jaxdd.types import Network


@runtime_checkable
class LearnsStepSize(Protocol):
    """An objective that learns the step size of a set, or another scalar in its place.

    Attributes:
        log_step_size: whether its logarithm is what is updated.
    """

    log_step_size: ClassVar[bool]

    @property
    def step_size(self) -> float:
        """Its value at the start of a run."""
        ...

    def step_size_updates(self) -> optax.GradientTransformation | None:
        """Its optimiser; None keeps it as it is."""
        ...


@runtime_checkable
class TrainsStudent(Protocol):
    """An objective that trains a student on the set: learner sources may probe it.

    Attributes:
        student_steps: steps of the window that carries a gradient.
    """

    @property
    def student_steps(self) -> int: ...

    def student(self, network: Network, parts: Parts) -> Student:
        """How a network is trained on the set."""
        ...


@runtime_checkable
class FollowsExperts(Protocol):
    """An objective whose students bridge spans of experts' training.

    It takes learners that start where an expert was (`learners.spans.DrawsSpans`) and
    finds the other end of their span in `Inputs.expert_span()`. The set has the step
    size of the students, which evaluations train with.

    Attributes:
        expert_epochs: M, epochs from one end of a span to the other.
    """

    @property
    def expert_epochs(self) -> int: ...


@runtime_checkable
class DrawsSamples(Protocol):
    """An objective that says how the real samples of its matches are drawn.

    Attributes:
        sampling: "independent", or in "passes", whose order is then in `Inputs.order`.
    """

    @property
    def sampling(self) -> str: ...


@runtime_checkable
class ComparesClasses(Protocol):
    """An objective that may compare images with what a teacher knows of their class.

    Attributes:
        by_class: whether it does, with `Inputs.class_moments`.
    """

    @property
    def by_class(self) -> bool: ...


class Sizes(NamedTuple):
    """How many samples of which classes there are to learn from.

    Attributes:
        classes: K.
        largest: samples of the largest class of the training split.
        samples: of the whole split.
    """

    classes: int
    largest: int
    samples: int


@runtime_checkable
class FitsData(Protocol):
    """An objective with numbers that go by how many samples there are."""

    def fitted(self, sizes: Sizes, given: Collection[str]) -> Any:
        """The same with no more samples or classes than there are.

        Args:
            sizes: of the data.
            given: flags that somebody gave; `check` may refuse them later.
        """
        ...


@runtime_checkable
class ChecksRun(Protocol):
    """An objective that some networks, classes or sets do not fit."""

    def check(self, network: Network, classes: int, images: int) -> None:
        """Refuse them before anything is written.

        Args:
            network: that is matched.
            classes: K of the data.
            images: training images of a class.

        Raises:
            UserError: with the flag, and what to do.
        """
        ...


@runtime_checkable
class ChangesAlongRun(Protocol):
    """An objective of which something rises or falls with the steps of a run."""

    def until(self, horizon: int) -> Any:
        """The same, arriving at step `horizon` where it says no step itself."""
        ...


@runtime_checkable
class MatchesPart(Protocol):
    """An objective that matches a part of the tree that a mask chooses from."""

    def masking(self, mask: Masking | None) -> Masking | None:
        """What a mask keeps of that part; without a mask, the part itself.

        Returns:
            A function of the tree; None for all of it.
        """
        ...
