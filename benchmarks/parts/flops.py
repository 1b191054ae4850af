"""Floating-point operations of a step, counted from the shapes of the convolutions.

XLA's `cost_analysis` counts the body of a loop once, and our steps are loops. So the
count is analytic: f operations for one image's forward pass (a convolution costs twice
its outputs times kernel size times input channels, the head twice its inputs times
classes), f1 of them in the first convolution. Norms, activations, pooling, augmentation
and optimisers are left out. With each product's derivatives as products of its size:

gradient w.r.t. parameters           3 f -   f1   forward, weights, inputs but the first
... and forward mode along it
    for the images alone             6 f - 2 f1   what `inner_gradient` answers with,
                                                  and a student step's under TESLA
    for images and parameters        8 f - 3 f1   a student step's backward pass

This is what our rules need, so the fraction of the peak says how well they are carried
out, not how few operations another formulation would take.
"""

import math
from typing import Any

from benchmarks.parts.cases import SDC, Case, Setting
from jaxdd.learners.aged import AgedPool
from jaxdd.learners.pools import Pool, RealPool
from jaxdd.learners.windows import Windows
from jaxdd.nets.layers import first_padding
from jaxdd.objectives.bases import SampleMatching
from jaxdd.objectives.distribution import FeatureMatching
from jaxdd.objectives.regression import FeatureRegression
from jaxdd.objectives.trajectory import TrajectoryMatching
from jaxdd.objectives.unrolled import UnrolledLoss


def forward(setting: Setting) -> tuple[int, int]:
    """(f, f1) of one image: all layers, and the first convolution of them."""
    height, width, channels = setting.shape
    extra = 2 * first_padding(setting.shape, 0)
    total, first = 0, 0
    for block in range(setting.depth):
        if block == 0:
            height, width = height + extra, width + extra
        cost = 2 * height * width * 9 * channels * setting.width
        first = first or cost
        total += cost
        height, width, channels = height // 2, width // 2, setting.width
    return total + 2 * height * width * channels * setting.classes, first


def gradient(setting: Setting) -> int:
    """Of one image, w.r.t. the parameters."""
    f, first = forward(setting)
    return 3 * f - first


def match(setting: Setting) -> int:
    """Of one synthetic image whose gradient is matched, with the image gradient."""
    f, first = forward(setting)
    return gradient(setting) + 6 * f - 2 * first


def student(setting: Setting, truncated: bool = False) -> int:
    """Of one image in one student step, with the backward pass."""
    f, first = forward(setting)
    backward = 6 * f - 2 * first if truncated else 8 * f - 3 * first
    return gradient(setting) + backward


def step(case: Case) -> int | None:
    """Of one outer step of a method; None where it is not counted."""
    setting, recipe = case.setting, case.recipe
    objective, learner = recipe.objective, recipe.learner
    decoded = recipe.formation.count(case.ipc)
    count = setting.classes * decoded
    if isinstance(objective, TrajectoryMatching):
        shown = min(objective.batch_syn or count, count)
        truncated = objective.gradient == "truncated"
        total = objective.student_steps * shown * student(setting, truncated)
        # The norm at the student's first step takes a gradient of its own.
        return total + (shown * match(setting) if case.name.endswith(SDC) else 0)
    if isinstance(objective, UnrolledLoss):
        return unrolled(setting, objective, learner, decoded)
    if isinstance(objective, FeatureRegression) and isinstance(learner, AgedPool):
        f, rows = forward(setting)[0], count * (2 if objective.flip else 1)
        trained = (learner.least_steps + learner.most_steps) / 2 * count
        whole = objective.batch_mixed * f + rows * 2 * f
        return whole + round(trained * gradient(setting))
    if not isinstance(objective, SampleMatching):
        return None
    shown = setting.classes * min(objective.batch_syn or decoded, decoded)
    real = setting.classes * objective.batch_real
    if isinstance(objective, FeatureMatching):
        extra = match(setting) if case.name.endswith(SDC) else 0
        f = forward(setting)[0]
        return real * f + shown * (2 * f + extra)
    trained = 0
    if learner.matches > 1 and isinstance(learner, Pool):
        trained = learner.inner_epochs * count
    if learner.matches > 1 and isinstance(learner, RealPool):
        trained = math.ceil(learner.samples / learner.batch) * learner.batch
    return (real + trained) * gradient(setting) + shown * match(setting)


def unrolled(
    setting: Setting, objective: UnrolledLoss, learner: Any, images: int
) -> int:
    """Of one outer step of RaT-BPTT, with the mean number of steps before a window.

    The backward pass of Adam computes the gradient of a step once more.
    """
    classes = min(objective.inner_classes or setting.classes, setting.classes)
    shown = classes * min(objective.inner_images or images, images)
    steps, before = objective.student_steps, 0
    if isinstance(learner, Windows):
        latest = learner.horizon - steps
        earliest = latest if learner.policy == "fixed" else learner.min_warmup
        before = (earliest + latest) // 2
        before += learner.horizon if learner.policy == "adaptive" else 0
    again = gradient(setting) if objective.student_optimizer == "adam" else 0
    of_window = steps * (student(setting) + again)
    trained = shown * (before * gradient(setting) + of_window)
    return trained + objective.batch_mixed * gradient(setting)
