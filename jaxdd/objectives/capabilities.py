"""What an objective has to have, and what it may have beside that.

A run asks for these names and not for a class: an objective of your own has a
capability as soon as it has them, and combines with every learner source, modifier and
check that asks for it. What is no method is a field or a `ClassVar`, not a property
that may raise.
"""

from collections.abc import Collection
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import optax

from jaxdd.modifiers.masks import Masking
from jaxdd.objectives.parts import Parts
from jaxdd.primitives.truncation import Student
from jaxdd.types import Network, Objective


@runtime_checkable
class OwnObjective(Protocol):
    """An objective of your own: any frozen dataclass with these names.

    Attributes:
        name: what it is called in files and messages.
        augmentation: a name that the training of a pool uses, too, or "none".
        batch_syn: synthetic images of a class that a match is shown; None for all.
    """

    name: ClassVar[str]

    @property
    def augmentation(self) -> str: ...

    @property
    def batch_syn(self) -> int | None: ...

    def make(self, network: Network, parts: Parts) -> Objective:
        """The objective, a function of the set; see `types.Objective`."""

    def matched(self, network: Network, image_shape: tuple[int, ...]) -> Any:
        """The shapes of what is compared, which a mask chooses from."""


@runtime_checkable
class LearnsStepSize(Protocol):
    """An objective that learns the step size of a set, or another scalar in its place.

    Attributes:
        log_step_size: whether its logarithm is what is updated.
        step_size: its value at the start of a run; a field, which a run that begins at
            a distilled set replaces.
    """

    log_step_size: ClassVar[bool]

    @property
    def step_size(self) -> float: ...

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

    Its learners start where an expert was (`learners.capabilities.DrawsSpans`), and the
    other end of their span is in `Inputs.expert_span()`. Evaluations train with the
    step size of the set: 0.01 where the objective has none, see `LearnsStepSize`.

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
class TakesLabels(Protocol):
    """An objective that takes other labels than probabilities.

    Attributes:
        label_spaces: those that it takes, of "probabilities", "targets" and "weights";
            see `synthetic.labels`.
    """

    label_spaces: ClassVar[tuple[str, ...]]


@runtime_checkable
class ComparesClasses(Protocol):
    """An objective that may compare images with what a teacher knows of their class.

    Attributes:
        needs_class_moments: whether it does, with `Inputs.class_moments`, which the
            learner source `Teacher` brings.
    """

    @property
    def needs_class_moments(self) -> bool: ...


class Sizes(NamedTuple):
    """How many samples of which classes there are to learn from.

    Attributes:
        classes: K.
        largest_class: samples of the largest class of the training split.
        samples: of the whole split.
    """

    classes: int
    largest_class: int
    samples: int


@runtime_checkable
class FitsData(Protocol):
    """An objective with numbers that go by how many samples there are."""

    def for_sizes(self, sizes: Sizes, given: Collection[str]) -> Any:
        """The same with no more samples or classes than there are.

        Args:
            sizes: of the data.
            given: flags that somebody gave; `check_run` may refuse them later.
        """
        ...


@runtime_checkable
class ChecksRun(Protocol):
    """An objective that some networks, samples or sets do not fit."""

    def check_run(
        self, network: Network, image_shape: tuple[int, ...], classes: int, images: int
    ) -> None:
        """Refuse them before anything is written.

        Args:
            network: that is matched.
            image_shape: of a sample.
            classes: K of the data.
            images: training images of a class of the whole set.

        Raises:
            UserError: with the flag, and what to do.
        """
        ...


@runtime_checkable
class ChangesAlongRun(Protocol):
    """A choice of which something rises or falls with the steps of a run.

    On any axis: an objective, a field of it such as `augment.views.Views`, the images,
    a modifier.
    """

    def with_horizon(self, horizon: int) -> Any:
        """The same, arriving at step `horizon` where it says no step itself.

        Args:
            horizon: the last step of the published run, or the usual one on the data.
        """
        ...


@runtime_checkable
class MatchesPart(Protocol):
    """An objective that matches a part of the tree that a mask chooses from.

    What is not matched anyway does not count in what a run says of its mask.
    """

    def masking(self, mask: Masking | None) -> Masking | None:
        """The entries of that part that a mask keeps; without one, all of the part.

        Returns:
            A function of the tree; None for all of it.
        """
        ...
