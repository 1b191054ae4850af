"""Published settings by hand, and what holds where nothing is published.

Trajectory matching has a file of its own, `test_published`.
"""

import dataclasses

import pytest

from jaxdd.augment import pipeline, training
from jaxdd.errors import UserError
from jaxdd.fields import flat, override
from jaxdd.methods.network import network_size
from jaxdd.methods.presets import preset
from jaxdd.methods.published.crops import evaluation
from jaxdd.methods.published.matching import loops
from jaxdd.methods.published.statistics import settings
from jaxdd.methods.recipes import METHODS
from jaxdd.training.fit import Training
from jaxdd.training.schedules import EvaluationSpec

FLIP = "color_crop_cutout_flip_scale_rotate"
NO_FLIP = "color_crop_cutout_scale_rotate"
MIXED = "idc:color_crop+cutmix=0.5"
IDC_FLIP = "idc:color_crop_flip_scale_rotate+cutmix=0.5"
ON_REAL = {"objective": "gradient", "source": "pool", "distance": "ours",
           "batch_real": 256, "network_lr": 0.01, "image_momentum": 0.5,
           "eval_batch": 256, "eval_lr": 0.01, "eval_schedule": "dc",
           "zca": False}  # fmt: skip

# (method, dataset, ipc, further arguments, flags) by hand from the source above each.
CELLS = [
    # DC, `get_loops` and `main.py` of the official code: Iteration 1000, inclusive.
    ("dc", "cifar10", 1, {}, {
        **ON_REAL, "matches": 1, "inner_epochs": 1, "steps": 1001, "init": "noise",
        "augmentation": "none", "image_lr": 0.1, "eval_epochs": 300,
        "eval_augmentation": "none",
    }),
    # `get_daparam` for ConvNetBN, a note in the readme for the MLP.
    ("dc", "cifar10", 10, {"net": "convnet_bn"}, {
        "image_lr": 0.1, "eval_epochs": 1000, "eval_augmentation": "dc:crop_noise",
    }),
    ("dc", "cifar10", 10, {"net": "mlp"}, {"image_lr": 0.01, "eval_epochs": 300}),
    # DSA, the commands in its readme.
    ("dsa", "cifar10", 10, {}, {
        **ON_REAL, "matches": 10, "inner_epochs": 50, "steps": 10010, "init": "real",
        "augmentation": FLIP, "image_lr": 0.1, "eval_epochs": 1000,
        "eval_augmentation": FLIP,
    }),
    ("dsa", "svhn_cropped", 1, {}, {"augmentation": NO_FLIP, "steps": 1001}),
    # DM, the readme: 20000 iterations; a rate of 10 from 100 images of CIFAR-10 on.
    ("dm", "cifar10", 50, {}, {
        "objective": "distribution", "source": "fresh", "features": "last",
        "augmentation": FLIP, "batch_real": 256, "image_lr": 1.0, "steps": 20001,
        "image_momentum": 0.5, "init": "real", "eval_epochs": 1000,
    }),
    ("dm", "cifar10", 100, {}, {"image_lr": 10.0}),
    # M3D: the defaults of its configurations in forks, the evaluation of IDC's code.
    ("m3d", "cifar10", 10, {}, {
        "feature_distance": "mmd", "kernel": "gaussian", "source": "fresh",
        "matches": 5, "batch_real": 128, "batch_syn": 200, "factor": 2,
        "space": "pixels", "clipping": "step", "augmentation": "idc:color_crop_cutout",
        "image_lr": 10.0, "image_momentum": 0.5, "image_steps": "sequential",
        "steps": 5000, "eval_epochs": 1000, "eval_batch": 64, "eval_lr": 0.01,
        "eval_schedule": "idc",
        "eval_augmentation": "idc:color_crop_flip_scale_rotate+cutmix=1.0",
    }),
    # DataDAM: its table of hyper-parameters; the rate is ten times as large above 50.
    ("datadam", "cifar10", 50, {}, {
        "feature_distance": "attention", "attention_power": 4, "attention_scale": 100.0,
        "attention_features": 0.01, "batch_real": 64, "augmentation": FLIP,
        "image_lr": 1.0, "steps": 8000, "eval_epochs": 1800, "eval_batch": 64,
        "eval_schedule": "halving", "eval_augmentation": FLIP, "factor": 1,
    }),
    ("datadam", "cifar10", 100, {}, {"image_lr": 10.0}),
    # NCFM: `CIFAR10/IPC10.yaml` of its code, with the network of frequencies off.
    ("ncfm", "cifar10", 10, {}, {
        "feature_distance": "cf", "cf_frequencies": 4096, "cf_amplitude": 0.5,
        "cf_phase": 0.5, "cf_scale": 300.0, "cf_normalize": True, "calibration": 1.0,
        "source": "interpolated", "num_experts": 20, "bank_epochs": 60,
        "expert_batch": 128, "batch_real": 1024, "factor": 2, "space": "pixels",
        "clipping": "step", "image_optimizer": "adamw", "image_lr": 1e-3,
        "image_decay": 5e-4, "steps": 20_000, "eval_epochs": 2000, "eval_batch": 128,
        "eval_lr": 1e-3, "eval_optimizer": "adamw", "eval_schedule": "fifths",
        "eval_augmentation": f"idc:{FLIP}+cutmix=0.5",
    }),
    ("ncfm", "tiny_imagenet", 50, {}, {"eval_epochs": 40, "batch_real": 128}),
    ("ncfm", "cifar100", 10, {}, {
        "image_optimizer": "sgd", "image_lr": 0.01, "image_momentum": 0.5,
    }),
    ("ncfm", "imagenette/160px", 1, {}, {"bank_epochs": 80, "batch_real": 128}),
    ("ncfm", "imagenet_resized/64x64", 1, {}, {"bank_epochs": 60}),
    ("datadam", "imagenet_resized/64x64", 1, {}, {"attention_features": 0.01}),
    ("datadam", "imagenette/160px", 1, {}, {"attention_features": 0.02}),
    ("m3d", "digits", 10, {}, {"factor": 1, "steps": 300, "batch_real": 64}),
    # IDC's `reproduce`: 2000 networks with 100 matches; its lr counts per 10 images.
    ("idc", "cifar10", 10, {}, {
        "distance": "mse", "tensors": "kernels", "batch_real": 64, "batch_syn": 128,
        "sampling": "passes", "augmentation": "idc:color_crop_cutout",
        "source": "real_pool", "matches": 100, "network_lr": 0.01,
        "network_momentum": 0.9, "network_decay": 5e-4, "pool_augmentation": MIXED,
        "pool_samples": 2000, "pool_batch": 64, "image_lr": 5e-3,
        "image_momentum": 0.5, "image_steps": "sequential", "space": "pixels",
        "factor": 2, "formation": "single", "init": "real", "steps": 200_000,
        "eval_epochs": 1000, "eval_batch": 64, "eval_lr": 0.01,
        "eval_schedule": "idc", "eval_augmentation": IDC_FLIP, "zca": False,
        "segments": 1, "mask": "none", "sdc_weight": 0.0,
    }),
    ("idc", "svhn_cropped", 50, {}, {
        "distance": "mse", "pool_samples": 500, "image_lr": 2.5e-2,
        "eval_augmentation": "idc:color_crop_scale_rotate+cutmix=0.5",
    }),
    # One whole image: cutout, and nothing is mixed.
    ("idc", "svhn_cropped", 1, {"factor": 1}, {
        "eval_augmentation": "idc:color_crop_cutout_scale_rotate",
    }),
    # FRePo: the arguments of its commands and the table in its `eval.py`.
    ("frepo", "cifar10", 10, {}, {
        "objective": "regression", "source": "aged_pool", "steps": 500_000,
        "batch_mixed": 1024, "flip": True, "ridge": 1e-6, "features": "last",
        "augmentation": "none", "pool_networks": 10, "max_age": 101, "most_steps": 1,
        "network_lr": 3e-4, "pool_images": 1000, "image_optimizer": "lamb",
        "image_lr": 3e-4, "image_schedule": "cosine", "labels": "targets",
        "label_lr": 3e-4, "label_scale": 1.0, "init": "real", "zca": True,
        "eval_optimizer": "adam", "eval_loss": "mse", "eval_schedule": "cosine",
        "eval_lr": 3e-4, "eval_batch": 500, "eval_epochs": 2000,
        "eval_augmentation": "frepo:flip_color_crop_rotate_translate_cutout",
    }),
    # 40 000 updates of ten batches each; labels over sqrt(10); no mirror images.
    ("frepo", "cifar100", 50, {}, {
        "flip": False, "label_scale": 10**0.5, "eval_epochs": 4000,
    }),
    ("frepo", "mnist", 1, {}, {
        "flip": False, "zca": False, "eval_epochs": 1000,
        "eval_augmentation": "frepo:color_crop_rotate_translate_cutout",
    }),
    # Labels and updates go by the classes of one's own data; no mirrored digits.
    ("frepo", "npz:pets.npz", 1, {"classes": 100}, {
        "label_scale": 10**0.5, "eval_epochs": 2000, "flip": True, "zca": False,
    }),
    ("frepo", "npz:pets.npz", 1, {}, {"label_scale": 1.0, "eval_epochs": 1000}),
    ("frepo", "cifar100", 1, {"classes": 7}, {"label_scale": 10**0.5}),
    ("frepo", "imagenet_resized/64x64", 1, {}, {
        "flip": False, "zca": True, "label_scale": 10.0,
    }),
    ("frepo", "svhn_cropped", 1, {}, {"flip": False}),
    # RCIG: its configurations, the readme's number of steps, or that of shipped sets.
    ("rcig", "cifar10", 1, {}, {
        "objective": "convex", "source": "aged_pool", "steps": 15_000,
        "batch_mixed": 1024, "flip": True, "inner_ridge": 5e-4, "solver": "cg",
        "solver_steps": 20, "temperature_lr": 0.03, "pool_networks": 30,
        "most_steps": 15, "network_lr": 5e-5, "image_optimizer": "adabelief",
        "image_lr": 3e-3, "label_lr": 3e-3, "label_scale": 1.0, "ema_decay": 0.99,
        "ema_of": "all", "zca": True, "eval_optimizer": "adam", "eval_lr": 1e-4,
        "eval_loss": "mse", "eval_batch": 256, "eval_epochs": 1000,
    }),
    ("rcig", "cifar100", 10, {}, {
        "steps": 10_000, "flip": True, "pool_flip": True, "eval_epochs": 500,
    }),
    ("rcig", "cifar100", 50, {}, {"flip": False, "pool_flip": False}),
    ("rcig", "mnist", 1, {}, {
        "flip": False, "eval_augmentation": "frepo:crop_rotate_translate_cutout",
    }),
    ("rcig", "npz:pets.npz", 1, {"classes": 100}, {
        "label_scale": 1.0, "eval_epochs": 2000,
    }),
    ("idc", "mnist", 10, {}, {
        "distance": "l1", "pool_samples": 500, "image_lr": 1e-4,
        "augmentation": "idc:color_crop", "pool_augmentation": "idc:color_crop",
        "eval_augmentation": "idc:color_crop_scale_rotate",
    }),
    ("idc", "mnist", 10, {"factor": 1}, {
        "augmentation": "idc:color_crop_cutout", "pool_augmentation": MIXED,
        "eval_augmentation": "idc:color_crop_scale_rotate+cutmix=0.5",
    }),
    # Its 28 pixels count for 32, and its name also ends with "mnist".
    ("idc", "fashion_mnist", 10, {}, {
        "distance": "l1", "image_lr": pytest.approx(1e-4 * (28 / 32) ** 2),
        "augmentation": "idc:color_crop_cutout", "pool_augmentation": MIXED,
        "eval_augmentation": IDC_FLIP,
    }),
    # The defaults of its code.
    ("idc", "tiny_imagenet", 10, {}, {
        "distance": "l1", "pool_samples": 500, "image_lr": 5e-3, "steps": 50_000,
    }),
    # RaT-BPTT, the commands in its readme; its evaluation takes 1000 steps here.
    ("rat_bptt", "cifar10", 10, {}, {
        "objective": "bptt", "source": "windows", "policy": "random", "horizon": 200,
        "student_steps": 60, "batch_mixed": 5000, "inner_images": 10,
        "inner_classes": 10, "student_optimizer": "adam", "student_lr": 1e-3,
        "image_optimizer": "adam", "image_lr": 1e-3, "image_clip": 2.0,
        "init": "unit_noise", "labels": "hard", "augmentation": "flip_rotate",
        "min_warmup": 0, "zca": True, "eval_optimizer": "adam", "eval_lr": 1e-3,
        "eval_schedule": "constant", "eval_batch": 100, "eval_epochs": 1000,
        "eval_augmentation": "flip_rotate",
    }),
    ("rat_bptt", "cifar100", 1, {}, {
        "policy": "fixed", "horizon": 130, "student_steps": 90, "labels": "weights",
        "label_lr": 3e-4, "image_lr": 3e-4, "eval_loss": "row_cross_entropy",
    }),
    ("rat_bptt", "tiny_imagenet", 10, {}, {
        "horizon": 300, "student_steps": 100, "inner_classes": 50, "inner_images": 1,
        "batch_mixed": 1000, "eval_batch": 50, "eval_epochs": 25, "zca": False,
    }),
    ("rat_bptt", "svhn_cropped", 1, {}, {"augmentation": "rotate"}),  # ours
    # SRe2L and CDA: the commands of their code; the evaluation is RDED's.
    # RDED's batches: by images and classes, and two that are the same for all numbers.
    ("rded", "cifar10", 10, {}, {"eval_batch": 50, "eval_lr": 1e-3}),
    ("rded", "cifar100", 10, {"net": "resnet18"}, {"eval_batch": 100}),
    ("rded", "cifar100", 50, {"net": "convnet_bn"}, {
        "eval_batch": 25, "eval_lr": 2e-3,
    }),
    ("rded", "tiny_imagenet", 1, {}, {"eval_batch": 100}),
    ("rded", "cifar10", 1, {"net": "alexnet"}, {"eval_batch": 10, "eval_lr": 1e-4}),
    ("sre2l", "imagenet", 10, {}, {
        "objective": "statistics", "source": "teacher", "statistics_weight": 0.01,
        "first_weight": 10.0, "view_area": 0.08, "view_flip": True, "view_roll": 32,
        "view_schedule": "constant", "init": "noise", "image_optimizer": "adam",
        "image_beta1": 0.5, "image_beta2": 0.9, "image_lr": 0.25, "steps": 4000,
        "image_schedule": "annealed", "clipping": "update", "space": "input",
        "labels": "teacher", "num_experts": 1, "eval_loss": "kl", "temperature": 20.0,
        "eval_optimizer": "adamw", "eval_epochs": 300, "eval_batch": 100,
    }),
    ("sre2l", "tiny_imagenet", 50, {}, {
        "statistics_weight": 1.0, "image_lr": 0.1, "steps": 4000, "view_area": 0.08,
    }),
    # CIFAR-100 in whole images, rolled all the way round.
    ("sre2l", "cifar100", 10, {}, {
        "statistics_weight": 0.01, "image_lr": 0.25, "steps": 1000, "view_area": 1.0,
        "view_roll": 32, "temperature": 30.0, "eval_epochs": 400,
    }),
    ("cda", "imagenet", 10, {}, {
        "view_schedule": "cosine", "statistics_weight": 0.01, "image_lr": 0.25,
    }),
    ("cda", "tiny_imagenet", 10, {}, {
        "view_schedule": "cosine", "statistics_weight": 0.05, "image_lr": 0.4,
    }),
    ("cda", "cifar100", 10, {}, {"view_area": 0.08, "view_roll": 4}),  # ours
    # Ours: digits in minutes, in whole images unless tiles are asked for.
    ("idc", "digits", 10, {}, {"steps": 300, "matches": 10, "factor": 1}),
    ("d4a", "digits", 10, {"factor": 2}, {"steps": 300, "factor": 2}),
    ("dsa", "digits", 1, {}, {
        "steps": 300, "batch_real": 64, "matches": 10, "inner_epochs": 10,
        "image_lr": 0.03,
    }),
    ("dsac", "digits", 2, {}, {"image_lr": 0.06}),
    ("dc", "digits", 10, {}, {"image_lr": 0.3, "matches": 10, "inner_epochs": 10}),
    ("dc", "digits", 50, {}, {"image_lr": 0.3}),
]  # fmt: skip


