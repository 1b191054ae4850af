"""IDC's published settings, computed by hand from its `reproduce` file, and D4A's."""

import dataclasses

import pytest
from jaxdd.methods.settings import METHODS

from jaxdd.augment import pipeline, training
from jaxdd.errors import UserError
from jaxdd.methods.presets import evaluation_training, preset
from jaxdd.training.fit import Training

FAMILY = [name for name in METHODS if METHODS[name].source == "real_pool"]
PLAIN = "idc:color_crop_cutout"
MIXED = "idc:color_crop+cutmix=0.5"
# dataset, ipc, effective learning rate of the images: base * ipc / 10, and for Fashion
# (28 / 32)^2, since its size counts against 32.
RATES = [
    *[
        (dataset, ipc, rate)
        for dataset in ("cifar10", "cifar100", "svhn_cropped")
        for ipc, rate in ((1, 5e-4), (10, 5e-3), (20, 1e-2), (50, 2.5e-2))
    ],
    ("mnist", 1, 1e-5),
    ("mnist", 10, 1e-4),
    ("mnist", 50, 5e-4),
    ("fashion_mnist", 1, 7.65625e-6),
    ("fashion_mnist", 10, 7.65625e-5),
    ("fashion_mnist", 50, 3.828125e-4),
]


def test_both_methods_are_here():
    assert FAMILY == ["idc", "d4a"]


@pytest.mark.parametrize("method", FAMILY)
@pytest.mark.parametrize(("dataset", "ipc", "rate"), RATES)
def test_the_effective_learning_rate_of_the_images(method, dataset, ipc, rate):
    settings = preset(method, dataset, ipc).settings
    assert settings.image_lr == pytest.approx(rate, rel=1e-9)
    assert (settings.image_momentum, settings.image_steps) == (0.5, "sequential")


@pytest.mark.parametrize(
    ("dataset", "distance", "samples"),
    [
        ("cifar10", "mse", 2000),
        ("cifar100", "mse", 2000),
        ("svhn_cropped", "mse", 500),
        ("mnist", "l1", 500),
        ("fashion_mnist", "l1", 500),
    ],
)
def test_what_is_published_per_dataset(dataset, distance, samples):
    """2000 networks with 100 matches each; batches of 64, at most 128 of a set."""
    found = preset("idc", dataset, 10)
    settings = found.settings
    assert (settings.distance, settings.pool_samples) == (distance, samples)
    assert found.steps == settings.sdc_horizon == 200_000
    assert settings.matches == 100
    assert (settings.batch_real, settings.batch_syn, settings.pool_batch) == (
        64,
        128,
        64,
    )
    assert (
        settings.network_lr,
        settings.network_momentum,
        settings.network_decay,
    ) == (0.01, 0.9, 5e-4)
    assert (settings.tensors, settings.space) == ("kernels", "pixels")
    assert (settings.factor, settings.formation) == (2, "single")
    assert (found.init, found.experts, found.zca) == ("real", None, False)
    assert settings.segments == 1
    assert settings.forgetting == "none"


@pytest.mark.parametrize(
    ("dataset", "evaluation"),
    [
        ("cifar10", "idc:color_crop_flip_scale_rotate+cutmix=0.5"),
        ("cifar100", "idc:color_crop_flip_scale_rotate+cutmix=0.5"),
        ("svhn_cropped", "idc:color_crop_scale_rotate+cutmix=0.5"),
        ("fashion_mnist", "idc:color_crop_flip_scale_rotate+cutmix=0.5"),
    ],
)
@pytest.mark.parametrize("factor", [None, 1, 3])
def test_augmentations(dataset, evaluation, factor):
    """Of the match, of networks in training, of the evaluation."""
    found = preset("idc", dataset, 10, factor)
    settings = found.settings
    assert settings.factor == (factor or 2)
    assert (settings.augmentation, settings.pool_augmentation) == (PLAIN, MIXED)
    assert found.eval_augmentation == evaluation


