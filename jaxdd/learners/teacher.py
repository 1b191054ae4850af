"""One trained network for all steps of a run."""

from dataclasses import dataclass
from typing import ClassVar

from jaxdd.errors import UserError
from jaxdd.fields import Choice
from jaxdd.learners.context import Context
from jaxdd.types import Inputs, Key, Learner, LearnerSource, Network


def constant_teacher() -> LearnerSource:
    """The same trained network in every step: `inputs.teacher` (SRe2L, CDA).

    Example:
        >>> inputs = jaxdd.Inputs(real, real, teacher=learner)
        >>> constant_teacher().draw(key, (), inputs) is learner
        True
    """

    def init(key: Key):
        return ()

    def draw(key: Key, state, inputs: Inputs) -> Learner:
        return inputs.trained_teacher()

    def advance(key: Key, state, learner, synthetic, inputs):
        return state

    return LearnerSource(init, draw, advance)


@dataclass(frozen=True)
class Teacher(Choice):
    """The first expert of a bank at the end of its training, in every step."""

    name: ClassVar[str] = "teacher"
    matches: ClassVar[int] = 1
    needs_experts: ClassVar[bool] = True

    def make(
        self, network: Network, context: Context, augmentation: str
    ) -> LearnerSource:
        """The source.

        Raises:
            UserError: there are no experts.
        """
        del network, augmentation
        if context.experts is None:
            raise UserError("a constant teacher needs a bank of experts")
        return constant_teacher()
