"""What a run asks of an objective is what it can do, not which class it is of."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdd
from jaxdd.augment.views import Views
from jaxdd.devices.needs import Need
from jaxdd.distillation.opening import open_run
from jaxdd.errors import UserError
from jaxdd.learners import spans
from jaxdd.learners.capabilities import DrawsSpans
from jaxdd.learners.fresh import Fresh
from jaxdd.learners.spans import Spans, StartEpochs
from jaxdd.methods.build import objective_of
from jaxdd.methods.presets import usual_network
from jaxdd.methods.recipe import Recipe
from jaxdd.methods.recipes import METHODS
from jaxdd.modifiers.masks import Mask
from jaxdd.modifiers.sdc import SDC
from jaxdd.modifiers.segments import Segments
from jaxdd.objectives import (
    capabilities,
    parameters_of,
    per_span,
    trajectory_match,
)
from jaxdd.objectives.bases import SampleMatching
from jaxdd.objectives.gradient import GradientMatching
from jaxdd.objectives.statistics import StatisticsMatching
from jaxdd.objectives.trajectory import TrajectoryMatching
from jaxdd.synthetic.images import Images
from tests.experiments.helpers import FOLLOWING
from tests.helpers import refused
from tests.toy_methods import CONTEXT, INPUTS, NETWORK, start_for

KEY = jax.random.key(0)
OWN = ("dataset", "method", "augmentation", "student_steps", "expert_epochs",
       "max_start", "expert_lr", "step_size", "measure_every")  # fmt: skip
QUICK: dict[str, Any] = {k: v for k, v in FOLLOWING.items() if k not in OWN}
EXPERTS: dict[str, Any] = {"num_experts": 2, "bank_epochs": 3}


@dataclass(frozen=True)
class Following:
    """The squared distance of a student from its expert, not divided by anything."""

    name: ClassVar[str] = "following"
    log_step_size: ClassVar[bool] = False

    augmentation: str = "none"
    batch_syn: int | None = None
    expert_epochs: int = 1
    step_size: float = 0.02
    hears_path: bool = True

    def step_size_updates(self):
        return None

    def make(self, network, parts):
        match = trajectory_match(
            network,
            lambda key, images: images,
            2,
            mask=parts.mask,
            along_path=self.hears_path and parts.along_path,
        )
        return per_span(match, parts.terms, parts.remember)

    def matched(self, network, image_shape):
        return parameters_of(network)


@dataclass(frozen=True)
class Named(SampleMatching):
    """Has the name of an objective of the library; none of these is ever built."""

    name: ClassVar[str] = "regression"

    def make(self, network, parts):
        raise NotImplementedError


@dataclass(frozen=True)
class Regressing(Named):
    """Takes numbers that networks put out."""

    label_spaces: ClassVar[tuple[str, ...]] = ("targets",)


@dataclass(frozen=True)
class Seeing(Named):
    """Sees its images in views that become harder."""

    views: Views = Views(schedule="cosine")  # noqa: RUF009


@dataclass(frozen=True)
class Earliest:
    """Students start where an expert was at its first epochs."""

    name: ClassVar[str] = "earliest"
    matches: ClassVar[int] = 1

    max_start: int | None = 2

    def starts(self):
        return StartEpochs(0, self.max_start)

    def make(self, network, context, augmentation):
        return spans.spans(network, context.experts, self.starts())


def run(recipe, **flags):
    return jaxdd.distill("digits", recipe, **{"ipc": 1, **QUICK, **flags})


MINE = Recipe(Following(), Spans(max_start=2), Images(lr=1.0))


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A run of one's own objective, and its folder with the experts that it trained."""
    folder = tmp_path_factory.mktemp("first")
    return run(MINE, workdir=str(folder), **EXPERTS), folder


