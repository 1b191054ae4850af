"""Published settings of trajectory matching, per dataset and images per class.

A row names flags; the comment above a table says where it is from. Start epochs:
`max_start` is exclusive (T+), `first_start` the bound at step 0 (T).
"""

from dataclasses import replace
from typing import Any

from jaxdd.augment import dsa_strategy
from jaxdd.experts.recipe import Experts
from jaxdd.fields import override
from jaxdd.learners.spans import Spans
from jaxdd.methods.published import digits
from jaxdd.methods.published.names import nearest
from jaxdd.methods.published.preset import Length, Preset, Setting
from jaxdd.methods.recipe import Recipe
from jaxdd.modifiers.curriculum import Window
from jaxdd.training.schedules import EvaluationSpec

Rows = dict[tuple[str, int], dict[str, Any]]


# The tables have whole numbers here; the settings are floats.
FLOATS = ("image_lr", "label_lr", "gate")


def _rows(fields: str, table: dict[tuple[str, int], tuple]) -> Rows:
    names = fields.split()
    rows = {key: dict(zip(names, row, strict=True)) for key, row in table.items()}
    for row in rows.values():
        row.update({name: float(row[name]) for name in FLOATS if name in row})
        if "interval" in row:
            growth = row["max_start"] - row["first_start"]
            row["expansion"] = row.pop("interval") * growth
    return rows


# MTT's full table is an image outside its repository; these are the commands of a
# third-party benchmark, with image_lr 100 at CIFAR-10, 10 per class: the author calls
# the 1e5 that circulates a typo (issue 31 of the repository).
MTT = _rows(
    "student_steps expert_epochs max_start batch_syn zca image_lr step_size_lr "
    "step_size",
    {
        ("cifar10", 1): (50, 2, 2, None, True, 1e2, 1e-7, 0.01),
        ("cifar10", 10): (30, 2, 20, None, True, 1e2, 1e-5, 0.001),
        ("cifar10", 50): (30, 2, 40, None, False, 1e3, 1e-5, 0.001),
        ("cifar100", 1): (20, 3, 20, None, True, 1e3, 1e-5, 0.01),
        ("cifar100", 10): (20, 2, 20, None, False, 1e3, 1e-5, 0.01),
        ("cifar100", 50): (80, 2, 40, 125, True, 1e3, 1e-5, 0.01),
        ("tiny_imagenet", 1): (10, 2, 10, None, False, 1e4, 1e-4, 0.01),
        ("tiny_imagenet", 10): (20, 2, 40, 200, False, 1e4, 1e-4, 0.01),
        ("tiny_imagenet", 50): (20, 2, 40, 300, False, 1e4, 1e-4, 0.01),
    },
)

# FTD, Table 7 of its repository's docs; ZCA as in its example commands. `gsam_alpha`
# belongs to the experts.
FTD = _rows(
    "student_steps expert_epochs max_start batch_syn image_lr step_size_lr step_size "
    "gsam_alpha ema_decay",
    {
        ("cifar10", 1): (50, 2, 2, None, 1e2, 1e-7, 0.01, 0.3, 0.9999),
        ("cifar10", 10): (30, 2, 20, None, 1e2, 1e-5, 0.001, 0.3, 0.9995),
        ("cifar10", 50): (30, 2, 40, None, 1e3, 1e-5, 0.01, 1.0, 0.999),
        ("cifar100", 1): (40, 3, 20, None, 1e3, 1e-5, 0.01, 1.0, 0.9995),
        ("cifar100", 10): (20, 2, 40, None, 1e3, 1e-5, 0.01, 1.0, 0.9995),
        ("cifar100", 50): (80, 2, 40, 1000, 1e3, 1e-5, 0.01, 1.0, 0.999),
        ("tiny_imagenet", 1): (30, 2, 10, None, 1e4, 1e-4, 0.01, 1.0, 0.999),
        ("tiny_imagenet", 10): (20, 2, 40, 500, 1e4, 1e-4, 0.01, 1.0, 0.999),
    },
)

# TESLA's README. Its code applies half of the image gradient it derives (the factor 2
# multiplies a tuple); the gradient here is the whole one, so image_lr is half of the
# published 1000, 1000 and 10000, and of its default of 1000 elsewhere.
TESLA = _rows(
    "student_steps expert_epochs max_start image_lr step_size_lr step_size batch_syn "
    "zca labels",
    {
        ("cifar10", 1): (50, 2, 5, 500.0, 1e-7, 0.01, None, False, "hard"),
        ("cifar100", 50): (80, 2, 40, 500.0, 1e-5, 0.01, 125, True, "hard"),
        ("imagenet_resized", 1): (10, 3, 10, 5e3, 1e-4, 0.01, 100, False, "teacher"),
    },
)

