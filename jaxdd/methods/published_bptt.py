"""Settings of training through a window (RaT-BPTT), per dataset and ipc: data.

Source: Feng, Vedantam, Kempe, "Embarrassingly Simple Dataset Distillation", ICLR 2024,
the commands in the readme of the official code. A row names flags.
"""

from typing import Any

Rows = dict[tuple[str, int], dict[str, Any]]

# Tiny ImageNet has a second, "stabilised" row there: --policy=fixed --horizon=270
# --student_steps=90 --batch_mixed=2000.
_NAMES = (
    "horizon", "student_steps", "policy", "batch_mixed", "inner_images",
    "inner_classes", "labels", "image_lr",
)  # fmt: skip
_ROWS: dict[tuple[str, int], tuple[Any, ...]] = {
    ("cifar10", 10): (200, 60, "random", 5000, 10, 10, "hard", 1e-3),
    ("cifar100", 10): (300, 100, "random", 5000, 1, 100, "weights", 1e-3),
    ("cifar100", 1): (130, 90, "fixed", 5000, 1, 100, "weights", 3e-4),
    ("tiny_imagenet", 10): (300, 100, "random", 1000, 1, 50, "weights", 3e-4),
    ("imagenet_resized", 1): (280, 80, "fixed", 1500, 1, 50, "weights", 3e-4),
    # Not in the readme; ours, after the rows above.
    ("cifar10", 1): (200, 60, "random", 5000, 1, 10, "hard", 1e-3),
    ("cifar10", 50): (200, 60, "random", 5000, 10, 10, "hard", 1e-3),
    ("cifar100", 50): (300, 100, "random", 5000, 1, 100, "weights", 1e-3),
    ("tiny_imagenet", 1): (300, 100, "random", 1000, 1, 50, "weights", 3e-4),
}
TABLE: Rows = {key: dict(zip(_NAMES, row, strict=True)) for key, row in _ROWS.items()}
# Ours, where nothing is published, and for the digits: by the time that a run takes.
ELSEWHERE: dict[str, Any] = {"horizon": 200, "student_steps": 60, "batch_mixed": 1000}
DIGITS: dict[str, Any] = {
    "horizon": 40, "student_steps": 15, "batch_mixed": 256, "inner_lr": 0.01,
    "image_lr": 0.01,
}  # fmt: skip
# The official runs are stopped by hand (ours).
STEPS = 10_000
# Steps of the evaluation's training: one of the official four numbers of steps.
EVALUATION_STEPS = 1000


def settings(dataset: str, ipc: int) -> dict[str, Any]:
    """The flags of a dataset at a number of images per class."""
    if dataset == "digits":
        return dict(DIGITS)
    for (name, images), row in TABLE.items():
        of_name = dataset == name or dataset.startswith((f"{name}_", f"{name}/"))
        if images == ipc and of_name:
            return dict(row)
    return dict(ELSEWHERE)
