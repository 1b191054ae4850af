"""All choices of a run that depend on method, dataset and images per class."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from jaxdd.data.problem import Scaling
from jaxdd.experts.recipe import Experts
from jaxdd.fields import Choice, option
from jaxdd.methods.recipe import Recipe
from jaxdd.modifiers.curriculum import Window
from jaxdd.training.schedules import EvaluationSpec


@dataclass(frozen=True)
class Length(Choice):
    """How far a run goes.

    Attributes:
        steps: updates of the images; 0 where the first images are the result.
    """

    subject: ClassVar[str] = "the run"

    steps: int = option(
        1,
        "number of updates of the synthetic images; 0 keeps the first ones, where they "
        "are chosen (--init=crops)",
        at_least=0,
        often=True,
    )


class Setting(NamedTuple):
    """What settings are published for.

    Attributes:
        dataset: its name, without a version.
        ipc: images per class.
        net: the network that is matched and evaluated, one of `nets.NETS`.
        classes: of the data; None as long as they are not read.
    """

    dataset: str
    ipc: int
    net: str = "convnet"
    classes: int | None = None


@dataclass(frozen=True)
class Preset:
    """All choices of a run that depend on method, dataset and ipc.

    Attributes:
        recipe: the method. For trajectories without published settings
            `learner.max_start` is None: up to the last epoch that leaves room for a
            span.
        length: updates of the images.
        evaluation: the official one.
        scaling: how images are normalised.
        window: which real samples are in play.
        experts: how experts are trained; None where none are needed.
    """

    recipe: Recipe
    length: Length
    evaluation: EvaluationSpec
    scaling: Scaling = Scaling()
    window: Window = Window()
    experts: Experts | None = None
