"""Trajectory matching: a published row is the recipe with the row's flags."""

from dataclasses import replace

import jax.numpy as jnp
import pytest

from jaxdd.errors import UserError
from jaxdd.fields import flags_of, flat, override
from jaxdd.learners.spans import StartEpochs
from jaxdd.methods.presets import preset, unpublished
from jaxdd.methods.published.preset import Preset
from jaxdd.methods.published.trajectories import COMPLETED_BY, TABLES
from jaxdd.methods.recipe import Recipe
from jaxdd.methods.recipes import METHODS
from jaxdd.modifiers.curriculum import Curriculum

ROWS = [(method, *key) for method, table in TABLES.items() for key in table]
FLIP = "color_crop_cutout_flip_scale_rotate"


def whole_row(method, dataset, ipc):
    """A row with what another method's table adds to it."""
    completing = TABLES[COMPLETED_BY.get(method, method)]
    return {**completing[dataset, ipc], **TABLES[method][dataset, ipc]}


@pytest.mark.parametrize(("method", "dataset", "ipc"), ROWS)
def test_a_row_overrides_the_recipe_and_the_preset(method, dataset, ipc):
    chosen, row = preset(method, dataset, ipc), whole_row(method, dataset, ipc)
    of_recipe = {name: x for name, x in row.items() if name in flags_of(Recipe)}
    flags = {**of_recipe, "augmentation": FLIP}
    assert chosen.recipe == override(METHODS[method], flags)
    values = flat(chosen)
    assert {name: values[name] for name in row} == row
    assert set(row) - set(of_recipe) <= {"zca", "gsam_alpha"}


# A row of every table, by hand from its source, beside what the method's code has for
# all of them.
CELLS = [
    # Commands of a benchmark (DC-BENCH); issue 31 of MTT's repository for image_lr.
    ("mtt", "cifar10", 10, {
        "student_steps": 30, "expert_epochs": 2, "max_start": 20, "min_start": 0,
        "first_start": None, "batch_syn": None, "zca": True, "image_lr": 100.0,
        "step_size_lr": 1e-5, "step_size": 0.001, "gradient": "exact", "gate": 0.0,
        "image_momentum": 0.5, "ema_decay": 0.0, "init": "real", "labels": "hard",
    }),
    # FTD's docs, Table 7; its example commands whiten CIFAR.
    ("ftd", "cifar10", 10, {
        "student_steps": 30, "max_start": 20, "step_size": 0.001, "gsam_alpha": 0.3,
        "ema_decay": 0.9995, "zca": True, "gradient": "exact",
    }),
    # TESLA's README; half of its image_lr, since its code loses a factor of 2.
    ("tesla", "cifar100", 50, {
        "student_steps": 80, "expert_epochs": 2, "max_start": 40, "image_lr": 500.0,
        "batch_syn": 125, "zca": True, "labels": "hard", "gradient": "truncated",
    }),
    ("tesla", "imagenet_resized/64x64", 1, {
        "student_steps": 10, "max_start": 10, "labels": "teacher", "batch_syn": 100,
        "image_lr": 5000.0, "zca": False,
    }),
    # DATM's configurations.
    ("datm", "cifar10", 1, {
        "student_steps": 80, "batch_syn": 10, "label_lr": 5.0, "gate": 1.1,
        "max_start": 4, "first_start": None, "step_size_lr": 1e-7, "init": "correct",
        "labels": "soft", "label_momentum": 0.9, "zca": True, "step_size": 0.01,
    }),
    # PAD, Table 7; the rate of the step size, gate and images are DATM's.
    ("pad", "cifar10", 10, {
        "mask": "depth", "mask_ratio": 0.25, "mask_granularity": "scalar",
        "student_steps": 80, "min_start": 0, "first_start": 10, "max_start": 20,
        "expansion": 1000, "batch_syn": 100, "label_lr": 2.0, "image_lr": 100.0,
        "step_size_lr": 1e-5, "gate": 1.0, "init": "correct",
    }),
    ("pad", "cifar100", 100, {
        "mask_ratio": 0.5, "min_start": 40, "first_start": 80, "max_start": 80,
        "expansion": 0, "image_lr": 50.0,
    }),
]  # fmt: skip


@pytest.mark.parametrize(("method", "dataset", "ipc", "expected"), CELLS)
def test_cells_by_hand(method, dataset, ipc, expected):
    values = flat(preset(method, dataset, ipc))
    assert {name: values[name] for name in expected} == expected


# Updates, samples per minibatch of the evaluation, radius of GSAM.
LENGTHS = {
    "mtt": (5001, 256, 0.0),
    "ftd": (5001, 256, 0.01),
    "tesla": (10001, 256, 0.0),
    "datm": (10001, 128, 0.01),
    "pad": (10001, 128, 0.01),
}


@pytest.mark.parametrize("method", TABLES)
def test_lengths_evaluations_and_experts(method):
    """An evaluation has the set's own step size; there are a hundred experts."""
    steps, batch, radius = LENGTHS[method]
    values = flat(preset(method, "cifar10", 1))
    expected = {
        "steps": steps, "eval_epochs": 1000, "eval_augmentation": FLIP,
        "eval_batch": batch, "eval_lr": None, "num_experts": 100, "expert_lr": 0.01,
        "expert_batch": 256, "gsam_rho": radius,
        # Of which DATM and PAD take the last for first images and labels.
        "bank_epochs": 100 if method in ("datm", "pad") else None,
    }  # fmt: skip
    assert {name: values[name] for name in expected} == expected
    alphas = {"mtt": 0.0, "ftd": 0.3, "tesla": 0.0, "datm": 0.3, "pad": 0.3}
    assert values["gsam_alpha"] == alphas[method]


