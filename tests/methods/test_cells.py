"""Bases times the modifiers: every cell is one program and has an effect.

The bases keep the whole contract in `test_methods`; all modifiers at once are in
`tests/experiments/test_segments.py`.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.data.real import take
from jaxdd.fields import override
from jaxdd.modifiers.curriculum import Curriculum
from jaxdd.modifiers.segments import keep_hardest
from jaxdd.objectives.distribution import FeatureMatching
from jaxdd.objectives.regression import OnFeatures
from jaxdd.training.fit import Training, make_fit
from jaxdd.types import Inputs
from tests.helpers import new_learner
from tests.toy_methods import (
    EARLIER,
    INPUTS,
    NETWORK,
    start_for,
    toy_method,
    toy_recipe,
    toy_teacher,
)

BASES = (
    "dc", "dsa", "dcc", "dsac", "idc", "dm", "m3d", "datadam", "ncfm", "mtt", "ftd",
    "tesla", "datm", "frepo", "rcig", "rat_bptt", "sre2l",
)  # fmt: skip
# Those whose axes the others have as well are left to `make test-slow`.
OTHERS = (
    "dc", "dcc", "dsac", "m3d", "datadam", "mtt", "ftd", "tesla", "rcig", "rat_bptt",
)  # fmt: skip
# Those that take long to compile.
LONG = ("ncfm", "idc")
MODIFIERS = {
    "sdc": {"sdc_weight": 0.5},
    "fiex": {},
    "fiem": {"mask": "depth", "mask_ratio": 0.25},
    "d4a": {"segments": 2, "forgetting": "replay"},
}
# A teacher's statistics are matched, which forget nothing.
FORGETTING_NONE = ("sre2l",)
# Whose correction, or that of the objective's first method, is among the variants of
# `test_methods`.
CORRECTED = ("dsa", "dm", "datm", "frepo", "rat_bptt")
STEPS = 3


@functools.cache
def trained_on(window: Curriculum):
    """Where an expert gets that sees a window of the data."""
    fit = jax.jit(
        make_fit(
            NETWORK,
            Training(2, 0.05, batch_size=12),
            fetch=take,
            members=window.members,
        )
    )
    return fit(jax.random.key(3), new_learner(NETWORK), INPUTS.full)[0].params


def seen_by(base: str, modifier: str) -> Inputs:
    """What a step of a cell may look at; a teacher has the statistics of the samples
    in play."""
    inputs = shown(modifier)
    if not toy_recipe(base).taught:
        return inputs
    rows = np.arange(inputs.real.table.shape[1]) < inputs.real.counts[:, None]
    in_play = np.asarray(inputs.real.table)[np.asarray(rows)]
    return inputs._replace(teacher=toy_teacher(inputs.real.images[in_play]))


def shown(modifier: str) -> Inputs:
    """What a step of a cell may look at; experts saw the same samples."""
    inputs = INPUTS._replace(span=INPUTS.span._replace(target=trained_on(Curriculum())))
    if modifier == "fiex":
        window = Curriculum(drop_hardest=0.5)
        span = inputs.span._replace(target=trained_on(window))
        return inputs._replace(real=window.window(inputs.real, 0), span=span)
    if modifier == "d4a":
        margins = jnp.linspace(-1, 0.5, inputs.full.labels.shape[0])
        kept = keep_hardest(inputs.real, margins, min_keep=2)
        span = inputs.span._replace(whole=INPUTS.span.target)
        return EARLIER._replace(real=kept, span=span)
    return inputs


@functools.cache
def program(base: str, changes: tuple):
    """Recipe, method, jitted step and its traces; a window is no change."""
    recipe = toy_recipe(base)
    flags = dict(changes)
    if base in FORGETTING_NONE and "forgetting" in flags:
        flags["forgetting"] = "none"
    if recipe.objective.augmentation != "none":  # one operation compiles quickest
        flags["augmentation"] = "flip"
    if isinstance(recipe.objective, FeatureMatching | OnFeatures):
        flags["features"] = "all"  # what a mask can choose from
    recipe = override(recipe, flags)
    method, traces = toy_method(recipe), []

    @jax.jit
    def step(key, state, inputs):
        traces.append(base)
        return method.step(key, state, inputs)[0]

    return recipe, method, step, traces


def distilled(base: str, changes: dict, inputs: Inputs) -> tuple[np.ndarray, int]:
    """Images after a few steps, and how often the step was traced."""
    recipe, method, step, traces = program(base, tuple(changes.items()))
    state = method.init(jax.random.key(0), start_for(recipe))
    for t in range(STEPS):
        state = step(jax.random.fold_in(jax.random.key(1), t), state, inputs)
    return np.asarray(method.result(state).images), len(traces)


@functools.cache
def plain(base: str) -> np.ndarray:
    return distilled(base, {}, seen_by(base, "plain"))[0]


def cells():
    for base, modifier in itertools.product(BASES, MODIFIERS):
        later = base in OTHERS or (base in LONG and modifier != "sdc")
        later = later or (base in FORGETTING_NONE and modifier != "sdc")
        later = later or (base in CORRECTED and modifier == "sdc")
        marks = pytest.mark.slow if later else ()
        yield pytest.param(base, modifier, marks=marks)


@pytest.mark.parametrize(("base", "modifier"), list(cells()))
def test_a_cell_is_one_program_and_differs_from_plain(base, modifier):
    images, traces = distilled(base, MODIFIERS[modifier], seen_by(base, modifier))
    assert traces == 1
    assert np.isfinite(images).all()
    assert not np.array_equal(images, plain(base))
