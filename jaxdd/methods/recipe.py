"""A method is a choice on every axis: read this second, after `types`."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from typing import Any, get_args, get_type_hints

from jaxdd.errors import UserError, quoted
from jaxdd.fields import Misfit, TreeMisfit, variant
from jaxdd.learners.aged import AgedPool
from jaxdd.learners.capabilities import DrawsSpans, OwnLearner
from jaxdd.learners.fresh import Fresh
from jaxdd.learners.interpolated import Interpolated
from jaxdd.learners.pools import Pool, RealPool
from jaxdd.learners.spans import Spans
from jaxdd.learners.teacher import Teacher
from jaxdd.learners.windows import Windows
from jaxdd.modifiers.masks import Mask
from jaxdd.modifiers.sdc import SDC
from jaxdd.modifiers.segments import Segments
from jaxdd.objectives.capabilities import (
    ChangesAlongRun,
    ComparesClasses,
    FitsData,
    FollowsExperts,
    LearnsStepSize,
    OwnObjective,
    Sizes,
    TakesLabels,
    TrainsStudent,
)
from jaxdd.objectives.contrastive import ContrastiveMatching
from jaxdd.objectives.convex import ConvexRegression
from jaxdd.objectives.distribution import FeatureMatching
from jaxdd.objectives.gradient import GradientMatching
from jaxdd.objectives.parts import Parts
from jaxdd.objectives.regression import FeatureRegression
from jaxdd.objectives.statistics import StatisticsMatching
from jaxdd.objectives.trajectory import TrajectoryMatching
from jaxdd.objectives.unrolled import UnrolledLoss
from jaxdd.synthetic.formation import Formation
from jaxdd.synthetic.images import Images
from jaxdd.synthetic.labels import (
    LABELS,
    LOSS_OF,
    HardLabels,
    SoftLabels,
    Targets,
    TeacherLabels,
    Weights,
)
from jaxdd.types import Network

# The labels of a method that says nothing else, and methods that take others.
USUAL = ("probabilities",)
USED_BY = {"targets": "frepo", "weights": "rat_bptt"}


@dataclass(frozen=True)
class Recipe:
    """A method: one choice on every axis.

    Attributes:
        objective: what is matched.
        learner: where networks come from.
        images: how images are stored and updated.
        labels: whether labels are fixed, learned, or an expert's.
        sdc: the difficulty correction; None without it.
        mask: which entries are matched (FIEM); None for all of them.
        segments: distillation in segments (D4A); None for one piece.

    Raises:
        UserError: choices on different axes exclude each other.

    Example:
        >>> from jaxdd import Fresh, GradientMatching, Recipe, SDC
        >>> mine = Recipe(GradientMatching(), Fresh(), sdc=SDC(weight=0.1))
        >>> mine.learner.name, mine.sdc.norm
        ('fresh', 'mean')
    """

    objective: (
        GradientMatching
        | ContrastiveMatching
        | FeatureMatching
        | TrajectoryMatching
        | FeatureRegression
        | ConvexRegression
        | UnrolledLoss
        | StatisticsMatching
        | OwnObjective
    ) = variant(GradientMatching(), "what is matched", "objective")
    learner: (
        Fresh
        | Pool
        | RealPool
        | AgedPool
        | Spans
        | Interpolated
        | Windows
        | Teacher
        | OwnLearner
    ) = variant(Pool(), "where networks come from", "source")
    images: Images = Images()
    labels: HardLabels | SoftLabels | TeacherLabels | Targets | Weights = variant(
        HardLabels(),
        "labels of the synthetic images: of their class (hard), learned as "
        "probabilities (soft), predicted by an expert (teacher), or "
        "learned as numbers that networks put out (targets) or weigh classes by "
        "(weights)",
        "labels",
        LABELS,
    )
    sdc: SDC | None = None
    mask: Mask | None = None
    segments: Segments | None = None

    def __post_init__(self) -> None:
        _check_kinds(self)
        _check_spans(self)
        if isinstance(self.labels, TeacherLabels):
            _check_teacher(self)
        if self.knows_classes and not self.taught:
            raise UserError(
                "comparing images with their class needs a teacher that knows it: the "
                "learner source Teacher"
            )
        if isinstance(self.learner, Windows):
            _check_windows(self.learner, self.objective)
        calibration = getattr(self.objective, "calibration", 0.0)
        if calibration and not isinstance(self.learner, Interpolated):
            raise TreeMisfit(
                self,
                f"{{calibration={calibration:g}}} needs trained networks, those "
                "between which a method interpolates (ncfm): use 0",
            )
        _check_labels(self)
        trained = self.follows or isinstance(self.objective, TrainsStudent)
        if self.segments is not None and self.segments.boosts:
            _check_boosting(self.segments)
        if self.sdc is not None and self.sdc.at == "path" and not trained:
            raise TreeMisfit(
                self, "{sdc_at=} needs a method that trains a student: use start"
            )

    @property
    def needs_experts(self) -> bool:
        """Whether networks come from a bank of experts."""
        asked = getattr(self.learner, "needs_experts", False)
        return asked or isinstance(self.learner, DrawsSpans)

    @property
    def needs_teacher(self) -> bool:
        """Whether an expert chooses the first images."""
        return self.images.init == "crops"

    @property
    def taught(self) -> bool:
        """Whether every step sees the same trained network."""
        return isinstance(self.learner, Teacher)

    @property
    def knows_classes(self) -> bool:
        """Whether images are compared with what a teacher knows of their class."""
        objective = self.objective
        return isinstance(objective, ComparesClasses) and objective.needs_class_moments

    @property
    def relabels(self) -> bool:
        """Whether labels are an expert's, made anew in every step."""
        of_expert = isinstance(self.labels, TeacherLabels)
        return of_expert and self.needs_experts and not self.taught

    @property
    def labelled_last(self) -> bool:
        """Whether the teacher of all steps labels the images when they are done."""
        return isinstance(self.labels, TeacherLabels) and self.taught

    @property
    def follows(self) -> bool:
        """Whether students follow the trajectories of experts."""
        return isinstance(self.objective, FollowsExperts)

    @property
    def span_epochs(self) -> int:
        """Epochs from one end of a span of such a method to the other."""
        assert isinstance(self.objective, FollowsExperts)
        return self.objective.expert_epochs

    @property
    def spans(self) -> DrawsSpans:
        """The learner source of such a method."""
        assert isinstance(self.learner, DrawsSpans)
        return self.learner

    @property
    def step_size(self) -> float:
        """The scalar that is learned, at the start; 0.01 where none is."""
        objective = self.objective
        return objective.step_size if isinstance(objective, LearnsStepSize) else 0.01

    @property
    def count(self) -> int:
        """The number of segments."""
        return 1 if self.segments is None else self.segments.count

    @property
    def learned_labels(self) -> bool:
        return isinstance(self.labels, SoftLabels)

    @property
    def as_targets(self) -> bool:
        """Whether labels are targets of a regression, not probabilities."""
        return self.labels.space == "targets"

    @property
    def loss(self) -> str:
        """The loss of a network on the set, by the space of its labels."""
        return LOSS_OF[self.labels.space]

    @property
    def formation(self) -> Formation:
        """How many training images a stored image becomes."""
        return self.images.forming(self.objective.batch_syn)

    def parts(self, network: Network, microbatch: int | None) -> Parts:
        """What the modifiers hand to the objective."""
        sdc = self.sdc
        terms = {} if sdc is None else sdc.make(network, microbatch, self.loss)
        return Parts(
            terms=terms,
            mask=None if self.mask is None else self.mask.make(),
            # One segment has no earlier ones.
            remember=self.segments.make() if self.segments and self.count > 1 else None,
            microbatch=microbatch,
            matches=self.learner.matches,
            along_path=bool(terms) and sdc is not None and sdc.at == "path",
            longest=self._longest,
            label_space=self.labels.space,
        )

    @property
    def _longest(self) -> int | None:
        """The most steps of a student's window."""
        if not isinstance(self.objective, TrainsStudent):
            return None
        steps, learner = self.objective.student_steps, self.learner
        return learner.longest(steps) if isinstance(learner, Windows) else steps

    def for_sizes(self, sizes: Sizes, given: Collection[str]) -> "Recipe":
        """The same recipe for data of these sizes, see `FitsData`."""
        if not isinstance(self.objective, FitsData):
            return self
        return replace(self, objective=self.objective.for_sizes(sizes, given))

    def with_horizon(self, horizon: int) -> "Recipe":
        """The same recipe with what changes along a run arriving at step `horizon`."""
        values = {x.name: getattr(self, x.name) for x in fields(self)}
        return replace(self, **{k: _arriving(v, horizon) for k, v in values.items()})

    def without_terms(self) -> "Recipe":
        """The same recipe without the difficulty correction."""
        return replace(self, sdc=None)


