"""An objective, a learner source and a score of one's own, in a few lines each."""

import json
from dataclasses import dataclass, replace
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import jaxdd
from jaxdd.data.problem import DataFlags, open_problem
from jaxdd.distillation import experts
from jaxdd.distillation.identity import identity
from jaxdd.distillation.opening import open_run
from jaxdd.errors import UserError
from jaxdd.fields import flat, override
from jaxdd.fields.code import code_of
from jaxdd.learners.context import Context
from jaxdd.learners.fresh import Fresh
from jaxdd.learners.windows import Windows
from jaxdd.methods.build import build, loss_at, source_of
from jaxdd.methods.presets import completed, preset
from jaxdd.methods.recipe import Recipe, refuse_unknown
from jaxdd.methods.recipes import METHODS
from jaxdd.modifiers.masks import Mask
from jaxdd.modifiers.sdc import SDC
from jaxdd.modifiers.segments import Segments
from jaxdd.nets.registry import NETS, Builder
from jaxdd.objectives import Sampling, per_class
from jaxdd.objectives.parts import Parts
from jaxdd.objectives.unrolled import UnrolledLoss
from jaxdd.primitives.evidence import later_gradient
from jaxdd.primitives.trees import apply_mask
from jaxdd.scores.table import SCORES, Score
from jaxdd.scoring import api as scoring
from jaxdd.storage.files import make_folder
from jaxdd.types import (
    Batch,
    Evidence,
    Key,
    Learner,
    LearnerSource,
    Network,
    Objective,
    Outputs,
    Scalar,
)
from tests.helpers import refused, toy_arrays
from tests.toy_methods import EARLIER, INPUTS, NETWORK, start_for


@dataclass(frozen=True)
class MeanMatching:
    """The mean image of a class, whatever the network."""

    name: ClassVar[str] = "means"
    weight: float = 2.0
    augmentation: str = "none"
    batch_syn: int | None = None

    def make(self, network: Network, parts: Parts) -> Objective:
        def match(
            key: Key, synthetic: Batch, real: Batch, learner: Learner
        ) -> tuple[Scalar, Evidence]:
            difference = synthetic.images.mean(0) - real.images.mean(0)
            squares = {"pixels": self.weight * difference**2}
            if parts.mask is not None:
                squares = apply_mask(parts.mask(squares), squares)
            evidence = later_gradient(network, learner, synthetic)
            return jnp.sum(squares["pixels"]), Evidence(synthetic, evidence)

        return per_class(match, Sampling(8), parts.terms, parts.remember)

    def matched(self, network: Network, image_shape: tuple[int, ...]) -> dict:
        return {"pixels": jax.ShapeDtypeStruct(image_shape, jnp.float32)}


@dataclass(frozen=True)
class Same:
    """The same network for every match."""

    name: ClassVar[str] = "same"
    seed: int = 3
    matches: int = 1

    def make(
        self, network: Network, context: Context, augmentation: str
    ) -> LearnerSource:
        def draw(key, state, inputs) -> Learner:
            return Learner(*network.init(jax.random.key(self.seed)))

        return LearnerSource(lambda key: (), draw, lambda key, state, *_: state)


OWN = Recipe(MeanMatching(), Same())
KEY = jax.random.key(0)


def stepped(recipe: Recipe, inputs, steps=2):
    method = build(NETWORK, recipe)
    state, step = method.init(KEY, start_for(recipe)), jax.jit(method.step)
    infos = []
    for t in range(steps):
        state, info = step(jax.random.key(t), state, inputs)
        infos.append(info)
    return method.result(state).images, infos


@pytest.mark.parametrize("recipe", [Recipe(MeanMatching(), Fresh()), OWN])
def test_an_objective_of_ones_own_is_minimised(recipe):
    _, infos = stepped(recipe, INPUTS, steps=20)
    losses = [float(info["loss"]) for info in infos]
    assert losses[-1] < 0.5 * losses[0]
    assert set(infos[0]) == {"match", "loss", "image_gradient", "update"}


