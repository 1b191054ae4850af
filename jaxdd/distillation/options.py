"""The choices of a distillation, the flags that follow from them, and their checks."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar

from jaxdd.data.problem import DataFlags, Scaling
from jaxdd.errors import UserError, quoted
from jaxdd.experts.recipe import Experts
from jaxdd.fields import Choice, Flag, config_class, flags_of, option, override, typed
from jaxdd.methods.network import Arithmetic, NetworkSpec
from jaxdd.methods.presets import (
    Length,
    Preset,
    completed,
    preset,
    usual_network,
)
from jaxdd.methods.published.crops import teacher
from jaxdd.methods.recipe import Recipe
from jaxdd.methods.recipes import METHODS
from jaxdd.modifiers.curriculum import Curriculum, Window
from jaxdd.modifiers.segments import Segments, sizes
from jaxdd.report.tensorboard import require
from jaxdd.scores.probes import USUAL, kinds_of
from jaxdd.scores.table import SCORES
from jaxdd.storage.paths import existing_file, shown
from jaxdd.synthetic.crops import Crops
from jaxdd.synthetic.images import INITIAL_CHOICES
from jaxdd.synthetic.initial import INITIALS
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


FLAGS = flags_of(Run)


def filled_by_preset(flag: Flag) -> bool:
    """Whether a flag that is not given has the value of a preset."""
    if flag.name == "net":
        return True
    counts = flag.name in ("num_eval", "num_random")
    return flag.path[0] in {part.name for part in fields(Preset)} and not counts


@dataclass(frozen=True, kw_only=True)
class Flags:
    """What every configuration of a distillation has; its other fields are `FLAGS`."""

    workdir: str = option(
        ...,
        "folder for the results and checkpoints of the run",
        kind="path",
        often=True,
    )
    method: str = option(
        "dsa", f"distillation method: {', '.join(METHODS)}", often=True
    )

    if TYPE_CHECKING:  # the other fields are made below

        def __getattr__(self, name: str) -> Any: ...


Config = config_class(
    "Config",
    "Flags of `experiments.distill`. None stands for the preset's value.",
    (Flags,),
    Run,
    filled_by_preset,
)


def given(config: Flags) -> dict[str, Any]:
    """{flag: value} of the flags of a configuration that have a value."""
    values = {name: getattr(config, name) for name in FLAGS}
    return {name: value for name, value in values.items() if value is not None}


def check(config: Flags) -> None:
    """Refuse what makes no sense, before anything is read or written.

    Raises:
        UserError: with the flag, and what to do.
    """
    run_of(config.method, given(config))


def run_of(
    method: str | Recipe, flags: Mapping[str, Any], dataset: str | None = None
) -> Run:
    """All choices of a run.

    Args:
        method: a name in `METHODS`, or a recipe of your own.
        flags: {flag: value}; a value of None is not given.
        dataset: its name where the data are known; by default the flag's.

    Raises:
        UserError: there is no such flag, a value is impossible, the flag belongs to a
            choice that the method does without, or flags exclude each other.
    """
    flags = {
        name: typed(FLAGS[name], value) if name in FLAGS else value
        for name, value in flags.items()
        if value is not None
    }
    who = f"--method={method}" if isinstance(method, str) else "this recipe"
    early = {n: v for n, v in flags.items() if FLAGS.get(n) and _is_early(n)}
    base = override(_without_flags(method, flags), early, who)
    chosen = _preset(method, flags, base, dataset)
    data = base.data.dataset if dataset is None else dataset
    chosen = replace(chosen, experts=_experts(chosen, flags, data.partition(":")[0]))
    filled = {part.name: getattr(chosen, part.name) for part in fields(chosen)}
    epochs = None if chosen.experts is None else chosen.experts.epochs
    published = Published(chosen.length.steps, epochs)
    named = method if isinstance(method, str) else Run.method
    base = replace(base, **filled, method=named, published=published)
    run = override(base, flags, who)
    _check(run, flags, who)
    return run


def _without_flags(method: str | Recipe, flags: Mapping[str, Any]) -> Run:
    """The choices that a preset depends on, as they are without flags."""
    recipe = METHODS.get(method) if isinstance(method, str) else method
    if recipe is None or "net" in flags:
        return Run()
    return Run(network=usual_network(recipe))


def _is_early(name: str) -> bool:
    """Whether a flag is about what a preset depends on, and not filled by it."""
    return FLAGS[name].path[:1] in (("task",), ("data",), ("network",))


def _preset(
    method: str | Recipe, flags: Mapping[str, Any], base: Run, dataset: str | None
) -> Preset:
    name = base.data.dataset if dataset is None else dataset
    if isinstance(method, Recipe):
        return completed(method, name)
    net = base.network.published_name
    return preset(method, name, base.task.ipc, flags.get("factor"), net)


def _experts(chosen: Preset, flags: Mapping[str, Any], dataset: str) -> Experts | None:
    """The experts of a method, or the teacher that chooses its first images."""
    if chosen.recipe.needs_experts:
        return chosen.experts
    if flags.get("init", chosen.recipe.images.init) != "crops":
        return None
    return chosen.experts or teacher(dataset)


def scaling_of(run: Run, dataset: str) -> Scaling:
    """How the images of a dataset are normalised: its own constants have no name."""
    scaling = run.scaling
    if scaling.zca or scaling.constants == dataset.partition(":")[0]:
        return Scaling(scaling.zca)
    return scaling


# --- What holds across choices --------------------------------------------------------


def _check(run: Run, flags: Mapping[str, Any], who: str) -> None:
    init = run.recipe.images.init
    if init not in INITIALS:
        existing_file(init, "--init", INITIAL_CHOICES)
    if run.task.select == "validation" and run.data.validation == 0:
        raise UserError(
            "--select=validation needs validation data: leave out --validation=0"
        )
    if "constants" in flags and run.scaling.zca:
        raise UserError(
            "--constants normalise images, and these are whitened: leave it out, or "
            "add --nozca"
        )
    network = run.network
    if run.experts is None:
        _check_without_experts(run, flags, who)
    elif run.recipe.needs_experts and (network.match_norm or network.match_activation):
        raise UserError(
            "--match_norm and --match_activation are for methods without experts, and "
            f"{who} matches those: leave them out"
        )
    if run.experts is not None and run.experts.bank is not None:
        for name in ("num_experts", "bank_epochs"):
            if name in flags:
                raise UserError(
                    f"--{name} is for a bank made here, and --experts names one: give "
                    "one of them"
                )
    _check_crops(run, flags, who)
    if run.length.steps == 0:
        _check_no_step(run, who)
    _check_segments(run, flags, who)
    _check_window(run.window)
    if run.records.tensorboard:
        require()
    mask = run.recipe.mask
    named = "mask" in flags and "mask_ratio" not in flags
    if named and mask is not None and mask.ratio == 0:
        raise UserError(
            f"--mask={mask.kind} drops nothing so far: add e.g. --mask_ratio=0.25"
        )


def _check_without_experts(run: Run, flags: Mapping[str, Any], who: str) -> None:
    for name in ("init_ratio", "add_end_epoch", "removals"):
        if name in flags:
            raise UserError(
                f"--{name} is about experts, which {who} has not; --drop_easiest and "
                "--drop_hardest choose its real samples"
            )
    if run.recipe.images.init == "correct":
        raise UserError(
            f"--init=correct needs experts, which {who} has not: use noise or real"
        )
    labels = run.recipe.labels
    if labels.needs_experts:
        raise UserError(
            f"--labels={labels.name} needs experts, which {who} has not: use hard"
        )


# Flags about crops, by name; nothing else makes use of them.
CROPS = tuple(flags_of(Crops))


def _check_crops(run: Run, flags: Mapping[str, Any], who: str) -> None:
    """Refuse crops that no teacher can choose, and flags about crops without any."""
    images, labels = run.recipe.images, run.recipe.labels
    for name in CROPS:
        if name in flags and images.init != "crops":
            raise UserError(f"--{name} is about crops: {Crops.remedy}")
    score = images.crops.score
    able = [name for name, known in SCORES.items() if known.needs == "networks"]
    if score not in SCORES:
        raise UserError(
            f"unknown {quoted(score)} in --realism_score: choose from {', '.join(able)}"
        )
    if score not in able:
        raise UserError(
            f"--realism_score={score} is a score of whole datasets, and crops are new "
            f"images: choose from {', '.join(able)}"
        )
    if labels.name == "soft" and not run.recipe.needs_experts:
        raise UserError(
            f"--labels=soft needs a method that matches experts, which {who} does not: "
            "use hard or teacher"
        )


def _check_no_step(run: Run, who: str) -> None:
    """Refuse a run without a step where its images are not chosen, and what acts in
    steps."""
    recipe = run.recipe
    if recipe.images.init != "crops":
        raise UserError(
            "--steps=0 keeps the first images, which is for those that are chosen "
            "(--init=crops): give at least 1"
        )
    idle = {}
    if recipe.sdc is not None and recipe.sdc.weight:
        idle["sdc_weight"] = f"{recipe.sdc.weight:g}"
    if recipe.mask is not None and recipe.mask.ratio:
        idle["mask_ratio"] = f"{recipe.mask.ratio:g}"
    segments = recipe.segments
    if segments is not None and recipe.count > 1:
        if not segments.filters:
            idle["segment_rule"] = segments.rule
        if segments.forgetting != "none":
            idle["forgetting"] = segments.forgetting
    for name, value in idle.items():
        raise UserError(
            f"--{name}={value} acts on updates of the images, and {who} makes none: "
            "give --steps, or leave it out"
        )


def _check_segments(run: Run, flags: Mapping[str, Any], who: str) -> None:
    """Refuse segments that cannot be, and what cannot be done in segments."""
    segments, count = run.recipe.segments, run.recipe.count
    sizes(run.task.ipc, count)
    if segments is None or count == 1:
        return
    _check_rule(segments, flags)
    init = run.recipe.images.init
    if init not in INITIALS:
        raise UserError(
            f"--init={shown(init)} is a whole set, and each of the {count} segments "
            "begins with images of its own: leave out --init, or use --segments=1"
        )
    if run.task.select == "validation":
        raise UserError(
            "--select=validation chooses among the steps of one run, and there are "
            f"{count} segments: use --select=last"
        )
    if not run.recipe.follows:
        for name in ("segment_experts", "segment_epochs"):
            if name in flags:
                raise UserError(
                    f"--{name} is about short runs of experts, which {who} has not: "
                    "leave it out"
                )
        return
    length = run.recipe.students.expert_epochs
    if segments.segment_epochs is not None and segments.segment_epochs < length:
        raise UserError(
            f"--segment_epochs={segments.segment_epochs} is too few: a span has "
            f"{length} epochs"
        )


# Flags of segments that one rule alone makes use of.
RULE_OF = {
    "lesson_epochs": "pdd",
    "boost_rate": "boost",
    "min_keep": "filter",
    "segment_score": "filter",
    "reference_epochs": "filter",
    "segment_experts": "filter",
    "segment_epochs": "filter",
}


def _check_rule(segments: Segments, flags: Mapping[str, Any]) -> None:
    """Refuse flags that the rule or the score of segments makes no use of."""
    for name, rule in RULE_OF.items():
        if name in flags and segments.rule != rule:
            raise UserError(
                f"--{name} has no effect here: add --segment_rule={rule}, or leave it "
                "out"
            )
    if "reference_epochs" in flags and not segments.keeps_learnable:
        raise UserError(
            "--reference_epochs has no effect here: add --segment_score=learnability, "
            "or leave it out"
        )


def _check_window(window: Window) -> None:
    """Refuse impossible windows, and an order by which nothing is left out."""
    if window.score is not None and window.scores is not None:
        raise UserError("--score and --scores exclude each other: give one of them")
    if window.curriculum() != Curriculum():
        return
    for name in ("score", "scores"):
        if getattr(window, name) is not None:
            raise UserError(
                f"--{name} sorts the samples, but nothing is left out by that order: "
                "add e.g. --drop_hardest=0.2"
            )
