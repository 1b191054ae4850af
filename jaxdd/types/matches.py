"""What a method minimises: matches of all kinds, their evidence, terms, objectives.

Arguments are passed by position.
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol, runtime_checkable

from jaxdd.types.values import (
    Array,
    Batch,
    Info,
    Inputs,
    Key,
    Known,
    Learner,
    Params,
    Scalar,
    Synthetic,
)


@runtime_checkable
class MeanGradient(Protocol):
    """The gradient of the mean loss of a batch that was matched, at its learner."""

    def __call__(self, microbatch: int | None = None, /) -> Params:
        """Return it, or compute it if the match had no need of it.

        Args:
            microbatch: samples per chunk of that computation; None for all at once.
        """


class Evidence(NamedTuple):
    """Quantities of a match that a term may use, still differentiable."""

    batch: Batch  # the (augmented) synthetic batch that was matched
    # The gradient of its mean loss in the mode in which the match uses the network:
    # `primitives.evidence` has both forms.
    mean_gradient: MeanGradient
    info: Mapping[str, Scalar] = {}  # further scalars to log, without a gradient


class PathEvidence(NamedTuple):
    """The evidence of a match that trains a student on the set."""

    batch: Batch  # the batch of the student's first step
    mean_gradient: MeanGradient  # at the student's start, in training mode
    path_norms: Array  # [T] norms of the gradients of the student's steps
    end: Params  # the parameters of the student after its last step


@runtime_checkable
class ClassMatch(Protocol):
    """How far the images of one class are from its real samples."""

    def __call__(
        self, key: Key, synthetic: Batch, real: Batch, learner: Learner, /
    ) -> tuple[Scalar, Evidence]:
        """Compare both at a network.

        Args:
            key: consumed, by the augmentation that both sides share.
            synthetic: [n, ...] images of the class; padding has zero labels.
            real: [B, ...] samples of the class, which get no gradient.
            learner: the network.

        Returns:
            The loss and its evidence.
        """


@runtime_checkable
class Samples(Protocol):
    """Real samples, class by class."""

    def __call__(self, key: Key, class_index: Array, /) -> Batch:
        """Draw [B, ...] samples of a class; the key is consumed."""


@runtime_checkable
class SetMatch(Protocol):
    """How far all images are from the real samples of all classes."""

    def __call__(
        self, key: Key, synthetic: Synthetic, real: Samples, learner: Learner, /
    ) -> tuple[Scalar, Evidence]:
        """Compare both at a network.

        Args:
            key: consumed, by the draws and augmentations of the classes.
            synthetic: the images of all classes.
            real: a function that draws the samples of a class; they get no gradient.
            learner: the network.

        Returns:
            The loss and its evidence.
        """


@runtime_checkable
class BatchMatch(Protocol):
    """How far all images are from one batch of real samples of all classes."""

    def __call__(
        self, key: Key, synthetic: Synthetic, real: Batch, learner: Learner, /
    ) -> tuple[Scalar, Evidence | PathEvidence]:
        """Compare both at a network.

        Args:
            key: consumed.
            synthetic: the images of all classes; padding has zero labels.
            real: [B, ...] samples of any class, which get no gradient.
            learner: the network.

        Returns:
            The loss and its evidence.
        """


@runtime_checkable
class SpanMatch(Protocol):
    """How far a student on the set stays behind an expert."""

    def __call__(
        self, key: Key, synthetic: Synthetic, target: Params, learner: Learner, /
    ) -> tuple[Scalar, PathEvidence]:
        """Train a student and compare.

        Args:
            key: consumed, by the student's minibatches and their augmentation.
            synthetic: the images of all classes, with the student's step size.
            target: the expert's parameters at the end of the span.
            learner: the network at its start.

        Returns:
            The loss and its evidence.
        """


@runtime_checkable
class TeacherMatch(Protocol):
    """How far a batch of images is from what a teacher knows of its data."""

    def __call__(
        self, key: Key, images: Batch, known: Known, learner: Learner, /
    ) -> tuple[Scalar, Evidence]:
        """Compare both.

        Args:
            key: consumed.
            images: [B, ...], of one class or one of each; padding has zero labels.
            known: the step, and the moments that real samples have at the teacher.
            learner: the teacher.

        Returns:
            The loss and its evidence.
        """


@runtime_checkable
class Term(Protocol):
    """A penalty that is added to a match."""

    def __call__(
        self, key: Key, learner: Learner, evidence: Evidence | PathEvidence, /
    ) -> Scalar:
        """Compute the penalty, before its weight.

        Args:
            key: consumed.
            learner: the network that was matched.
            evidence: quantities of the match.
        """


@runtime_checkable
class Schedule(Protocol):
    """A weight over the steps of a run."""

    def __call__(self, step: Array, /) -> Scalar:
        """The weight at a step, [] int32."""


@runtime_checkable
class Objective(Protocol):
    """The loss of a set, whose gradient updates the images."""

    def __call__(
        self,
        key: Key,
        synthetic: Synthetic,
        learner: Learner,
        inputs: Inputs,
        step: Array,
        /,
    ) -> tuple[Scalar, Info]:
        """Compute the loss.

        Args:
            key: consumed.
            synthetic: the decoded set; the only argument that gets a gradient.
            learner: the network of the step.
            inputs: the data of the step.
            step: [] int32.

        Returns:
            The loss, and its parts by name: "match" and a value per term.
        """  # fmt: skip