def test_a_learner_of_ones_own_is_drawn():
    """SDC looks at the network: the same for two keys, another for another seed."""
    start = start_for(OWN)

    def norm(seed, key):
        term = Recipe(MeanMatching(weight=0.0), Same(seed), sdc=SDC())
        return float(loss_at(NETWORK, term)(jax.random.key(key), start, INPUTS))

    assert norm(3, 0) == norm(3, 1) != norm(4, 0)


MODIFIERS = {
    "sdc": {"sdc_weight": 5.0},
    "mask": {"mask": "loss", "mask_ratio": 0.5},
    "segments": {"segments": 2, "forgetting": "replay"},
}
ALL = {name: x for flags in MODIFIERS.values() for name, x in flags.items()}


@pytest.mark.parametrize("flags", [*MODIFIERS.values(), ALL], ids=[*MODIFIERS, "all"])
def test_every_modifier_combines_with_them(flags):
    recipe = override(OWN, flags)
    images, infos = stepped(recipe, EARLIER)
    plain, _ = stepped(OWN, EARLIER)
    assert np.isfinite(images).all()
    assert np.abs(images - plain).max() > 1e-4
    assert ("sdc" in infos[0]) == ("sdc_weight" in flags)
    assert ("forgetting" in infos[0]) == ("segments" in flags)


def test_their_fields_are_stored_and_flags_of_others_refused():
    values = flat(OWN)
    assert (values["objective"], values["source"]) == ("means", "same")
    assert values["objective_fields"] == {
        "weight": 2.0, "augmentation": "none", "batch_syn": None,
    }  # fmt: skip
    assert values["source_fields"] == {"seed": 3, "matches": 1}
    for name in ("batch_real", "distance", "matches", "augmentation"):
        with pytest.raises(jaxdd.UserError, match=f"--{name} is about "):
            override(OWN, {name: 1 if name in ("batch_real", "matches") else "none"})


def test_a_run_of_ones_own_recipe_is_known_by_its_fields():
    problem = open_problem(DataFlags(dataset="digits"), 0.1, 0)

    def known_as(recipe):
        flags = {"net": "mlp", "width": 4, "mask": "depth", "mask_ratio": 0.25}
        values = open_run(recipe, flags, problem).resolved.values("here")
        assert values["method"] == "own"
        return identity(json.loads(json.dumps(values)), problem)

    heavier = replace(OWN, objective=MeanMatching(weight=3.0))
    other_seed = replace(OWN, learner=Same(4))
    assert known_as(OWN) == known_as(OWN)
    assert known_as(OWN) != known_as(heavier)
    assert known_as(OWN) != known_as(other_seed)


def test_code_that_was_edited_is_another_run():
    """A run would go on with other steps, or its old result would be returned."""

    def classes():
        class Mine:
            """A text."""

            def make(self):
                return 1

        def edited():
            class Mine:
                def make(self):
                    return 2

            return Mine

        def commented():
            class Mine:
                # A comment.
                def make(self):
                    """Another text."""
                    return 1

            return Mine

        return Mine, commented(), edited()

    mine, commented, edited = map(code_of, classes())
    assert mine == commented != edited
    written = flat(OWN)["objective_code"]
    assert (
        written
        == code_of(MeanMatching)
        != flat(Recipe(Deaf(), Same()))["objective_code"]
    )


class Tiny(nn.Module):
    num_classes: int

    @nn.compact
    def __call__(self, images, train):
        x = nn.relu(nn.Dense(3, name="block0")(images.reshape(len(images), -1)))
        return Outputs(nn.Dense(self.num_classes, name="head")(x), features=(x,))


class Edited(Tiny):
    @nn.compact
    def __call__(self, images, train):
        x = jnp.tanh(nn.Dense(3, name="block0")(images.reshape(len(images), -1)))
        return Outputs(nn.Dense(self.num_classes, name="head")(x), features=(x,))


