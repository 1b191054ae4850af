"""What a run asks of an objective is what it can do, not which class it is of."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
import pytest

import jaxdd
from jaxdd.devices.needs import Need
from jaxdd.distillation.opening import open_run
from jaxdd.errors import UserError
from jaxdd.learners import spans
from jaxdd.learners.fresh import Fresh
from jaxdd.learners.spans import DrawsSpans, Spans, StartEpochs
from jaxdd.methods.recipe import Recipe
from jaxdd.methods.recipes import METHODS
from jaxdd.modifiers.masks import Mask
from jaxdd.modifiers.sdc import SDC
from jaxdd.modifiers.segments import Segments
from jaxdd.objectives import capabilities, per_span, trajectory_match
from jaxdd.objectives.bases import SampleMatching, parameters_of
from jaxdd.objectives.gradient import GradientMatching
from jaxdd.objectives.trajectory import TrajectoryMatching
from jaxdd.synthetic.images import Images
from tests.experiments.helpers import FOLLOWING
from tests.helpers import refused

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

    def step_size_updates(self):
        return None

    def make(self, network, parts):
        match = trajectory_match(
            network, lambda key, images: images, 2, mask=parts.mask
        )
        return per_span(match, parts.terms, parts.remember)

    def matched(self, network, image_shape):
        return parameters_of(network)


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
    with refused("--bank_epochs=3 is too few"):
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


@dataclass(frozen=True)
class Particular(SampleMatching):
    """Matches nothing, and has a number for everything that a run may ask for."""

    name: ClassVar[str] = "particular"

    width_at_most: int = 1000
    hoard: int = 0
    arrives: int | None = None

    def make(self, network, parts):
        def objective(key, synthetic, learner, inputs, step):
            part = step / (self.arrives or 1)
            return part * jnp.sum(synthetic.images**2), {"part": part}

        return objective

    def check(self, network, classes, images):
        if classes > self.width_at_most:
            raise UserError(f"{classes} classes with {images} images are too many")

    def needs(self, network, images):
        return [Need(self.hoard * images, "a hoard", "hoard")]

    def until(self, horizon):
        return replace(self, arrives=self.arrives or horizon)


def particular(**fields):
    return Recipe(Particular(**fields), Fresh())


def test_a_check_of_ones_own_is_made_before_anything_is_written(tmp_path):
    recipe = particular(width_at_most=9)
    place = tmp_path / "run"
    with refused("10 classes with 1 images are too many"):
        run(recipe, workdir=str(place))
    assert not place.exists()


def test_memory_of_ones_own_is_counted():
    with refused("a hoard alone would take"):
        run(particular(hoard=10**15))


def test_what_changes_along_a_run_arrives_at_its_end():
    assert particular().until(300).objective.arrives == 300
    assert particular(arrives=6).until(300).objective.arrives == 6
    # The presets' number of steps on digits, however many are asked for.
    last = run(particular()).metrics[-1]["part"]
    assert last == pytest.approx((QUICK["steps"] - 1) / 300)


def test_samples_of_ones_own_match_are_as_many_as_there_are():
    sizes = capabilities.Sizes(classes=2, largest=5, samples=8)
    fitted = particular(batch_real=256).fitted(sizes, given=())
    assert fitted.objective.batch_real == 5


def test_capabilities_of_the_methods():
    """Which named methods have which, so that none is lost by a renamed field."""
    having = {
        name: {m for m, recipe in METHODS.items() if isinstance(recipe.objective, x)}
        for name, x in vars(capabilities).items()
        if getattr(x, "_is_runtime_protocol", False)
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
        "ChecksRun": {"dc", "dsa", "dcc", "dsac", "idc", "d4a", "rat_bptt"},
        "ChangesAlongRun": {"sre2l", "cda"},
        "MatchesPart": {"dc", "dsa", "dcc", "dsac", "idc", "d4a"},
    }  # fmt: skip
    assert isinstance(Spans(), DrawsSpans)


def test_a_check_looks_at_the_network():
    """Kernels are matched where there are some: an MLP has none."""
    network = jaxdd.make_network("mlp", (8, 8, 1), 3)
    with pytest.raises(UserError, match="kernel"):
        GradientMatching(tensors="kernels").check(network, 3, 1)
    GradientMatching().check(network, 3, 1)