# DATM, the configurations of its repository.
DATM = _rows(
    "student_steps expert_epochs image_lr step_size_lr label_lr batch_syn min_start "
    "first_start max_start expansion gate init",
    {
        ("cifar10", 1): (80, 2, 100, 1e-7, 5, 10, 0, None, 4, 0, 1.1, "correct"),
        ("cifar10", 10): (80, 2, 100, 1e-5, 2, 100, 0, 10, 20, 1000, 1, "correct"),
        ("cifar10", 50): (80, 2, 1000, 1e-5, 2, 500, 0, 20, 40, 2000, 1, "correct"),
        ("cifar10", 500): (40, 2, 50, 1e-5, 10, 1000, 40, None, 60, 0, 1, "correct"),
        ("cifar10", 1000): (100, 2, 50, 1e-5, 10, 1000, 40, None, 60, 0, 1, "correct"),
        ("cifar100", 1): (40, 3, 1000, 1e-5, 10, 1000, 0, 10, 20, 1000, 1, "correct"),
        ("cifar100", 10): (80, 2, 1000, 1e-5, 10, 1000, 0, 30, 50, 2000, 1, "correct"),
        ("cifar100", 50): (80, 2, 1000, 1e-5, 10, 1000, 20, None, 70, 0, 1, "real"),
        ("cifar100", 100): (80, 2, 50, 1e-5, 10, 1000, 30, None, 70, 0, 1, "correct"),
        ("tiny_imagenet", 1): (
            40, 2, 10000, 1e-4, 10, 1000, 0, 15, 20, 2000, 1, "correct",
        ),
        ("tiny_imagenet", 10): (
            40, 2, 100, 1e-4, 10, 500, 10, None, 50, 0, 1, "correct",
        ),
        ("tiny_imagenet", 50): (
            20, 2, 100, 1e-4, 10, 1000, 40, None, 70, 0, 1, "correct",
        ),
    },
)  # fmt: skip

# PAD's paper, Table 7. The table has no learning rate of the step size and no gate:
# DATM's. Its "interval" is the steps per epoch by which the start range grows, from
# which the flag `expansion` follows.
PAD = _rows(
    "mask_ratio student_steps expert_epochs min_start first_start max_start interval "
    "batch_syn label_lr image_lr",
    {
        ("cifar10", 1): (0.0, 80, 2, 0, 4, 4, 0, 10, 5, 100),
        ("cifar10", 10): (0.25, 80, 2, 0, 10, 20, 100, 100, 2, 100),
        ("cifar10", 50): (0.25, 80, 2, 0, 20, 40, 100, 500, 2, 1000),
        ("cifar10", 500): (0.5, 80, 2, 40, 60, 60, 0, 1000, 10, 50),
        ("cifar10", 1000): (0.75, 80, 2, 40, 60, 60, 0, 1000, 10, 50),
        ("cifar100", 1): (0.0, 40, 3, 0, 10, 20, 100, 100, 10, 1000),
        ("cifar100", 10): (0.25, 80, 2, 0, 20, 40, 100, 1000, 10, 1000),
        ("cifar100", 50): (0.5, 80, 2, 40, 60, 80, 100, 1000, 10, 1000),
        ("cifar100", 100): (0.5, 80, 2, 40, 80, 80, 0, 1000, 10, 50),
        ("tiny_imagenet", 1): (0.0, 60, 2, 0, 15, 30, 400, 200, 10, 10000),
        ("tiny_imagenet", 10): (0.25, 60, 2, 0, 20, 40, 100, 250, 10, 100),
        ("tiny_imagenet", 50): (0.5, 80, 2, 20, 40, 60, 100, 250, 10, 100),
    },
)

