"""Settings by name, cases, and the count of operations."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from benchmarks.parts import cases as settings
from benchmarks.parts import flops
from benchmarks.reference.equality import TINY
from jaxdd.errors import UserError
from jaxdd.nets import make_network

STANDARD = settings.SETTINGS["standard"]


@pytest.mark.parametrize("text", ["dsb", "dsa,,dm", "dsa+sdx", "d4a", ""])
def test_an_unknown_method_is_named(text):
    with pytest.raises(UserError, match="unknown method"):
        settings.methods_named(text)


@pytest.mark.parametrize("name", ["datm", "frepo", "dsa+sdc"])
def test_a_case_has_what_a_step_needs(name):
    setting = dataclasses.replace(TINY, dataset="digits", shape=(8, 8, 1))
    case = settings.make_case(name, setting, 2)
    _, info = jax.eval_shape(
        case.method.step, jax.random.key(0), case.state, case.inputs
    )
    assert ("sdc" in info) == name.endswith("+sdc")
    assert flops.step(case) > 0


def test_the_count_of_a_forward_pass_is_that_of_xla():
    network = make_network("convnet", TINY.shape, TINY.classes, width=8, depth=2)
    setting = dataclasses.replace(TINY, width=8)
    params = jax.eval_shape(network.init, jax.random.key(0))[0]
    images = jnp.ones((4, *TINY.shape))
    forward = jax.jit(lambda p, x: network.apply(p, {}, x, False)[0].logits)
    analysis = forward.lower(params, images).compile().cost_analysis()
    # XLA also counts norms and activations, and no products with padding.
    assert 4 * flops.forward(setting)[0] == pytest.approx(analysis["flops"], rel=0.3)


def test_operations_of_steps():
    counts = {
        name: flops.step(settings.make_case(name, TINY, 2))
        for name in ("mtt", "tesla", "dsa", "dsa+sdc")
    }
    assert counts["tesla"] < counts["mtt"]
    # A window of as many steps costs more: Adam's gradients and the steps before it.
    changes = {"student_steps": 20, "horizon": 40, "batch_mixed": 1}
    window = flops.step(settings.make_case("rat_bptt", TINY, 2, changes=changes))
    students = counts["mtt"] + 30 * 2 * TINY.classes * flops.gradient(TINY)
    assert window == students + flops.gradient(TINY)
    assert counts["dsa"] == counts["dsa+sdc"]
    assert 256 * flops.gradient(STANDARD) == pytest.approx(76.1e9, rel=2e-3)


def test_what_is_not_counted_is_no_number():
    assert flops.step(settings.make_case("rcig", TINY, 2)) is None


def test_flags_of_a_choice_that_another_flag_opens_count():
    changes = {"sdc_weight": 0.1, "sdc_at": "path"}
    correction = settings.make_case("mtt", TINY, 2, 2, changes).recipe.sdc
    assert correction is not None
    assert (correction.weight, correction.at) == (0.1, "path")
    without = {**changes, "sdc_weight": 0.0}
    assert settings.make_case("mtt", TINY, 2, 2, without).recipe.sdc is None