def darkness(network: Network, learner: Learner, batch: Batch) -> jax.Array:
    return -jnp.mean(batch.images, axis=(1, 2, 3))


def test_an_edited_network_or_score_is_another_run(tmp_path, monkeypatch):
    monkeypatch.setitem(NETS, "tiny", Builder(Tiny, options={}))
    monkeypatch.setitem(SCORES, "mine", Score(brightness, "networks"))

    def distilled():
        flags = {"net": "tiny", "score": "mine", "drop_hardest": 0.2}
        folder = make_folder(tmp_path / "run")
        open_run("dm", {"dataset": "digits", **flags}).record(folder)

    def trained():
        experts.run(
            experts.Config(
                workdir=str(tmp_path / "bank"), method="mtt", dataset="digits",
                net="tiny", num_experts=1, epochs=1, score="mine", drop_hardest=0.2,
            )
        )  # fmt: skip

    def scored():
        scoring.run(
            scoring.Config(
                workdir=str(tmp_path / "scores"), score="mine", net="tiny",
                networks=1, train_steps=1,
            )
        )  # fmt: skip

    starts = distilled, trained, scored
    for start in starts:
        start()
    edited = (NETS, "tiny", Builder(Edited, options={})), (
        SCORES, "mine", Score(darkness, "networks"),
    )  # fmt: skip
    for table, name, other in edited:
        with monkeypatch.context() as now:
            now.setitem(table, name, other)
            for start in starts:
                with pytest.raises(UserError, match="code"):
                    start()
    distilled()  # as it was


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"objective": Same()}, "Recipe.objective must be one of GradientMatching, "),
        ({"learner": MeanMatching()}, "Recipe.learner must be one of Fresh, "),
        ({"sdc": 1.0}, "Recipe.sdc must be one of SDC, not 1.0"),
    ],
)
def test_what_is_no_choice_on_its_axis_is_refused(parts, words):
    with pytest.raises(UserError, match=words):
        Recipe(**parts)


def test_a_method_is_a_name_or_a_recipe():
    for method, words in ((MeanMatching(), r"write Recipe\(MeanMatching"), (3, "int")):
        with pytest.raises(UserError, match=f"must be a name or a Recipe.*{words}"):
            open_run(method, {}, open_problem(DataFlags(dataset="digits"), 0.1, 0))


def test_a_score_of_another_shape_is_refused_before_networks_are_trained(monkeypatch):
    rows = lambda network, learner, batch: batch.labels
    monkeypatch.setitem(SCORES, "rows", Score(rows, "networks"))
    monkeypatch.setattr("jaxdd.scores.dataset.make_probes", None)
    images, labels = toy_arrays()
    data = 1 / (1 + np.exp(-images)), labels
    with pytest.raises(UserError, match=r"gives an array of shape \(2, 3\) for 2 sam"):
        jaxdd.difficulty(data, "rows", net="mlp")


def brightness(network: Network, learner: Learner, batch: Batch) -> jax.Array:
    return jnp.mean(batch.images, axis=(1, 2, 3))


def test_a_score_of_ones_own_is_a_line_in_the_table(monkeypatch):
    monkeypatch.setitem(SCORES, "brightness", Score(brightness, "networks"))
    images, labels = toy_arrays()
    images = 1 / (1 + np.exp(-images))
    data = images, labels, images[:6], labels[:6]
    scored = jaxdd.difficulty(
        data, "brightness", net="mlp", width=4, networks=1, train_steps=1
    )
    expected = np.argsort(images.mean((1, 2, 3)))
    assert np.array_equal(np.argsort(scored.scores), expected)
    with pytest.raises(jaxdd.UserError, match="unknown score 'darkness'"):
        jaxdd.difficulty(data, "darkness", net="mlp")