@pytest.mark.parametrize(("method", "dataset", "ipc", "arguments", "expected"), CELLS)
def test_cells_by_hand(method, dataset, ipc, arguments, expected):
    values = flat(preset(method, dataset, ipc, **arguments))
    assert {name: values[name] for name in expected} == expected


@pytest.mark.parametrize("method", METHODS)
def test_versions_and_networks_that_no_rule_names_do_not_matter(method):
    chosen = preset(method, "cifar10", 10)
    assert preset(method, "cifar10:3.0.2", 10) == chosen
    # DC's rules are about networks; DCC is evaluated as DC is.
    ruled = {"dc": ("convnet_bn", "mlp"), "dcc": ("convnet_bn",)}.get(method, ())
    for net in {"lenet", "convnet_bn", "mlp"} - set(ruled):
        assert preset(method, "cifar10", 10, net=net) == chosen


@pytest.mark.parametrize("method", [m for m in METHODS if not METHODS[m].needs_experts])
@pytest.mark.parametrize("dataset", ["cifar10", "mnist", "svhn_cropped", "digits"])
@pytest.mark.parametrize("ipc", [1, 10])
def test_every_augmentation_exists(method, dataset, ipc):
    for factor in (None, 2):
        chosen = preset(method, dataset, ipc, factor)
        values = flat(chosen)
        pipeline(values["augmentation"])
        training(values["eval_augmentation"])
        training(values.get("pool_augmentation") or "none")
        assert (chosen.experts is None) != chosen.recipe.needs_teacher


