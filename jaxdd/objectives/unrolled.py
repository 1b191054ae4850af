"""The loss of a student that was trained on the set, through a window of its steps."""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import ClassVar

import jax
import jax.numpy as jnp

from jaxdd import augment as augmentations
from jaxdd.devices.needs import NUMBER, Need
from jaxdd.errors import UserError
from jaxdd.fields import option
from jaxdd.modifiers.masks import Masking
from jaxdd.nets import has_batch_statistics
from jaxdd.objectives.bases import MixedMatching
from jaxdd.objectives.capabilities import Sizes
from jaxdd.objectives.parts import Parts
from jaxdd.objectives.sampling import minibatch_of_step
from jaxdd.objectives.set_lifts import per_batch
from jaxdd.objectives.shapes import parameters_of
from jaxdd.primitives.evidence import later_gradient
from jaxdd.primitives.gradients import batch_value
from jaxdd.primitives.losses import mean_loss
from jaxdd.primitives.optimizers import INNER_OPTIMIZERS, InnerOptimizer
from jaxdd.primitives.truncation import (
    Student,
    TrainingStep,
    train,
    train_window,
    training_step,
)
from jaxdd.primitives.unroll import Prepare
from jaxdd.types import (
    Array,
    Batch,
    BatchMatch,
    Key,
    Learner,
    Network,
    Objective,
    Params,
    PathEvidence,
    Scalar,
    StepWindow,
    Synthetic,
)


def student_training(
    network: Network,
    optimizer: InnerOptimizer,
    prepare: Prepare,
    loss: str = "cross_entropy",
    microbatch: int | None = None,
    differentiable_norm: bool = False,
) -> TrainingStep:
    """One step of a student, see `unrolled_match` for the arguments."""
    return training_step(
        mean_loss(network, train=True, loss=loss),
        optimizer,
        prepare,
        microbatch=microbatch,
        differentiable_norm=differentiable_norm,
    )


def unrolled_match(
    network: Network,
    optimizer: InnerOptimizer,
    prepare: Prepare,
    augment: Callable[[Key, Array], Array],
    steps: int,
    *,
    longest: int | None = None,
    loss: str = "cross_entropy",
    microbatch: int | None = None,
    along_path: bool = False,
    mask: Masking | None = None,
) -> BatchMatch:
    """The loss, on real samples, of a student that was trained on the set.

    Feng, Vedantam, Kempe, "Embarrassingly Simple Dataset Distillation" (RaT-BPTT), ICLR
    2024, section 4: a network is trained on the set up to the end of the learner's
    window, and the mean cross-entropy of real samples is differentiated through the
    steps of the window, whose start is a constant.

    Args:
        network: of the student, in training mode.
        optimizer: of the student.
        prepare: (set [K, n, ...], (key, step)) -> the minibatch of a step, augmented.
        augment: (key, images) -> images, applied to the real samples.
        steps: W, the steps of the window where the learner does not say.
        longest: the most that the learner may say; None for W.
        loss: of the student, a name in `primitives.losses.LOSSES`: learned weights need
            "row_cross_entropy".
        microbatch: samples per chunk of all gradients; None with batch norm.
        along_path: whether the norms in the evidence carry a gradient.
        mask: the parameters through which the loss reaches the set (ours, for PAD's
            FIEM): at the end of the window the gradient of the others is dropped. Their
            error is the square of what the window has changed in them; a student is
            trained as without a mask.

    Returns:
        The match. Its evidence is at the start of the student, with the norms of the
        window's steps; a window that is shorter than the longest repeats their mean,
        so that their mean is that of its own steps.

    Example:
        >>> from jaxdd.primitives import inner_adam
        >>> plain = lambda key, images: images
        >>> match = unrolled_match(
        ...     network, inner_adam(1e-3), minibatch_of_step(plain), plain, steps=2)
        >>> start = jaxdd.initial_set(key, "real", real, ipc=1)
        >>> loss, evidence = match(key, start, batch, learner)
        >>> evidence.path_norms.shape
        (2,)
    """
    step = student_training(
        network, optimizer, prepare, loss, microbatch, differentiable_norm=along_path
    )
    value_of = batch_value(mean_loss(network, train=True), microbatch)
    most = steps if longest is None else longest

    def match(
        key: Key, synthetic: Synthetic, real: Batch, learner: Learner
    ) -> tuple[Scalar, PathEvidence]:
        key_training, key_real = jax.random.split(key)
        data = Batch(synthetic.images, synthetic.labels)
        window = learner.window or StepWindow(jnp.int32(0))
        length = window.length
        if length is None and most > steps:
            length = jnp.int32(steps)
        begun = optimizer.begin(learner.params)
        warm = train(step, begun, data, learner.stats, key_training, window.start)
        end, norms = train_window(
            step, warm, data, learner.stats, key_training, window.start, most, length
        )
        reached = end.params
        if mask is not None:
            reached = _through(mask, warm.params, reached)
        sample = Batch(augment(key_real, real.images), real.labels)
        value = value_of(reached, jax.lax.stop_gradient(sample), learner.stats)
        first = prepare(data, (key_training, window.start))
        gradient = later_gradient(network, learner, first, train=True)
        if length is not None:
            taken = jnp.arange(most) < length
            norms = jnp.where(taken, norms, jnp.sum(norms) / length)
        return value, PathEvidence(first, gradient, norms, end.params)

    return match


