"""What learner sources, objectives and decoders are built for, beside the recipe."""

from typing import NamedTuple

from jaxdd.primitives.truncation import Student
from jaxdd.types import Space


class Context(NamedTuple):
    """What a method is built for, beside its recipe.

    Attributes:
        microbatch: chunk length of gradients over a batch; None for the whole batch.
        experts: how many the bank has, where trajectories are matched.
        pixels: the space of pixels, where images are stored as such; see
            `data.Preprocess.space`.
        as_targets: whether labels are targets of a regression, not probabilities;
            `build` takes it from the recipe.
        student: how the objective trains a student on the set; None where it trains
            none.
    """

    microbatch: int | None = None
    experts: int | None = None
    pixels: Space | None = None
    as_targets: bool = False
    student: Student | None = None