@pytest.mark.parametrize(
    ("ipc", "expected"), [(2, (2, 250)), (5, (5, 100)), (7, (7, 71)), (100, (50, 10))]
)
def test_loops_between_the_published_ones_keep_their_product(ipc, expected):
    assert loops(ipc) == expected


@pytest.mark.parametrize(
    ("ipc", "segments"), [(1, 2), (2, 2), (3, 3), (5, 5), (10, 5), (50, 5)]
)
def test_d4a_is_idc_in_segments(ipc, segments):
    """Five, or as many as there are images; one image cannot be cut in two."""
    ours, idc = preset("d4a", "cifar10", ipc), preset("idc", "cifar10", ipc)
    assert ours.recipe.segments.count == segments
    assert ours.recipe.segments.forgetting == "replay"
    assert override(ours, {"segments": 1}) == idc


def test_an_unknown_method_is_named():
    with pytest.raises(UserError, match="dc, dsa, dcc"):
        preset("icd", "mnist", 10)


@pytest.mark.parametrize(
    ("shape", "depth"),
    [
        ((28, 28, 1), 3), ((32, 32, 3), 3), ((64, 64, 3), 4), ((128, 128, 3), 5),
        ((200, 20, 1), 2), ((20, 200, 1), 2), ((1, 512, 1), 1),
    ],
)  # fmt: skip
def test_the_convnet_leaves_four_pixels_along_the_shorter_side(shape, depth):
    assert network_size("any", shape) == (128, depth)


