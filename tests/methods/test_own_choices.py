"""Scores, objectives and data of one's own: what is checked before the first step."""

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
import pytest

import jaxdd
from jaxdd.distillation.opening import open_run
from jaxdd.fields import flat
from jaxdd.scores.dataset import compute
from jaxdd.scores.table import SCORES, Effort, Score
from tests.helpers import refused, tiny_network, toy_real


@pytest.mark.parametrize(
    ("score", "words"),
    [
        (
            Score(
                lambda network, effort: lambda key, learners, data: jnp.ones(3),
                "dataset",
            ),
            "for 36 samples: it has to give a number for each",
        ),
        (Score(lambda *_: 0, "nothing"), "the score mine needs 'nothing': choose from"),
    ],
)
def test_scores_of_ones_own_are_checked(score, words, monkeypatch):
    monkeypatch.setitem(SCORES, "mine", score)
    with refused(words):
        compute(tiny_network(), toy_real(), 0, ["mine"], Effort(1, 1))


@dataclass(frozen=True)
class Held(jaxdd.FeatureMatching):
    """An objective of one's own, with a field of anything."""

    name: ClassVar[str] = "held"
    own: Any = dataclasses.field(default=None, metadata={})


@pytest.mark.parametrize(
    ("value", "stored"),
    [(np.float32(0.5), 0.5), ({"a": (1, 2.0)}, {"a": [1, 2.0]}),
     (jaxdd.DISTANCES["mse"], "jaxdd.primitives.distances.squared_error")],
)  # fmt: skip
def test_fields_are_stored_as_plain_values(value, stored):
    recipe = jaxdd.Recipe(Held(own=value), jaxdd.Fresh())
    assert flat(recipe)["objective_fields"]["own"] == stored


@pytest.mark.parametrize("value", [float("inf"), np.ones(2)])
def test_fields_that_no_file_can_hold_are_refused_before_a_step(value):
    recipe, begun = jaxdd.Recipe(Held(own=value), jaxdd.Fresh()), []
    with refused("the field own=.* cannot be stored with a run"):
        jaxdd.distill("digits", recipe, steps=1, progress=begun.append)
    assert not begun


@pytest.mark.parametrize("method", ["frepo", "rcig"])
def test_tables_are_not_mirrored(method):
    rng = np.random.default_rng(0)
    data = rng.normal(size=(60, 5)).astype(np.float32), np.arange(60) % 2
    data = jaxdd.from_arrays(*data, *data)
    assert open_run(method, {}, dataset=data).resolved.recipe.objective.flip is False
    with refused("--flip"):
        open_run(method, {"flip": True}, dataset=data)