@cache
def _kinds() -> dict[str, tuple[Any, ...]]:
    """{field of a recipe: classes of the choices that it may hold}."""
    hints = get_type_hints(Recipe)
    return {x.name: get_args(hints[x.name]) or (hints[x.name],) for x in fields(Recipe)}


def _check_kinds(recipe: Recipe) -> None:
    """Refuse what is no choice on its axis."""
    for name, kinds in _kinds().items():
        value = getattr(recipe, name)
        if isinstance(value, kinds):
            continue
        names = [x.__name__ for x in kinds if x is not type(None)]
        if hasattr(kinds[-1], "_is_protocol"):
            names = [*names[:-1], "a frozen dataclass of your own with the names of "
                     f"{names[-1]}"]  # fmt: skip
        raise UserError(
            f"Recipe.{name} must be one of {', '.join(names)}, not {quoted(value)}"
        )


def _check_spans(recipe: Recipe) -> None:
    """Refuse students without experts to follow, and experts that nobody follows."""
    draws_spans = isinstance(recipe.learner, DrawsSpans)
    if recipe.follows and not draws_spans:
        raise UserError(
            "matching trajectories needs those of experts: the learner source Spans"
        )
    if draws_spans and not recipe.follows:
        raise UserError(
            f"the learner source {recipe.learner.name} starts students where experts "
            f"were, and the objective {quoted(recipe.objective.name)} has none that "
            "follow them: use TrajectoryMatching, or one of your own with "
            "expert_epochs; or another learner source"
        )


