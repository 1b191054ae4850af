"""Trajectory matching: a student on the synthetic set follows an expert."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax

from jaxdd import augment as augmentations
from jaxdd.devices.needs import KEY, NUMBER, Need
from jaxdd.fields import Choice, option
from jaxdd.modifiers.masks import Masking
from jaxdd.objectives.bases import AUGMENTATION
from jaxdd.objectives.parts import Parts
from jaxdd.objectives.set_lifts import per_span
from jaxdd.objectives.shapes import parameters_of
from jaxdd.primitives.evidence import later_gradient
from jaxdd.primitives.losses import mean_loss, present
from jaxdd.primitives.trees import apply_mask, total
from jaxdd.primitives.unroll import student_step, unroll
from jaxdd.synthetic.optimizer import STEP_SIZE_MOMENTUM
from jaxdd.synthetic.sets import flatten
from jaxdd.types import (
    Array,
    Batch,
    Key,
    Learner,
    Network,
    Objective,
    Params,
    PathEvidence,
    Scalar,
    SpanMatch,
    Synthetic,
)


def minibatches(
    key: Key, present: Array, size: int | None, steps: int
) -> tuple[Array, Array]:
    """Indices of the images of each student step, in passes of random order.

    Every pass is a new permutation cut into consecutive minibatches; where `size` does
    not divide the number of images the last one of a pass is short and filled up with
    rows of weight 0. The official loop takes the short one first, which is the same in
    distribution. Source: MTT's official code.

    Args:
        key: consumed.
        present: [N] bool, which rows are images and not padding.
        size: images per minibatch; None or at least N for the whole set.
        steps: the steps of the student.

    Returns:
        indices [steps, size] int32 and weights [steps, size] float32.

    Example:
        >>> present = jnp.ones(5, bool)
        >>> indices, weights = minibatches(jax.random.key(0), present, 2, steps=3)
        >>> sorted(indices[weights > 0].tolist()), weights.sum(axis=1).tolist()
        ([0, 1, 2, 3, 4], [2.0, 2.0, 1.0])
    """
    images = present.shape[0]
    size = images if size is None else min(size, images)
    count = jnp.maximum(jnp.sum(present), 1)
    per_pass = -(-count // size)

    def one_step(i: Array) -> tuple[Array, Array]:
        order = jax.random.permutation(jax.random.fold_in(key, i // per_pass), images)
        order = order[jnp.argsort(~present[order], stable=True)]  # padding last
        slots = i % per_pass * size + jnp.arange(size)
        # Batch norm sees the rows of weight 0 too: let them be images.
        return order[slots % count], (slots < count) * jnp.any(present)

    indices, weights = jax.vmap(one_step)(jnp.arange(steps))
    return indices, weights.astype(jnp.float32)


def trajectory_match(
    network: Network,
    augment: Callable[[Key, Array], Array],
    student_steps: int,
    batch_size: int | None = None,
    *,
    microbatch: int | None = None,
    truncated: bool = False,
    along_path: bool = False,
    mask: Masking | None = None,
) -> SpanMatch:
    """The distance of a student from the expert's later parameters.

    L = |theta_N - theta*|^2 / |theta_0 - theta*|^2 with theta_{i+1} = theta_i - eta
    grad l(theta_i): 1 means no progress over standing still. Cazenavette et al.,
    "Dataset Distillation by Matching Training Trajectories", CVPR 2022, eq. (2); with a
    mask numerator and denominator are restricted to the same entries (Li et al.,
    "Prioritize Alignment in Dataset Distillation", 2024).

    Args:
        network: the architecture of the experts.
        augment: (key, images) -> images, applied to the student's minibatches.
        student_steps: N, the steps of the student.
        batch_size: images per student step; None for the whole set.
        microbatch: samples per chunk of the student's gradients; None with batch norm.
        truncated: TESLA's gradient, which ignores how a step's parameters depend on the
            images of the steps before.
        along_path: whether the norms in the evidence carry a gradient.
        mask: the parameters that are matched, a function of their squared error.

    Returns:
        The match of a span.

    Example:
        >>> start = jaxdd.initial_set(key, "real", real, ipc=1)
        >>> target = network.init(jax.random.key(1))[0]
        >>> match = trajectory_match(network, lambda key, images: images, 2)
        >>> still = start._replace(step_size=jax.numpy.float32(0))
        >>> float(match(key, still, target, learner)[0])
        1.0
    """

    def prepare(data: Batch, context) -> Batch:
        key, indices, weights = context
        images = augment(key, data.images[indices])
        return Batch(images, data.labels[indices] * weights[:, None])

    step = student_step(
        mean_loss(network, train=True),
        prepare,
        microbatch=microbatch,
        truncated=truncated,
        differentiable_norm=along_path,
    )

    def match(
        key: Key, synthetic: Synthetic, target: Params, learner: Learner
    ) -> tuple[Scalar, PathEvidence]:
        data = flatten(synthetic)
        key_order, key_augment = jax.random.split(key)
        is_image = jax.lax.stop_gradient(present(data.labels))
        chosen = minibatches(key_order, is_image, batch_size, student_steps)
        contexts = (jax.random.split(key_augment, student_steps), *chosen)
        end, norms = unroll(
            step, learner.params, data, synthetic.step_size, learner.stats, contexts
        )
        missed = _squares(end, target)  # at the end, and at the start
        missed_first = _squares(learner.params, target)
        if mask is not None:
            entries = mask(missed)
            missed = apply_mask(entries, missed)
            missed_first = apply_mask(entries, missed_first)
        first = prepare(data, jax.tree.map(lambda x: x[0], contexts))
        value = total(missed) / jax.lax.stop_gradient(total(missed_first))
        # Batch norm of a student in training uses the statistics of its batch.
        gradient = later_gradient(network, learner, first, train=True)
        return value, PathEvidence(first, gradient, norms, end)

    return match


def _squares(a: Params, b: Params) -> Params:
    return jax.tree.map(lambda x, y: (x - y) ** 2, a, b)


@dataclass(frozen=True)
class TrajectoryMatching(Choice):
    """A student has to reach what an expert reached (MTT, FTD, TESLA, DATM, PAD).

    Attributes:
        augmentation: of the student's training, per image.
        batch_syn: synthetic images per student step; None for all.
        student_steps: N, steps of a student.
        expert_epochs: M, epochs that a span covers.
        gradient: "exact", or "truncated" (TESLA's, without Hessian products).
        step_size: the student's learning rate at the start.
        step_size_lr: rate of SGD with momentum 0.5 on it; 0 keeps it.
    """

    name: ClassVar[str] = "trajectory"
    subject: ClassVar[str] = "matching trajectories"
    log_step_size: ClassVar[bool] = False

    augmentation: str = option("none", AUGMENTATION)
    batch_syn: int | None = option(
        None,
        "synthetic images in a step of a student, or of a class in a match; "
        "default: all",
        above=0,
    )
    student_steps: int = option(
        20, "steps that a student takes on the synthetic set (N in the papers)", above=0
    )
    expert_epochs: int = option(
        3,
        "epochs of an expert's training that a student has to bridge (M in the papers)",
        above=0,
    )
    gradient: str = option(
        "exact",
        "gradient through the steps of a student: exact, or without second "
        "derivatives (truncated, as in TESLA)",
        choices=("exact", "truncated"),
    )
    step_size: float = option(
        0.01,
        "learning rate of a student (the step size) at the start of the run",
        above=0,
    )
    step_size_lr: float = option(
        0.0,
        "learning rate by which the step size of a student is learned; 0 keeps "
        "the step size",
        at_least=0,
    )

    def step_size_updates(self) -> optax.GradientTransformation | None:
        """SGD with momentum on the step size; None at a rate of 0."""
        if not self.step_size_lr:
            return None
        return optax.sgd(self.step_size_lr, momentum=STEP_SIZE_MOMENTUM)

    def make(self, network: Network, parts: Parts) -> Objective:
        """The objective."""
        match = trajectory_match(
            network,
            augmentations.per_image(augmentations.pipeline(self.augmentation)),
            self.student_steps,
            self.batch_syn,
            microbatch=parts.microbatch,
            truncated=self.gradient == "truncated",
            along_path=parts.along_path,
            mask=parts.mask,
        )
        return per_span(match, parts.terms, parts.remember)

    def memory_needs(self, network: Network, images: int) -> list[Need]:
        """Which images every step of a student sees, and how much each counts."""
        del network
        batch = min(self.batch_syn or images, images)
        size = self.student_steps * (2 * batch * NUMBER + KEY)
        what = f"the minibatches of {self.student_steps} steps"
        return [Need(size, what, "student_steps")]

    def matched(self, network: Network, image_shape: tuple[int, ...]) -> Any:
        """The shapes of what is compared: all parameters."""
        del image_shape
        return parameters_of(network)