TABLES: dict[str, Rows] = {
    "mtt": MTT,
    "ftd": FTD,
    "tesla": TESLA,
    "datm": DATM,
    "pad": PAD,
}
# Updates of the images: the official loops run from 0 to `Iteration` inclusive.
STEPS = {"mtt": 5001, "ftd": 5001, "tesla": 10001, "datm": 10001, "pad": 10001}
# Ours, for trajectories on digits: small experts that are trained within seconds.
DIGITS_TRAJECTORY: dict[str, Any] = {
    "student_steps": 20,
    "expert_epochs": 2,
    "max_start": 6,
    "image_lr": 10.0,
    "step_size_lr": 1e-5,
    "step_size": 0.01,
}
DIGITS_LABEL_LR = 1.0
# Ours, where PAD's table lacks the dataset: its least ratio that drops anything.
MASK_RATIO = 0.25
# PAD removes easy samples once in the paper, which does not say when (its code: 10 %
# after epoch 40 and 20 % after 60): the first of the code's two steps is ours.
REMOVALS = ((40, 0.1),)

# Experts of each method; FTD's alpha per dataset is in its table. PAD's window is
# its Table 7, with AEE 40 where no other value is published.
EXPERTS = {
    "mtt": Experts(),
    "ftd": Experts(gsam_rho=0.01, gsam_alpha=0.4),
    "tesla": Experts(),
    "datm": Experts(gsam_rho=0.01, gsam_alpha=0.3),
    "pad": Experts(gsam_rho=0.01, gsam_alpha=0.3),
}
WINDOWS = {
    "pad": Window(init_ratio=0.75, add_end_epoch=40, removals=REMOVALS),
}
AEE = {"cifar10": 20}
DIGITS_WINDOW: dict[str, Any] = {"add_end_epoch": 3, "removals": ((5, 0.1),)}
# Whose settings fill what a method's own table leaves out.
COMPLETED_BY = {"pad": "datm"}
# DATM and PAD evaluate as learned labels need it, and start from the images and labels
# of experts at the end of their published training, long after the last start epoch.
SOFT_EVALUATION: dict[str, Any] = {"eval_batch": 128}
WHOLE_EPOCHS = 100


def nearest_row(method: str, dataset: str, ipc: int) -> dict[str, Any] | None:
    """The row of a trajectory method; None where its table lacks the dataset.

    Where the number of images per class is not in the table, it is the row of the
    nearest one (ours). See `names.known_as` for names such as "tiny_imagenet_subset".
    """
    key = nearest(TABLES[method], dataset, ipc)
    return None if key is None else dict(TABLES[method][key])


def stand_in(method: str, dataset: str, ipc: int) -> str | None:
    """What is taken where the table has no row, in words; None where it has."""
    key = nearest(TABLES[method], dataset, ipc)
    if key is None:
        return "its defaults are taken, with start epochs as far as the experts reach"
    return None if key[1] == ipc else f"those of {key[1]} per class are taken"


def trajectories(method: str, recipe: Recipe, setting: Setting) -> Preset:
    """Trajectory matching; MTT's defaults where a table lacks the dataset."""
    dataset, ipc, _, _ = setting
    assert isinstance(recipe.learner, Spans)
    open_ended = replace(recipe.learner, max_start=None)
    base = Preset(
        replace(recipe, learner=open_ended),
        Length(),
        EvaluationSpec(),
        window=WINDOWS.get(method, Window()),
        experts=EXPERTS[method],
    )
    strategy = dsa_strategy(dataset)
    row: dict[str, Any] = {
        "augmentation": strategy,
        "eval_augmentation": strategy,
        "eval_epochs": 1000,
        "steps": STEPS[method],
    }
    if recipe.learned_labels:
        row |= SOFT_EVALUATION
    table = nearest_row(method, dataset, ipc)
    if table is None and recipe.mask is not None:
        row["mask_ratio"] = MASK_RATIO
    elif table is not None:
        # Whitening is published for CIFAR, and by DATM and PAD for all their datasets.
        row["zca"] = recipe.learned_labels or dataset in ("cifar10", "cifar100")
        if recipe.learned_labels:
            row["bank_epochs"] = WHOLE_EPOCHS
        completed = COMPLETED_BY.get(method, method)
        row |= {**(nearest_row(completed, dataset, ipc) or {}), **table}
    windowed = method in WINDOWS
    if windowed and dataset in AEE:
        row["add_end_epoch"] = AEE[dataset]
    if dataset == "digits":
        row |= {"steps": digits.STEPS, **DIGITS_TRAJECTORY, **digits.EXPERTS}
        row |= DIGITS_WINDOW if windowed else {}
        if recipe.learned_labels:
            row["label_lr"] = DIGITS_LABEL_LR
        if recipe.images.ema_decay:
            row["ema_decay"] = 0.99  # a few hundred steps
    return override(base, row)
