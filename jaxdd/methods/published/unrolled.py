"""Settings of training through a window (RaT-BPTT), per dataset and ipc.

Source: Feng, Vedantam, Kempe, "Embarrassingly Simple Dataset Distillation", ICLR 2024,
the commands in the readme of the official code. A row names flags.
"""

from typing import Any, NamedTuple

from jaxdd.augment import dsa_strategy
from jaxdd.fields import override
from jaxdd.methods.published import digits
from jaxdd.methods.published.names import known_as
from jaxdd.methods.published.preset import Length, Preset, Setting
from jaxdd.methods.recipe import Recipe
from jaxdd.training.schedules import EvaluationSpec


class Row(NamedTuple):
    """A command: T, W, where windows lie, real samples, minibatches of students."""

    horizon: int
    student_steps: int
    policy: str
    batch_mixed: int
    inner_images: int
    inner_classes: int
    labels: str
    image_lr: float


# Tiny ImageNet has a second row there, "stabilised": --policy=fixed --horizon=270
# --student_steps=90 --batch_mixed=2000.
TABLE: dict[tuple[str, int], Row] = {
    ("cifar10", 10): Row(200, 60, "random", 5000, 10, 10, "hard", 1e-3),
    ("cifar100", 10): Row(300, 100, "random", 5000, 1, 100, "weights", 1e-3),
    ("cifar100", 1): Row(130, 90, "fixed", 5000, 1, 100, "weights", 3e-4),
    ("tiny_imagenet", 10): Row(300, 100, "random", 1000, 1, 50, "weights", 3e-4),
    ("imagenet_resized", 1): Row(280, 80, "fixed", 1500, 1, 50, "weights", 3e-4),
}
# Of the paper's tables, but not in the readme: ours, after the rows above.
OUR_ROWS: dict[tuple[str, int], Row] = {
    ("cifar10", 1): Row(200, 60, "random", 5000, 1, 10, "hard", 1e-3),
    ("cifar10", 50): Row(200, 60, "random", 5000, 10, 10, "hard", 1e-3),
    ("cifar100", 50): Row(300, 100, "random", 5000, 1, 100, "weights", 1e-3),
    ("tiny_imagenet", 1): Row(300, 100, "random", 1000, 1, 50, "weights", 3e-4),
}
# Ours, where nothing is published, and for the digits: by the time that a run takes.
ELSEWHERE: dict[str, Any] = {"horizon": 200, "student_steps": 60, "batch_mixed": 1000}
# From real images, since runs from noise may get stuck; without rotations, which cost
# points on 8x8 pixels; and with a short horizon, since a student knows ten images by
# heart after 20 steps, where the gradient becomes noise. By accuracy on 30 % held out
# (one seed, one image per class): 92.4 % at a horizon of 20, 90.4 % at 40.
DIGITS: dict[str, Any] = {
    "init": "real",
    "augmentation": "none",
    "eval_augmentation": "none",
    "horizon": 20,
    "student_steps": 15,
    "batch_mixed": 256,
    "student_lr": 0.01,
    "image_lr": 0.03,
    "eval_lr": 0.01,
    "eval_epochs": 100,
}
# Updates of the images: the official runs are stopped by hand (ours).
STEPS = 10_000
# Steps of a network in the evaluation: one of the official four, of which the best on
# the test split is published.
EVALUATION_STEPS = 1000
CLASSES = {"cifar10": 10, "cifar100": 100, "tiny_imagenet": 200}


def settings(dataset: str, ipc: int) -> dict[str, Any]:
    """The flags of a dataset at a number of images per class.

    Those of the evaluation train by minibatches of the size of a student's, for
    `EVALUATION_STEPS` steps.
    """
    if dataset == "digits":
        return dict(DIGITS)
    rows = TABLE | OUR_ROWS
    name = known_as(dataset, {name for name, _ in rows})
    if name is not None and (name, ipc) in rows:
        row = rows[name, ipc]
        return {**row._asdict(), **_evaluation(row, CLASSES.get(name, 1000) * ipc)}
    return {**ELSEWHERE, "eval_epochs": EVALUATION_STEPS}


def stand_in(dataset: str, ipc: int) -> str | None:
    """What is taken where the table has no row, in words; None where it has."""
    keys = [key for key in (*TABLE, *OUR_ROWS) if key[1] == ipc]
    name = known_as(dataset, {name for name, _ in keys})
    if name is None:
        return "its defaults are taken, a horizon of 200 steps and windows of 60"
    is_ours = (name, ipc) in OUR_ROWS
    return "a row of ours is taken, made after the others" if is_ours else None


def _evaluation(row: Row, images: int) -> dict[str, Any]:
    """The minibatches and epochs of the evaluation, and what learned labels need."""
    size = row.inner_images * row.inner_classes
    flags: dict[str, Any] = {
        "eval_batch": size,
        "eval_epochs": max(1, round(EVALUATION_STEPS * size / images)),
    }
    if row.labels == "weights":
        flags |= {"label_lr": row.image_lr, "eval_loss": "row_cross_entropy"}
    return flags


def unrolled(method: str, recipe: Recipe, setting: Setting) -> Preset:
    """Training through a window."""
    del method
    dataset, ipc, _, _ = setting
    strategy = _without_flip(recipe.objective.augmentation, dataset)
    # Whitening is published for CIFAR (there of another kind: that of KIP).
    row: dict[str, Any] = {
        "augmentation": strategy,
        "eval_augmentation": strategy,
        "zca": dataset in ("cifar10", "cifar100"),
        "steps": digits.STEPS if dataset == "digits" else STEPS,
        "eval_optimizer": "adam",
        "eval_schedule": "constant",
        **settings(dataset, ipc),
    }
    return override(Preset(recipe, Length(), EvaluationSpec(lr=1e-3)), row)


def _without_flip(strategy: str, dataset: str) -> str:
    """The strategy, without mirrored digits (ours, as DSA has it)."""
    mirrored = "flip" in dsa_strategy(dataset)
    return strategy if mirrored else strategy.replace("flip_", "")
