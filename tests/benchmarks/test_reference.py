"""The PyTorch loops compute what we compute. Skipped where PyTorch is not installed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import primitives, reference, steps
from benchmarks.parts import draws, timing
from benchmarks.parts.cases import make_case
from benchmarks.reference import equality, races
from jaxdd import augment
from jaxdd.primitives import per_sample_gradient_norms
from jaxdd.primitives.losses import mean_loss
from jaxdd.primitives.trees import named_leaves
from jaxdd.training.fit import Training, make_epochs
from jaxdd.types import Learner

pytest.importorskip("torch", reason="the reference needs PyTorch: make bench")

import torch

from benchmarks.reference import augment as operations
from benchmarks.reference import matching, network, sides, training

SHAPE = (8, 8, 3)


@pytest.mark.parametrize("method", reference.METHODS)
def test_loss_and_image_gradient_are_ours_in_float64(method):
    assert equality.difference(method) < equality.TOLERANCE


def test_a_choice_of_decoded_images_is_ours_in_float64():
    assert equality.difference("idc", batch_syn=3) < equality.TOLERANCE


def test_minibatches_of_a_student_are_ours_in_float64():
    found = equality.difference("mtt", batch_syn=3, augmentation="flip")
    assert found < equality.TOLERANCE


@pytest.mark.parametrize("count", [None, 4])
@pytest.mark.parametrize("name", augment.OPS)
def test_an_operation_is_ours_in_float64(x64, name, count):
    images = jax.random.normal(jax.random.key(0), (4, *SHAPE), jnp.float64)
    pipeline, key = augment.dsa(name), jax.random.key(1)
    if count is None:
        (ours,) = augment.siamese(pipeline)(key, images)
    else:
        ours = augment.per_image(pipeline)(key, images)
    drawn = [
        operations.Draw(n, jax.tree.map(network.tensor, x))
        for n, x in draws.operations(name, key, SHAPE, count)
    ]
    theirs = operations.apply(drawn, network.channels_first(images))
    np.testing.assert_allclose(network.channels_last(theirs), ours, atol=1e-12)


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


def test_gradient_norms_and_a_training_step_are_ours(x64):
    case = equality.tiny("dc")
    batch = races.batch_of(case, 6)
    params, images, labels = races.given_to_reference(case, batch)
    compute = per_sample_gradient_norms(mean_loss(case.network))
    ours = jax.jit(compute)(case.params, batch, {})
    theirs = training.per_sample_norms(params, images, labels)
    np.testing.assert_allclose(theirs, ours, rtol=1e-9)

    run = make_epochs(case.network, Training(1, momentum=0.9, weight_decay=0.1))
    state = run.init(Learner(case.params, {}))
    trainer = training.Trainer(params, 0.5, momentum=0.9, decay=0.1)
    step = jax.jit(run.step)
    for _ in range(2):
        state = step(state, batch, 0.5)
        trainer.step(images, labels)
    expected = network.parameters(named_leaves(state.learner.params))
    for x, y in zip(trainer.params, expected, strict=True):
        np.testing.assert_allclose(x.detach(), y, atol=1e-10)


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
