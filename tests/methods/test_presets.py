"""Published settings, written out once more from the official code and papers.

The tables of trajectory matching have a file of their own, `test_published`.
"""

import dataclasses

import pytest

from jaxdd.errors import UserError
from jaxdd.methods.build import METHODS, Settings, starts_of
from jaxdd.methods.presets import evaluation_training, loops, network_size, preset
from jaxdd.modifiers.curriculum import Curriculum
from jaxdd.training.fit import Training

# ipc: (matches per network, epochs on the set in between, image updates)
PUBLISHED_LOOPS = {
    1: (1, 1, 1001),
    10: (10, 50, 10010),
    20: (20, 25, 20020),
    30: (30, 20, 30030),
    40: (40, 15, 40040),
    50: (50, 10, 50050),
}
WITH_FLIP = "color_crop_cutout_flip_scale_rotate"
WITHOUT_FLIP = "color_crop_cutout_scale_rotate"
STRATEGIES = {
    "mnist": WITHOUT_FLIP,
    "svhn": WITHOUT_FLIP,
    "svhn_cropped": WITHOUT_FLIP,  # its name in TFDS
    "fashion_mnist": WITH_FLIP,
    "cifar10": WITH_FLIP,
    "cifar100": WITH_FLIP,
}
DATASETS = list(STRATEGIES)
POOLED = {
    "objective": "gradient",
    "source": "pool",
    "distance": "ours",
    "batch_real": 256,
    "network_lr": 0.01,
    "image_lr": 0.1,
    "image_momentum": 0.5,
    "sdc_weight": 0.0,
}


def assert_settings(settings: Settings, **expected):
    actual = dataclasses.asdict(settings)
    assert {name: actual[name] for name in expected} == expected


def assert_gsam(chosen, rho, alpha):
    assert (chosen.experts.gsam_rho, chosen.experts.gsam_alpha) == (rho, alpha)


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("ipc", PUBLISHED_LOOPS)
def test_dc(dataset, ipc):
    matches, inner_epochs, steps = PUBLISHED_LOOPS[ipc]
    chosen = preset("dc", dataset, ipc)
    assert_settings(
        chosen.settings,
        **POOLED,
        augmentation="none",
        matches=matches,
        inner_epochs=inner_epochs,
    )
    assert chosen.init == "noise"
    assert chosen.steps == steps
    if dataset == "mnist":
        assert (chosen.eval_epochs, chosen.eval_augmentation) == (1000, "dc")
    else:
        assert (chosen.eval_epochs, chosen.eval_augmentation) == (300, "none")


@pytest.mark.parametrize("dataset", DATASETS)
def test_dc_with_other_networks(dataset):
    """`get_daparam` of its code for ConvNetBN, a note in its readme for the MLP."""
    usual, batch_norm = (
        preset("dc", dataset, 10, net=n) for n in ("lenet", "convnet_bn")
    )
    assert usual == preset("dc", dataset, 10)
    assert batch_norm.settings == usual.settings
    found = batch_norm.eval_epochs, batch_norm.eval_augmentation
    assert found == (1000, "dc:crop_noise")
    mlp = preset("dc", dataset, 10, net="mlp")
    expected = dataclasses.replace(usual.settings, image_lr=0.01)
    assert mlp == dataclasses.replace(usual, settings=expected)
    for method in ("dsa", "dm", "idc", "mtt"):  # they have no such rule
        for net in ("convnet_bn", "mlp"):
            found = preset(method, dataset, 10, net=net)
            assert found == preset(method, dataset, 10)


def test_a_version_behind_the_name_of_a_dataset_does_not_matter():
    for method in METHODS:
        assert preset(method, "cifar10:3.0.2", 10) == preset(method, "cifar10", 10)


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("ipc", PUBLISHED_LOOPS)
def test_dsa(dataset, ipc):
    matches, inner_epochs, steps = PUBLISHED_LOOPS[ipc]
    chosen = preset("dsa", dataset, ipc)
    strategy = STRATEGIES[dataset]
    assert_settings(
        chosen.settings,
        **POOLED,
        augmentation=strategy,
        matches=matches,
        inner_epochs=inner_epochs,
    )
    assert chosen.init == "real"
    assert chosen.steps == steps
    assert (chosen.eval_epochs, chosen.eval_augmentation) == (1000, strategy)


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("ipc", [1, 10, 50, 100, 200, 500, 1000, 1250])
def test_dm(dataset, ipc):
    chosen = preset("dm", dataset, ipc)
    strategy = STRATEGIES[dataset]
    assert_settings(
        chosen.settings,
        objective="distribution",
        source="fresh",
        augmentation=strategy,
        batch_real=256,
        image_lr=10.0 if dataset == "cifar10" and ipc >= 100 else 1.0,
        image_momentum=0.5,
        sdc_weight=0.0,
    )
    assert chosen.init == "real"
    assert chosen.steps == 20001
    assert (chosen.eval_epochs, chosen.eval_augmentation) == (1000, strategy)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dataset", [*DATASETS, "digits"])