def _through(mask: Masking, before: Params, after: Params) -> Params:
    """The parameters after a window, of which the masked ones carry no gradient."""
    entries = mask(jax.tree.map(lambda a, b: (a - b) ** 2, after, before))

    def one(x: Array, kept: Array) -> Array:
        constant = jax.lax.stop_gradient(x)
        return constant + kept * (x - constant)

    return jax.tree.map(one, after, entries)


@dataclass(frozen=True)
class UnrolledLoss(MixedMatching):
    """A student trained on the set has to be right on real samples (RaT-BPTT).

    The window of its steps that carry a gradient comes from the learner source; with
    any other source than `Windows` it is the first `student_steps` of a network's
    training on the set.

    Attributes:
        student_steps: W, steps of the window.
        inner_classes: classes in a step of a student; None for all.
        inner_images: images of each of them; None for all.
        student_optimizer: of the student, "adam" or "sgd" (momentum 0.9, decay 5e-4).
        student_lr: its learning rate.
    """

    name: ClassVar[str] = "bptt"
    subject: ClassVar[str] = "the loss of a trained student"
    label_spaces: ClassVar[tuple[str, ...]] = ("probabilities", "weights")

    student_steps: int = option(
        60, "steps that a student takes on the synthetic set (N in the papers)", above=0
    )
    inner_classes: int | None = option(
        None,
        "number of random classes in a step of a student's training; default: all",
        above=0,
    )
    inner_images: int | None = option(
        None,
        "number of random synthetic images of a class in a step of a student's "
        "training; default: all",
        above=0,
    )
    student_optimizer: str = option(
        "adam",
        "optimiser of a student's training on the synthetic set: adam, or sgd with a "
        "momentum of 0.9 and a weight decay of 0.0005",
        choices=INNER_OPTIMIZERS,
    )
    student_lr: float = option(
        1e-3, "learning rate of a student's training on the synthetic set", above=0
    )

    def check_run(
        self, network: Network, image_shape: tuple[int, ...], classes: int, images: int
    ) -> None:
        """Refuse minibatches of more than there is, see `ChecksRun`."""
        del network, image_shape
        for name, asked, there, what in (
            ("inner_classes", self.inner_classes, classes, "classes"),
            ("inner_images", self.inner_images, images, "images of a class"),
        ):
            if asked is not None and asked > there:
                raise UserError(
                    f"--{name}={asked} is more than the {there} {what} that there are: "
                    "lower it, or leave it out for all"
                )

    def for_sizes(self, sizes: Sizes, given: Collection[str]) -> "UnrolledLoss":
        """The same with no more samples or classes than there are, see `FitsData`.

        A preset counts on the classes of the published data; those of a flag stay.
        """
        classes = self.inner_classes
        if classes is not None and "inner_classes" not in given:
            classes = min(classes, sizes.classes)
        samples = min(self.batch_mixed, sizes.samples)
        return replace(self, batch_mixed=samples, inner_classes=classes)

    @property
    def batch_syn(self) -> int | None:
        """Images of a class in a step of a student; None for all."""
        return self.inner_images

    def _prepare(self, network: Network) -> Prepare:
        return minibatch_of_step(
            augmentations.per_image(augmentations.pipeline(self.augmentation)),
            self.inner_classes,
            self.inner_images,
            filled=has_batch_statistics(network),
        )

    def optimizer(self) -> InnerOptimizer:
        """The optimiser of a student."""
        return INNER_OPTIMIZERS[self.student_optimizer](self.student_lr)

    def student(self, network: Network, parts: Parts) -> Student:
        """How a network is trained on the set, for the probes of a learner source."""
        optimizer, prepare = self.optimizer(), self._prepare(network)
        step = student_training(
            network, optimizer, prepare, parts.loss, parts.microbatch
        )
        return Student(optimizer, step, self.student_steps)

    def make(self, network: Network, parts: Parts) -> Objective:
        """The objective."""
        match = unrolled_match(
            network,
            self.optimizer(),
            self._prepare(network),
            augmentations.per_image(augmentations.pipeline(self.augmentation)),
            self.student_steps,
            longest=parts.longest,
            loss=parts.loss,
            microbatch=parts.microbatch,
            along_path=parts.along_path,
            mask=parts.mask,
        )
        return per_batch(match, self.batch_mixed, parts.terms, parts.remember)

    def memory_needs(self, network: Network, images: int) -> list[Need]:
        """The states of a student that the backward pass goes through."""
        del images
        state = jax.eval_shape(self.optimizer().begin, parameters_of(network))
        numbers = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(state))
        size = self.student_steps * numbers * NUMBER
        return [Need(size, f"a student in {self.student_steps} steps", "student_steps")]
