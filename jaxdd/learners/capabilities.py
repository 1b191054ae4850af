"""What a learner source has to have, and what it may have beside that."""

from typing import ClassVar, Protocol, runtime_checkable

from jaxdd.learners.context import Context
from jaxdd.learners.spans import StartEpochs
from jaxdd.types import LearnerSource, Network


@runtime_checkable
class OwnLearner(Protocol):
    """A learner source of your own: any frozen dataclass with these names.

    With `needs_experts = True` a run trains a bank, or takes one.

    Attributes:
        name: what it is called in files and messages.
        matches: updates of the images per network.
    """

    name: ClassVar[str]

    @property
    def matches(self) -> int: ...

    def make(
        self, network: Network, context: Context, augmentation: str
    ) -> LearnerSource:
        """The source; `augmentation` is the match's."""


@runtime_checkable
class DrawsSpans(Protocol):
    """A learner source whose students start where experts were.

    Its `LearnerSource` says by `span_index` which span a step gets. In later segments
    of D4A by a filter spans are drawn from short runs of experts, uniformly.

    Attributes:
        max_start: the exclusive bound of the start epochs; where it is None, a run
            replaces this field by the last that the bank allows.
    """

    @property
    def max_start(self) -> int | None: ...

    def starts(self) -> StartEpochs:
        """The range of start epochs."""
        ...