@dataclass(frozen=True)
class Deaf(MeanMatching):
    """The same, and no modifier is looked at."""

    def make(self, network: Network, parts: Parts) -> Objective:
        return super().make(network, Parts())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sdc": SDC(weight=0.1)}, "--sdc_weight would change nothing.*parts.terms"),
        ({"mask": Mask(ratio=0.5)}, "--mask_ratio would change nothing.*parts.mask"),
        ({"segments": Segments(2, forgetting="replay")}, "--forgetting.*remember"),
    ],
)
def test_a_modifier_that_an_objective_ignores_is_refused(changes, words):
    """When a step is traced; `test_every_modifier_combines_with_them` is the rest."""
    with pytest.raises(UserError, match=words):
        stepped(Recipe(Deaf(), Same(), **changes), EARLIER)


@dataclass(frozen=True)
class Taught:
    """An objective that trains a student and does not inherit from `UnrolledLoss`."""

    name: ClassVar[str] = "taught"
    augmentation: str = "none"
    batch_syn: int | None = None
    student_steps: int = 2

    def _own(self) -> UnrolledLoss:
        return UnrolledLoss(batch_mixed=4, student_steps=self.student_steps)

    def matched(self, network, image_shape):
        return self._own().matched(network, image_shape)

    def student(self, network: Network, parts: Parts):
        return self._own().student(network, parts)

    def make(self, network: Network, parts: Parts) -> Objective:
        return self._own().make(network, parts)


def test_an_objective_of_ones_own_may_train_a_student():
    recipe = Recipe(Taught(), Windows(horizon=4))
    images, infos = stepped(recipe, INPUTS, steps=2)
    assert np.isfinite(images).all()
    assert np.isfinite(float(infos[-1]["match"]))
    with refused(None, "student_steps and student()"):
        Recipe(MeanMatching(), Windows())


def test_a_field_of_ones_own_is_not_taken_for_a_flag_of_others():
    """Samples without pixels switch mirror images off, which `flip` need not mean."""

    @dataclass(frozen=True)
    class Flipping(MeanMatching):
        flip: bool = True

    rng = np.random.default_rng(0)
    rows, labels = rng.normal(size=(30, 5)).astype(np.float32), np.arange(30) % 3
    dataset = jaxdd.from_arrays(rows, labels, rows, labels)
    opened = open_run(Recipe(Flipping(), Same()), {"ipc": 1}, dataset=dataset)
    assert opened.resolved.recipe.objective.flip


def test_an_objective_of_ones_own_may_take_passes():
    @dataclass(frozen=True)
    class Passing(MeanMatching):
        sampling: str = "passes"

    assert source_of(NETWORK, Recipe(Passing(), Same())).order is not None
    assert source_of(NETWORK, Recipe(MeanMatching(), Same())).order is None


@pytest.mark.parametrize(
    "taken",
    [
        lambda parts: parts._replace(microbatch=2),
        lambda parts: Parts(*parts),
        lambda parts: Parts(terms=parts[0], mask=parts[1], remember=parts[2]),
    ],
    ids=["with another value", "all at once", "by index"],
)
def test_a_modifier_that_is_handed_on_is_looked_at(taken):
    """An objective may wrap another one and give it the parts in whatever way."""

    @dataclass(frozen=True)
    class Wrapping(MeanMatching):
        def make(self, network: Network, parts: Parts) -> Objective:
            return super().make(network, taken(parts))

    recipe = Recipe(Wrapping(), Same(), sdc=SDC(weight=0.1), mask=Mask(ratio=0.5))
    images, _ = stepped(recipe, INPUTS, steps=1)
    assert np.isfinite(images).all()


def test_a_recipe_with_a_name_has_choices_that_make_flags():
    for recipe, field in (
        (Recipe(MeanMatching(), Fresh()), "objective"),
        (Recipe(learner=Same()), "learner"),
    ):
        with pytest.raises(TypeError, match=f"Recipe.{field} does not list"):
            refuse_unknown({"mine": recipe})


def test_a_learner_of_ones_own_may_have_a_name(monkeypatch):
    monkeypatch.setitem(METHODS, "same", Recipe(learner=Same()))
    chosen = preset("same", "digits", ipc=1)
    assert chosen.length.steps == completed(METHODS["same"], "digits").length.steps
