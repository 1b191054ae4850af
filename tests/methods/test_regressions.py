"""FRePo and RCIG as methods: a run that goes on, the average, what is refused."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.errors import Diverged
from jaxdd.methods.network import NetworkSpec
from jaxdd.methods.presets import usual_network
from jaxdd.methods.published.regressions import FREPO_UPDATES, settings
from jaxdd.methods.recipes import METHODS
from jaxdd.running.loop import Program
from jaxdd.running.resume import run
from jaxdd.running.schedule import Hooks, RunSchedule
from jaxdd.synthetic.labels import HardLabels, Weights
from tests.helpers import refused
from tests.toy_methods import INPUTS, start_for, toy_method, toy_recipe

QUIET = Hooks(lambda state: {})


def schedule(steps):
    return RunSchedule(steps, log_every=1, measure_every=100, save_every=100)


@pytest.fixture(scope="module")
def rcig():
    """The method with all that a state may hold, compiled once."""
    recipe = toy_recipe("rcig", image_clip=2.0)
    return recipe, Program(toy_method(recipe))


def go(folder, rcig, steps):
    recipe, program = rcig
    first = lambda: program.method.init(jax.random.key(0), start_for(recipe))
    return run(folder, program, first, INPUTS, 0, schedule(steps), QUIET)


def test_a_run_that_is_cut_goes_on_to_the_same_bits(tmp_path, rcig):
    """Images, targets, scale, their average, the optimisers and the whole pool."""
    whole = go(None, rcig, 6).state
    go(tmp_path, rcig, 3)
    parts = go(tmp_path, rcig, 6).state
    chex.assert_trees_all_equal(whole.method, parts.method)
    assert int(whole.method.step) == 6


def test_the_result_is_an_average_without_a_weight_for_the_start(rcig):
    """The mean of the codes so far with weights 0.9^age, labels and scale with them."""
    recipe, program = rcig
    states = [go(None, rcig, steps).state.method for steps in (1, 2, 3)]
    weights = np.array([0.81, 0.9, 1.0]) / 2.71
    result = program.method.result(states[-1])
    for name in ("images", "labels"):
        codes = [np.asarray(getattr(x.codes, name)) for x in states]
        expected = sum(w * x for w, x in zip(weights, codes, strict=True))
        found = getattr(result, name)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    logs = [float(x.codes.step_size) for x in states]
    assert float(result.step_size) == pytest.approx(np.exp(weights @ logs), rel=1e-4)
    assert recipe.step_size == 1.0


def test_a_system_that_cannot_be_solved_ends_a_run_with_a_sentence():
    """Images of nothing else than zeros have no features without biases."""
    recipe = toy_recipe("frepo", most_steps=1)
    method = toy_method(recipe)
    dark = start_for(recipe)._replace(images=jnp.zeros((3, 2, 8, 8, 1)))
    first = lambda: method.init(jax.random.key(0), dark)
    with pytest.raises(Diverged, match="the linear system of step 1 could not be"):
        run(None, Program(method), first, INPUTS, 0, schedule(2), QUIET)


def test_each_has_the_networks_that_it_was_published_with():
    """Batch norm and a smooth ReLU only where they are matched."""
    for name, other in (("frepo", "match_norm"), ("rcig", "match_activation")):
        network = usual_network(METHODS[name])
        assert (network.net, network.norm) == ("convnet_double", None)
        assert getattr(network, other) in ("batch", "softplus")
        assert network.matched.net == "convnet_double"
    assert usual_network(METHODS["dm"]) == NetworkSpec()


def test_numbers_of_images_between_those_of_the_table():
    """The next larger one of the table, and its last row from there on (ours)."""
    for objective, steps in (("regression", FREPO_UPDATES), ("convex", None)):
        for ipc in (2, 10, 700):
            row = settings(objective, "cifar10", ipc)
            batches = -(-10 * ipc // min(row["eval_batch"], 10 * ipc))
            expected = {2: 2000, 10: 2000, 700: 40_000} if steps else {}
            assert row["eval_epochs"] * batches >= expected.get(ipc, 2000)
            assert (row["eval_epochs"] - 1) * batches < expected.get(ipc, 2000)


def test_labels_of_another_space_are_refused():
    recipe = toy_recipe("frepo")
    assert recipe.as_targets
    assert not dataclasses.replace(recipe, labels=HardLabels()).as_targets
    with refused("labels=Weights()"):
        dataclasses.replace(recipe, labels=Weights())
