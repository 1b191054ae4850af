"""Every choice of a distillation, before its data are read."""

from dataclasses import dataclass, field
from typing import ClassVar

from jaxdd.data.problem import DataFlags, Scaling
from jaxdd.experts.recipe import Experts
from jaxdd.fields import Choice, option
from jaxdd.methods.network import Arithmetic, NetworkSpec
from jaxdd.methods.published.preset import Length
from jaxdd.methods.recipe import Recipe
from jaxdd.modifiers.curriculum import Window
from jaxdd.scores.probes import USUAL, kinds_of
from jaxdd.training.schedules import EvaluationSpec

SELECTIONS = ("last", "validation")


@dataclass(frozen=True)
class Task(Choice):
    """What is distilled, whatever the method.

    Attributes:
        ipc: synthetic images per class.
        seed: of everything random.
        select: which set is kept: the "last", or the best on "validation" data.
    """

    subject: ClassVar[str] = "the run"

    ipc: int = option(1, "synthetic images per class", above=0, often=True)
    seed: int = option(
        0, "seed of all random numbers of the run", kind="seed", often=True
    )
    select: str = option(
        "last",
        "which set of the run is kept: the last one (last), or the one with the "
        "best accuracy on held-out data (validation)",
        choices=SELECTIONS,
    )


@dataclass(frozen=True, kw_only=True)
class Data(DataFlags, Choice):
    """The data, and which share of it is held out.

    Attributes:
        validation: the share of train that is held out.
        split_seed: of that share; None for the seed of the run.
    """

    subject: ClassVar[str] = "the data"

    validation: float = option(
        0.1, "share of the training data that is held out, for selection; 0 for none"
    )
    split_seed: int | None = option(
        None,
        "seed that draws the share of the training data that is held out; "
        "default: --seed",
        kind="seed",
    )


@dataclass(frozen=True)
class Records(Choice):
    """What is measured and saved along a run.

    Attributes:
        probes, probe_steps: networks at which difficulty is measured, and the steps of
            SGD that they are trained on real data.
        probe_kinds: which networks these are, joined by commas; those of the first are
            meant where no kind is named.
        sdc_share: whether the term's share in the image gradient is logged.
        log_every: steps between lines of metrics.jsonl.
        measure_every: steps between measurements; None for ten in a published run.
        save_every: steps between checkpoints.
        tensorboard: whether the workdir gets files for TensorBoard.
    """

    subject: ClassVar[str] = "the records"

    probes: int = option(
        5, "number of networks at which the difficulty of the set is measured", above=0
    )
    probe_steps: int = option(
        100,
        "steps of SGD on real data that the networks have taken at which "
        "difficulty is measured",
        above=0,
    )
    probe_kinds: str = option(
        ",".join(USUAL),
        "kinds of networks at which difficulty is measured, joined by commas: random "
        "(fresh), real_early (--probe_steps on real data), real_late (ten times as "
        "many), synthetic (--probe_steps on the set)",
    )
    sdc_share: bool = option(
        True,
        "whether metrics.jsonl has the share of the difficulty correction (SDC) "
        "in the gradient of the images",
    )
    log_every: int = option(10, "steps between lines of metrics.jsonl", above=0)
    measure_every: int | None = option(
        None,
        "steps between measurements of difficulty; default: a tenth of the "
        "published number of steps",
        above=0,
    )
    save_every: int = option(
        50, "steps between checkpoints, from which a stopped run goes on", above=0
    )

    tensorboard: bool = option(
        False,
        "whether the lines of metrics.jsonl and the images are also written for "
        "TensorBoard, into WORKDIR/tensorboard (needs the extra tensorboard)",
    )

    def __post_init__(self):
        super().__post_init__()
        kinds_of(self.probe_kinds)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of networks at which difficulty is measured."""
        return kinds_of(self.probe_kinds)


@dataclass(frozen=True)
class Published:
    """How long the published run is, whatever the flags say.

    Attributes:
        steps: updates of the images.
        bank_epochs: epochs of the experts; None for as many as are matched.
    """

    steps: int = 1
    bank_epochs: int | None = None


@dataclass(frozen=True)
class Run:
    """Every choice of a run, before its data are read."""

    method: str = "own"  # its name; that of a recipe without one
    task: Task = field(default_factory=Task)
    data: Data = field(default_factory=Data)
    network: NetworkSpec = field(default_factory=NetworkSpec)
    arithmetic: Arithmetic = field(default_factory=Arithmetic)
    recipe: Recipe = field(default_factory=Recipe)
    length: Length = field(default_factory=Length)
    evaluation: EvaluationSpec = field(default_factory=EvaluationSpec)
    scaling: Scaling = field(default_factory=Scaling)
    window: Window = field(default_factory=Window)
    experts: Experts | None = None
    records: Records = field(default_factory=Records)
    published: Published = field(default_factory=Published)