def _arriving(choice: Any, horizon: int) -> Any:
    """A choice with a horizon where it asks for one, or where its fields do."""
    if isinstance(choice, ChangesAlongRun):
        return choice.with_horizon(horizon)
    if not is_dataclass(choice) or isinstance(choice, type):
        return choice
    values = {x.name: getattr(choice, x.name) for x in fields(choice) if x.init}
    arriving = {name: _arriving(value, horizon) for name, value in values.items()}
    changed = {k: v for k, v in arriving.items() if v is not values[k]}
    return replace(choice, **changed) if changed else choice


def _check_windows(learner: Windows, objective: Any) -> None:
    """Refuse windows of a student that is not there, or that do not fit."""
    if not isinstance(objective, TrainsStudent):
        raise UserError(
            "windows of a student's training need an objective that trains one: "
            "UnrolledLoss, or one of your own with student_steps and student()"
        )
    learner.check(objective.student_steps)


def _check_labels(recipe: Recipe) -> None:
    """Refuse labels that the objective does not take."""
    objective, labels = recipe.objective, recipe.labels
    spaces = objective.label_spaces if isinstance(objective, TakesLabels) else USUAL
    if labels.space in spaces:
        return
    if labels.name in USED_BY:
        raise TreeMisfit(
            recipe,
            "{labels=} needs a method that trains networks on such numbers, as "
            f"{USED_BY[labels.name]} does: use hard labels",
        )
    raise TreeMisfit(
        recipe,
        f"the objective {quoted(objective.name)} takes {' or '.join(spaces)}, and "
        f"{{labels=}} are {labels.space}: use other labels",
    )


def _check_boosting(segments: Segments) -> None:
    if segments.forgetting != "none":
        raise Misfit(
            segments,
            "{rule=} keeps the earlier images in the set that is matched, so that "
            "there is nothing to forget: use {forgetting=none}",
        )


def _check_teacher(recipe: Recipe) -> None:
    """Refuse labels of an expert where none is at hand, or images in tiles."""
    if not recipe.needs_experts and not recipe.needs_teacher:
        raise TreeMisfit(
            recipe,
            "{labels=} needs a method that matches trajectories or has a teacher, or "
            "{init=crops}: use hard labels",
        )
    if not recipe.needs_experts:
        return  # labelled once, at the start
    if (recipe.images.factor, recipe.images.space) != (1, "input"):
        raise TreeMisfit(
            recipe,
            "{labels=} needs whole images as the network sees them: use {factor=1} and "
            "{space=input}",
        )


def refuse_unknown(recipes: Mapping[str, Recipe]) -> None:
    """Refuse recipes with a name whose objective or learner source has no flags.

    Flags are made from the classes that the fields of `Recipe` list. A recipe that is
    handed over in Python needs none.

    Raises:
        TypeError: a class is not listed.
    """
    listed = get_type_hints(Recipe)
    for name, recipe in recipes.items():
        for field in ("objective", "learner"):
            kind = type(getattr(recipe, field))
            if kind not in get_args(listed[field]):
                raise TypeError(
                    f"the {field} of METHODS[{name!r}] is a {kind.__name__}, which "
                    f"Recipe.{field} does not list in jaxdd/methods/recipe.py: add it "
                    "there, and its options become flags"
                )