@pytest.mark.parametrize(("dataset", "whole"), [("cifar10", 20), ("cifar100", 40)])
def test_only_pad_leaves_samples_out(dataset, whole):
    """The release removes 10 % after epoch 40; the paper removes once."""
    window = preset("pad", dataset, 10).window
    assert window.curriculum() == Curriculum(0.75, whole, ((40, 0.1),))
    for method in set(TABLES) - {"pad"}:
        assert preset(method, dataset, 1).window.curriculum() == Curriculum()


def test_start_epochs_are_constant_or_grow():
    """DATM's "T" and "Ex"; PAD's interval, by which the bound grows by one."""
    constant, growing = (preset("datm", "cifar10", n) for n in (500, 50))
    assert constant.recipe.spans.starts() == StartEpochs(40, 60)
    assert growing.recipe.spans.starts() == StartEpochs(0, 40, 20, 2000)
    starts = preset("pad", "tiny_imagenet", 1).recipe.spans.starts()
    bounds = [int(starts.bound(jnp.int32(step))) for step in (0, 399, 400, 5999, 6000)]
    assert bounds == [15, 15, 16, 29, 30]


ELSEWHERE = [("mnist", 10), ("npz:pets", 2), ("svhn_cropped", 1)]


@pytest.mark.parametrize("method", TABLES)
@pytest.mark.parametrize(("dataset", "ipc"), ELSEWHERE)
def test_without_published_settings_the_start_epochs_are_open(method, dataset, ipc):
    """The bank's length decides; the rest is the recipe's own."""
    chosen, recipe = preset(method, dataset, ipc), METHODS[method]
    open_ended = replace(recipe, learner=replace(recipe.spans, max_start=None))
    augmentation = chosen.recipe.objective.augmentation
    flags = {"augmentation": augmentation}
    if recipe.mask is not None:
        flags["mask_ratio"] = 0.25  # a mask that drops something
    assert chosen.recipe == override(open_ended, flags)
    assert ("flip" in augmentation) == (dataset == "npz:pets")
    assert not chosen.scaling.zca
    assert chosen.experts.gsam_alpha == {"ftd": 0.4, "datm": 0.3, "pad": 0.3}.get(
        method, 0.0
    )


@pytest.mark.parametrize("method", TABLES)
def test_between_published_numbers_the_nearest_row_counts(method):
    """No jump to other defaults: as much whitening, and the same steps of students."""
    sizes = sorted(size for name, size in TABLES[method] if name == "cifar10")
    assert preset(method, "cifar10", 10**6) == preset(method, "cifar10", sizes[-1])
    assert preset(method, "cifar10", 2) == preset(method, "cifar10", 1)
    if 10 in sizes:
        assert preset(method, "cifar10", 5) == preset(method, "cifar10", 10)
        assert preset(method, "cifar10", 20) == preset(method, "cifar10", 10)


@pytest.mark.parametrize(
    ("method", "dataset", "ipc", "words"),
    [
        ("datm", "cifar10", 10, None),
        (
            "datm",
            "cifar10",
            20,
            "for cifar10 at 20 per class: those of 10 per class",
        ),
        ("mtt", "npz:pets", 1, "of mtt are known for npz:pets: its defaults"),
        ("mtt", "tiny_imagenet_subset", 1, None),
        ("dsa", "folder:pets", 1, "for folder:pets: its defaults are taken"),
        ("dsa", "cifar10", 5, "its loops follow a rule"),
        ("dm", "cifar10", 5, None),
        ("rat_bptt", "cifar10", 10, None),
        ("rat_bptt", "cifar10", 1, "a row of ours is taken"),
        ("rat_bptt", "cifar10", 7, "a horizon of 200 steps"),
        ("dsa", "folder:pets", 5, "its defaults are taken, and its loops follow"),
        ("dsa", "digits", 7, None),
        ("dsa", "table:pets.csv", 1, "those of the digits"),
    ],
)
def test_what_stands_in_is_said(method, dataset, ipc, words):
    sentence = unpublished(method, dataset, ipc)
    assert sentence is None if words is None else words in sentence


@pytest.mark.parametrize("method", TABLES)
def test_on_digits_the_bank_is_long_enough_for_every_span(method):
    chosen: Preset = preset(method, "digits", 10)
    recipe, experts = chosen.recipe, chosen.experts
    last = recipe.spans.starts().highest - 1
    assert last + recipe.span_epochs <= experts.epochs
    assert (chosen.length.steps, chosen.scaling.zca) == (300, False)
    assert (flat(recipe).get("mask_ratio", 0) > 0) == (method == "pad")
    assert (chosen.window.curriculum() != Curriculum()) == (method == "pad")


@pytest.mark.parametrize("ipc", [0, -1])
def test_there_is_an_image_of_each_class(ipc):
    for look_up in (preset, unpublished):
        with pytest.raises(UserError, match="must be at least 1"):
            look_up("mtt", "cifar10", ipc)