def test_students_of_ones_own_follow_experts(first, tmp_path):
    result, folder = first
    assert np.isfinite(result.metrics[-1]["loss"])
    # Evaluations train with the step size of the students.
    assert result.artifact.step_size == pytest.approx(0.02)
    place = {"workdir": str(tmp_path), "experts": str(folder / "experts")}
    run(MINE, steps=QUICK["steps"] // 2, **place)
    again = run(MINE, **place)
    np.testing.assert_array_equal(again.images, result.images)


def test_axes_combine_with_students_and_a_source_of_ones_own(first):
    recipe = Recipe(
        Following(), Earliest(), Images(lr=1.0), sdc=SDC(0.1), mask=Mask(ratio=0.3),
        segments=Segments(count=2),
    )  # fmt: skip
    result = run(recipe, ipc=2, experts=str(first[1] / "experts"))
    assert np.isfinite(result.metrics[-1]["sdc"])
    assert result.images.shape[:2] == (10, 2)


def test_starts_go_as_far_as_the_bank(first):
    recipe = replace(MINE, learner=Earliest(max_start=None))
    flags = {"dataset": "digits", "experts": str(first[1] / "experts"), **QUICK}
    assert open_run(recipe, flags).resolved.recipe.learner == Earliest(max_start=3)


def test_a_bank_that_is_too_short_for_ones_own_spans():
    recipe = replace(MINE, objective=Following(expert_epochs=5))
    with refused("bank_epochs=3 is too few"):
        run(recipe, **EXPERTS)


@pytest.mark.parametrize(
    ("objective", "learner", "says"),
    [
        (Following(), Fresh(), "needs those of experts"),
        (TrajectoryMatching(), Fresh(), "needs those of experts"),
        (GradientMatching(), Spans(), "'gradient' has none that follow"),
        (GradientMatching(), Earliest(), "'gradient' has none that follow"),
    ],
)
def test_experts_are_followed_or_not_there(objective, learner, says):
    with pytest.raises(UserError, match=says):
        Recipe(objective, learner)


def image_gradient(recipe):
    """Of one step of a toy problem, w.r.t. the images."""
    objective = objective_of(NETWORK, recipe, CONTEXT)
    start, span = start_for(recipe), INPUTS.span
    learner = jaxdd.Learner(span.start, NETWORK.init(KEY)[1])

    def loss(images):
        synthetic = start._replace(images=images)
        return objective(KEY, synthetic, learner, INPUTS, jnp.int32(0))[0]

    return jax.grad(loss)(start.images)


def test_the_correction_along_the_path_reaches_the_images():
    """Of students of one's own; an objective to which it would do nothing is told."""
    along = replace(MINE, sdc=SDC(5.0, at="path"))
    moved = image_gradient(along) - image_gradient(MINE)
    assert np.abs(moved).max() > 1e-4
    deaf = replace(along, objective=Following(hears_path=False))
    with refused("--sdc_at=path would change nothing: .*parts.along_path"):
        image_gradient(deaf)


def test_labels_are_those_that_an_objective_takes():
    with refused("takes targets, and labels=HardLabels.. are probabilities"):
        Recipe(Regressing(), Fresh())


def test_what_is_known_of_classes_needs_a_teacher():
    with refused("needs a teacher that knows it"):
        Recipe(StatisticsMatching(statistics_of="class"), Fresh())


def test_a_name_alone_decides_nothing():
    """An objective that is called as FRePo's gets no network of FRePo's."""
    assert usual_network(METHODS["frepo"]).net == "convnet_double"
    assert usual_network(Recipe(Named(), Fresh())).net == "convnet"


@dataclass(frozen=True)
class Particular(SampleMatching):
    """Matches nothing, and has a number for everything that a run may ask for."""

    name: ClassVar[str] = "particular"

    most_classes: int = 1000
    hoard: int = 0
    arrives: int | None = None

    def make(self, network, parts):
        def objective(key, synthetic, learner, inputs, step):
            part = step / (self.arrives or 1)
            return part * jnp.sum(synthetic.images**2), {"part": part}

        return objective

    def check_run(self, network, image_shape, classes, images):
        if classes > self.most_classes:
            raise UserError(f"{classes} classes with {images} images are too many")

    def memory_needs(self, network, images):
        return [Need(self.hoard * images, "a hoard", "hoard")]

    def with_horizon(self, horizon):
        return replace(self, arrives=self.arrives or horizon)


def particular(**fields):
    return Recipe(Particular(**fields), Fresh())


def test_a_check_of_ones_own_is_made_before_anything_is_written(tmp_path):
    recipe = particular(most_classes=9)
    place = tmp_path / "run"
    with refused("10 classes with 1 images are too many"):
        run(recipe, workdir=str(place))
    assert not place.exists()


@pytest.mark.parametrize(
    ("method", "flags"),
    [
        ("frepo", {"pool_networks": 2**30}),
        ("mtt", {"student_steps": 2**31 - 1, "batch_syn": 1000, "ipc": 100}),
        ("rat_bptt", {"student_steps": 2**30, "horizon": 2**30}),
    ],
)
def test_memory_of_each_method_is_counted(method, flags):
    """By the flag that it grows with; what is written stays what it was."""
    (name, _) = next(iter(flags.items()))
    with refused("alone would take .* of memory", f"--{name}"):
        open_run(method, {"dataset": "digits", **flags})


def test_memory_of_ones_own_is_counted():
    with refused("a hoard alone would take"):
        run(particular(hoard=10**15))


def test_what_changes_arrives_at_the_last_step_of_the_usual_run():
    assert particular().with_horizon(300).objective.arrives == 300
    assert particular(arrives=6).with_horizon(300).objective.arrives == 6
    # A field of an objective is asked, too.
    views = Recipe(Seeing(), Fresh()).with_horizon(300).objective.views
    assert views == Views(schedule="cosine", horizon=300)
    # That is of 300 steps on digits, however many are asked for.
    last = run(particular()).metrics[-1]["part"]
    assert last == pytest.approx((QUICK["steps"] - 1) / 300)


def test_samples_of_ones_own_match_are_as_many_as_there_are():
    sizes = capabilities.Sizes(classes=2, largest_class=5, samples=8)
    recipe = particular(batch_real=256).for_sizes(sizes, given=())
    assert recipe.objective.batch_real == 5


def test_capabilities_of_the_methods():
    """Which named methods have which, so that none is lost by a renamed field."""
    having = {
        name: {m for m, recipe in METHODS.items() if isinstance(recipe.objective, x)}
        for name, x in vars(capabilities).items()
        if getattr(x, "__module__", "") == capabilities.__name__
        and getattr(x, "_is_runtime_protocol", False)
    }
    students = {"mtt", "ftd", "tesla", "datm", "pad"}
    assert having == {
        "LearnsStepSize": students | {"rcig"},
        "TrainsStudent": {"rat_bptt"},
        "FollowsExperts": students,
        "DrawsSamples": {
            "dc", "dsa", "dcc", "dsac", "idc", "d4a", "dm", "m3d", "datadam", "ncfm",
            "rded",
        },
        "ComparesClasses": {"sre2l", "cda"},
        "FitsData": set(METHODS) - students - {"sre2l", "cda"},
        "ChecksRun": set(METHODS) - students - {"frepo", "rcig", "sre2l", "cda"},
        "ChangesAlongRun": set(),
        "TakesLabels": {"frepo", "rcig", "rat_bptt"},
        "OwnObjective": set(METHODS),
        "MatchesPart": {"dc", "dsa", "dcc", "dsac", "idc", "d4a"},
    }  # fmt: skip
    assert isinstance(Spans(), DrawsSpans)
    fields = vars(METHODS["cda"].objective).values()
    assert any(isinstance(x, capabilities.ChangesAlongRun) for x in fields)


def test_a_check_looks_at_the_network():
    """Kernels are matched where there are some: an MLP has none."""
    network = jaxdd.make_network("mlp", (8, 8, 1), 3)
    with pytest.raises(UserError, match="kernel"):
        GradientMatching(tensors="kernels").check_run(network, (8, 8, 1), 3, 1)
    GradientMatching().check_run(network, (8, 8, 1), 3, 1)