def test_mnist_is_not_mixed_where_images_are_tiles():
    whole, tiled = preset("idc", "mnist", 10, 1), preset("idc", "mnist", 10, 2)
    found = tiled.settings.augmentation, tiled.settings.pool_augmentation
    assert found == ("idc:color_crop", "idc:color_crop")
    assert tiled.eval_augmentation == "idc:color_crop_scale_rotate"
    assert (whole.settings.augmentation, whole.settings.pool_augmentation) == (
        PLAIN,
        MIXED,
    )
    assert whole.eval_augmentation == "idc:color_crop_scale_rotate+cutmix=0.5"
    # Fashion's name also ends with it.
    fashion = preset("idc", "fashion_mnist", 10, 2).settings
    assert (fashion.augmentation, fashion.pool_augmentation) == (PLAIN, MIXED)


def test_svhn_at_one_whole_image_per_class_is_evaluated_with_cutout():
    expected = "idc:color_crop_cutout_scale_rotate"
    assert preset("idc", "svhn_cropped", 1, 1).eval_augmentation == expected
    for ipc, factor in ((1, 2), (10, 1)):
        found = preset("idc", "svhn_cropped", ipc, factor).eval_augmentation
        assert found.endswith("+cutmix=0.5")
        assert "cutout" not in found


@pytest.mark.parametrize("dataset", ["cifar10", "mnist", "svhn_cropped", "digits"])
@pytest.mark.parametrize("factor", [1, 2])
@pytest.mark.parametrize("ipc", [1, 10])
def test_every_augmentation_exists(dataset, factor, ipc):
    found = preset("idc", dataset, ipc, factor)
    pipeline(found.settings.augmentation)
    training(found.settings.pool_augmentation)
    training(found.eval_augmentation)


def test_without_published_settings_the_codes_defaults_hold():
    found = preset("idc", "tiny_imagenet", 10)
    settings = found.settings
    assert (settings.distance, settings.pool_samples) == ("l1", 500)
    assert settings.image_lr == pytest.approx(5e-3)
    assert found.steps == 500 * 100


@pytest.mark.parametrize("method", FAMILY)
def test_on_digits_it_takes_minutes(method):
    found = preset(method, "digits", 10)
    assert found.steps == found.settings.sdc_horizon == 300
    assert found.settings.matches == 10
    # Images of 8x8 pixels stay whole unless tiles are asked for.
    assert found.settings.factor == 1
    assert preset(method, "digits", 10, 2).settings.factor == 2


@pytest.mark.parametrize(
    ("ipc", "segments"), [(1, 2), (2, 2), (3, 3), (5, 5), (10, 5), (50, 5)]
)
def test_d4a_is_idc_in_segments(ipc, segments):
    """Five, or as many as there are images; one image cannot be cut in two."""
    ours, idc = preset("d4a", "cifar10", ipc), preset("idc", "cifar10", ipc)
    assert ours.settings.segments == segments
    assert ours.settings.forgetting == "replay"
    same = dataclasses.replace(ours.settings, segments=1, forgetting="none")
    assert dataclasses.replace(ours, settings=same) == idc


# --- The evaluation -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("epochs", "decays"), [(1000, (666, 833)), (300, (200, 250)), (100, (66, 83))]
)
def test_the_evaluation_of_idc(epochs, decays):
    """A fifth at 2E/3 and at 5E/6, in whole numbers; one optimiser all along."""
    found = evaluation_training(epochs, 0.01, 64, "idc")
    assert found == Training(
        epochs=epochs,
        learning_rate=0.01,
        momentum=0.9,
        weight_decay=5e-4,
        batch_size=64,
        decay_epochs=decays,
        decay=0.2,
        reset_momentum=False,
    )


@pytest.mark.parametrize("method", METHODS)
def test_who_is_evaluated_how(method):
    found = preset(method, "cifar10", 10)
    of_idc = method in FAMILY
    assert found.eval_schedule == ("idc" if of_idc else "dc")
    if of_idc:
        assert (found.eval_epochs, found.eval_batch, found.eval_lr) == (1000, 64, 0.01)


def test_an_unknown_schedule_is_the_users_error():
    with pytest.raises(UserError, match="'cosine': choose one of dc, idc"):
        evaluation_training(10, schedule="cosine")