SGD = Training(epochs=0, learning_rate=0.01, momentum=0.9, weight_decay=5e-4)


@pytest.mark.parametrize(
    ("epochs", "passes", "decay"), [(1000, 1001, 502), (300, 301, 152)]
)
def test_the_evaluation_of_dc(epochs, passes, decay):
    """The decay follows the epoch with index E // 2 + 1, with a new optimiser."""
    assert EvaluationSpec(epochs=epochs).training() == dataclasses.replace(
        SGD, epochs=passes, batch_size=256, decay_epochs=(decay,), reset_momentum=True
    )


@pytest.mark.parametrize(
    ("epochs", "decays"), [(1000, (666, 833)), (300, (200, 250)), (100, (66, 83))]
)
def test_the_evaluation_of_idc(epochs, decays):
    """A fifth at 2E/3 and at 5E/6, in whole numbers; one optimiser all along."""
    schedule = EvaluationSpec(epochs=epochs, batch=64, schedule="idc").training()
    assert schedule == dataclasses.replace(
        SGD, epochs=epochs, batch_size=64, decay_epochs=decays, decay=0.2
    )


def test_a_given_rate_counts_before_a_learned_one():
    rates = [
        EvaluationSpec(lr=lr).training(step_size).learning_rate
        for lr, step_size in ((0.3, 0.2), (None, 0.2), (None, 0.0), (None, None))
    ]
    assert rates == [0.3, 0.2, 0.0, 0.01]


def test_names_mean_the_published_dataset_that_they_begin_with():
    batch = lambda name: evaluation(name, 10, "convnet_bn")["eval_batch"]
    assert [batch(x) for x in ("imagenet2012", "tiny_imagenet_subset")] == [100, 100]
    assert [batch(x) for x in ("imagenette/320px-v2", "cifar10")] == [50, 50]
    rate = lambda name: settings("sre2l", name).get("image_lr")
    assert [rate(x) for x in ("imagenet2012", "imagenet_resized/64x64")] == [0.25, 0.1]
    assert rate("imagenette/320px-v2") is None
