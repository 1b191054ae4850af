"""Published settings, written out once more from the official code and papers."""

import dataclasses

import pytest

from jaxdd.errors import UserError
from jaxdd.methods import METHODS, Settings
from jaxdd.presets import evaluation_training, loops, network_size, preset
from jaxdd.train import Training

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
    with pytest.raises(UserError, match="dc, dsa, dm"):
        preset("idc", "mnist", 10)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((28, 28, 1), (128, 3)),
        ((32, 32, 3), (128, 3)),
        ((64, 64, 3), (128, 4)),
        ((128, 128, 3), (128, 5)),
    ],
)
def test_the_convnet_leaves_a_map_of_four_by_four(shape, expected):
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