def test_a_rising_weight_arrives_at_the_end_of_the_run(method, dataset):
    chosen = preset(method, dataset, 10)
    assert chosen.settings.sdc_horizon == chosen.steps


@pytest.mark.parametrize(
    ("ipc", "expected"), [(2, (2, 250)), (5, (5, 100)), (7, (7, 71)), (100, (50, 10))]
)
def test_loops_between_the_published_ones_keep_their_product(ipc, expected):
    assert loops(ipc) == expected


def test_an_unknown_method_is_the_users_error():
    with pytest.raises(UserError, match="dc, dsa, dcc"):
        preset("icd", "mnist", 10)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((28, 28, 1), (128, 3)),
        ((32, 32, 3), (128, 3)),
        ((64, 64, 3), (128, 4)),
        ((128, 128, 3), (128, 5)),
        ((200, 20, 1), (128, 2)),
        ((20, 200, 1), (128, 2)),
        ((1, 512, 1), (128, 1)),
    ],
)
def test_the_convnet_leaves_four_pixels_along_the_shorter_side(shape, expected):
    assert network_size("any", shape) == expected


@pytest.mark.parametrize(
    ("epochs", "passes", "decay"), [(1000, 1001, 502), (300, 301, 152)]
)
def test_the_evaluation_of_dc(epochs, passes, decay):
    """The decay follows the epoch with index E // 2 + 1, with a new optimiser."""
    assert evaluation_training(epochs) == Training(
        epochs=passes,
        learning_rate=0.01,
        momentum=0.9,
        weight_decay=5e-4,
        batch_size=256,
        decay_epochs=(decay,),
        decay=0.1,
        reset_momentum=True,
    )


# --- Trajectory matching ------------------------------------------------------------

TRAJECTORIES = [m for m in METHODS if METHODS[m].source == "spans"]
ELSEWHERE = [("mnist", 10), ("cifar10", 2), ("cifar100", 7), ("svhn_cropped", 1)]


@pytest.mark.parametrize("method", TRAJECTORIES)
@pytest.mark.parametrize(("dataset", "ipc"), ELSEWHERE)
def test_without_published_settings_the_start_epochs_are_open(method, dataset, ipc):
    """The bank's length decides; the rest is MTT's defaults and the method's own.

    TESLA's code applies half of its image gradient, wherever its rate comes from.
    """
    chosen = preset(method, dataset, ipc)
    assert_settings(
        chosen.settings,
        max_start=None,
        min_start=0,
        first_start=None,
        student_steps=20,
        expert_epochs=3,
        image_lr=500.0 if method == "tesla" else 1000.0,
        step_size=0.01,
        step_size_lr=1e-5,
        batch_syn=None,
        augmentation=STRATEGIES[dataset],
        labels=METHODS[method].labels,
        gate=METHODS[method].gate,
        ema_decay=METHODS[method].ema_decay,
    )
    assert chosen.init == ("correct" if METHODS[method].labels == "soft" else "real")
    assert not chosen.zca
    alphas = {"mtt": 0.0, "ftd": 0.4, "tesla": 0.0, "datm": 0.3, "pad": 0.3}
    assert_gsam(chosen, 0.01 if alphas[method] else 0.0, alphas[method])
    with pytest.raises(UserError, match="max_start"):
        starts_of(chosen.settings)


@pytest.mark.parametrize("method", TRAJECTORIES)
def test_on_digits_the_bank_is_long_enough_for_every_span(method):
    chosen = preset(method, "digits", 10)
    settings, experts = chosen.settings, chosen.experts
    assert starts_of(settings).highest - 1 + settings.expert_epochs <= experts.epochs
    assert chosen.steps == 300
    assert not chosen.zca
    assert (settings.mask_ratio > 0) == (method == "pad")
    assert (experts.curriculum != Curriculum()) == (method == "pad")


@pytest.mark.parametrize("method", [m for m in METHODS if m not in TRAJECTORIES])
def test_other_methods_need_no_experts(method):
    chosen = preset(method, "cifar10", 10)
    assert chosen.experts is None
    batch = 64 if METHODS[method].source == "real_pool" else 256
    assert (chosen.eval_batch, chosen.eval_lr, chosen.zca) == (batch, 0.01, False)
