"""The PyTorch loops compute what we compute. Skipped where PyTorch is not installed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import primitives, reference, steps
from benchmarks.parts import timing
from benchmarks.parts.cases import make_case
from benchmarks.reference import equality, expected
from jaxdd import augment
from jaxdd.primitives.trees import named_leaves

pytest.importorskip("torch", reason="the reference needs PyTorch: make reference")

import torch

from benchmarks.reference import augment as operations
from benchmarks.reference import matching, network, sides, training

SHAPE = (8, 8, 3)


@pytest.mark.parametrize("name", expected.NAMES)
def test_the_stored_numbers_are_those_of_today(name):
    """`test_expected` compares ours with them, also where PyTorch is missing."""
    gap = expected.gap(expected.theirs(name), expected.stored()[name])
    assert gap < expected.TOLERANCE


def test_difference_compares_both_sides():
    assert equality.difference("dm") < equality.TOLERANCE


@pytest.mark.parametrize("shared", [True, False])
def test_random_draws_stay_in_our_ranges(shared):
    torch.manual_seed(0)
    images = torch.ones(400, 1, 8, 8)
    count = 1 if shared else 400
    for name in augment.OPS:
        ((_, values),) = operations.random_draws([[name]], images, shared)
        draw = augment.OPS[name].draw
        ours = jax.vmap(lambda key: draw(key, (8, 8, 1)))(
            jax.random.split(jax.random.key(0), 400)
        )
        for x, y in zip(jax.tree.leaves(values), jax.tree.leaves(ours), strict=True):
            assert x.shape == (count, *y.shape[1:])
            if not shared:
                np.testing.assert_allclose(x.double().mean(), jnp.mean(y), atol=0.4)
                np.testing.assert_allclose(
                    [x.min(), x.max()], [y.min(), y.max()], atol=0.1
                )


@pytest.mark.parametrize("name", ["norms", "synthetic", "experts"])
def test_primitives_have_a_side_that_runs(name):
    race = primitives.PRIMITIVES[name](equality.TINY, True)
    assert race.theirs is not None
    race.theirs()
    race.ours()


def test_new_networks_have_pytorchs_initial_values():
    case = make_case("dc", equality.TINY, 1)
    like = network.parameters(named_leaves(case.params))
    for x, y in zip(network.fresh(like), like, strict=True):
        assert x.shape == y.shape
        assert float(x.abs().max()) <= 1.0
        assert (x.unique().numel() == 1) == (y.unique().numel() == 1)


@pytest.mark.parametrize("method", reference.METHODS)
def test_a_timed_step_moves_the_images(method):
    case = make_case(method, equality.TINY, 2, 2, {"inner_epochs": 1})
    loop = sides.loop(case)
    before = loop.images.detach().clone()
    loop.step()
    assert torch.isfinite(loop.images).all()
    assert (loop.images.detach() != before).any()


def test_dsa_trains_its_network_between_matches():
    case = make_case("dsa", equality.TINY, 2, changes={"inner_epochs": 2})
    loop = sides.loop(case)
    assert isinstance(loop, matching.Matching)
    before = [x.detach().clone() for x in loop.params]
    loop.step()
    # A norm hides the biases in front of it.
    kernels = [(x, y) for x, y in zip(loop.params, before, strict=True) if x.ndim > 1]
    assert all((x != y).any() for x, y in kernels)


def test_cutmix_pastes_a_box_of_the_stated_area():
    torch.manual_seed(0)
    images = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 1, 8, 8)
    labels = torch.arange(4)
    for _ in range(10):
        mixed, others, stayed = training.cutmix(images, labels, 1.0)
        moved = (mixed != images).flatten(1).float().mean(1)
        moved = moved[others != labels]
        np.testing.assert_allclose(moved, 1 - stayed, atol=1e-6)


def test_steps_has_a_ratio(tmp_path, monkeypatch):
    monkeypatch.setattr(equality, "check", lambda methods: {})
    monkeypatch.setattr(timing, "in_fresh_process", lambda *_: {"peak_mb": 7.0})
    config = steps.Config(
        str(tmp_path), "dm,dc", "small", reference="torch", width=4, repeats=1
    )
    with_reference, without = steps.run(config)
    assert with_reference["ratio"] == pytest.approx(
        with_reference["seconds"] / with_reference["reference_seconds"]
    )
    assert without["ratio"] is None
    assert (tmp_path / "ratios.png").exists()
