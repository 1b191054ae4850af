"""The labels of a set: fixed, learned or made anew, as choices of a recipe.

Labels live in one of three spaces. "probabilities" are what most losses expect;
"targets" are numbers that a network is to put out, centred at 0 (FRePo, RCIG); and
"weights" are non-negative numbers that need not sum to one (RaT-BPTT).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import optax

from jaxdd.fields import Choice, option
from jaxdd.primitives.losses import present
from jaxdd.synthetic.decoder import ABSENT
from jaxdd.synthetic.images import Images
from jaxdd.types import Array, Codes, Inputs, Network

LABEL_SPACES = ("probabilities", "targets", "weights")
# What networks are trained with on such labels, a name in `primitives.losses.LOSSES`.
LOSS_OF = {
    "probabilities": "cross_entropy",
    "targets": "mse",
    "weights": "row_cross_entropy",
}

Relabel = Callable[[Codes, Inputs], Codes]


@dataclass(frozen=True)
class HardLabels(Choice):
    """The labels are those of the classes."""

    name: ClassVar[str] = "hard"
    space: ClassVar[str] = "probabilities"
    absent: ClassVar[float] = 0.0
    needs_experts: ClassVar[bool] = False

    def begin(self, labels: Array) -> Array:
        """The first labels are those of the classes."""
        return labels

    def updates(self, images: Images) -> None:
        """Nothing updates them."""
        del images


@dataclass(frozen=True)
class SoftLabels(Choice):
    """The labels are learned logits (DATM).

    Attributes:
        lr, momentum: of SGD on the logits.
    """

    name: ClassVar[str] = "soft"
    space: ClassVar[str] = "probabilities"
    absent: ClassVar[float] = ABSENT
    needs_experts: ClassVar[bool] = True
    subject: ClassVar[str] = "learned labels"
    remedy: ClassVar[str] = "add --labels=soft, or leave it out"

    lr: float = option(0.0, "learning rate of soft labels", flag="label_lr", at_least=0)
    momentum: float = option(
        0.9, "momentum of the updates of soft labels", flag="label_momentum", at_least=0
    )

    def begin(self, labels: Array) -> Array:
        """An expert's logits are what labels start from, not the classes."""
        return labels

    def updates(self, images: Images) -> optax.GradientTransformation | None:
        """SGD on the logits, whatever updates the images; None at a rate of 0."""
        del images
        return optax.sgd(self.lr, momentum=self.momentum) if self.lr else None


@dataclass(frozen=True)
class TeacherLabels(Choice):
    """The labels are an expert's probabilities.

    They are made anew in every step where spans of experts are matched (TESLA), once,
    of the last images, where one teacher is at hand in every step (SRe2L), and once, of
    the first images, elsewhere (RDED).
    """

    name: ClassVar[str] = "teacher"
    space: ClassVar[str] = "probabilities"
    absent: ClassVar[float] = 0.0
    needs_experts: ClassVar[bool] = True

    def begin(self, labels: Array) -> Array:
        """The first labels are those of the classes."""
        return labels

    def updates(self, images: Images) -> None:
        """Nothing updates them."""
        del images

    def relabel(self, network: Network) -> Relabel:
        """(codes, inputs) -> codes labelled by the parameters that a span ends at."""

        def relabel(codes: Codes, inputs: Inputs) -> Codes:
            assert inputs.span is not None
            stored = codes.images.shape[:2]
            images = codes.images.reshape(-1, *codes.images.shape[2:])
            stats = network.init(jax.random.key(0))[1]
            outputs, _ = network.apply(inputs.span.target, stats, images, False)
            labels = jax.nn.softmax(outputs.logits).reshape(*stored, -1)
            # Slots without an image stay so.
            labels = jnp.where(present(codes.labels)[..., None], labels, 0)
            return codes._replace(labels=jax.lax.stop_gradient(labels))

        return relabel


@dataclass(frozen=True)
class Targets(Choice):
    """The labels are learned numbers that a network is to put out (FRePo, RCIG).

    They start at the hard labels minus 1/K, and mean squared errors compare them with
    outputs.

    Attributes:
        lr: of the optimiser of the images, on the labels.
        scale: a divisor of the first labels (FRePo: sqrt(K / 10)).
    """

    name: ClassVar[str] = "targets"
    space: ClassVar[str] = "targets"
    absent: ClassVar[float] = 0.0
    needs_experts: ClassVar[bool] = False
    subject: ClassVar[str] = "learned targets"
    remedy: ClassVar[str] = "add --labels=targets, or leave it out"

    lr: float = option(
        3e-4, "learning rate of soft labels", flag="label_lr", at_least=0
    )

    scale: float = option(
        1.0,
        "divisor of the targets that labels start from (--labels=targets)",
        flag="label_scale",
        above=0,
    )

    def begin(self, labels: Array) -> Array:
        """The first labels, of hard or soft ones [..., K]."""
        return centred(labels) / self.scale

    def updates(self, images: Images) -> optax.GradientTransformation | None:
        """The optimiser of the images; None at a rate of 0."""
        return images.updating(self.lr) if self.lr else None


@dataclass(frozen=True)
class Weights(Choice):
    """The labels are learned numbers of at least 0, of any sum (RaT-BPTT).

    They start at the hard labels; the cross-entropy takes them as they are.

    Attributes:
        lr: of the optimiser of the images, on the labels.
    """

    name: ClassVar[str] = "weights"
    space: ClassVar[str] = "weights"
    absent: ClassVar[float] = 0.0
    needs_experts: ClassVar[bool] = False
    subject: ClassVar[str] = "learned weights of classes"
    remedy: ClassVar[str] = "add --labels=weights, or leave it out"

    lr: float = option(
        1e-3, "learning rate of soft labels", flag="label_lr", at_least=0
    )

    def begin(self, labels: Array) -> Array:
        """The first labels, of hard or soft ones [..., K]."""
        return labels

    def updates(self, images: Images) -> optax.GradientTransformation | None:
        """The optimiser of the images, which ends at 0; None at a rate of 0."""
        if not self.lr:
            return None
        return optax.chain(images.updating(self.lr), optax.keep_params_nonnegative())


KINDS = (HardLabels, SoftLabels, TeacherLabels, Targets, Weights)
LABELS = {kind.name: kind for kind in KINDS}


def centred(labels: Array) -> Array:
    """Labels [..., K] minus the mean over classes; padding stays 0.

    Example:
        >>> centred(jnp.array([1.0, 0.0])).tolist()
        [0.5, -0.5]
    """
    return labels - jnp.mean(labels, axis=-1, keepdims=True)


def probabilities_of(labels: Array, space: str) -> Array:
    """Labels [..., K] of any space as probabilities; padding stays 0.

    Of targets and weights, what is negative counts as 0 (ours).

    Args:
        labels: [..., K].
        space: a name in `LABEL_SPACES`.

    Example:
        >>> probabilities_of(jnp.array([0.5, -0.5]), "targets").tolist()
        [1.0, 0.0]
    """
    if space == "probabilities":
        return labels
    if space == "targets":
        shifted = labels + 1 / labels.shape[-1]
        labels = jnp.where(present(labels)[..., None], shifted, 0)
    positive = jnp.maximum(labels, 0)
    mass = jnp.sum(positive, axis=-1, keepdims=True)
    return positive / jnp.where(mass > 0, mass, 1)


def trainable(labels: Array, space: str, loss: str) -> Array:
    """Labels [..., K] in the form that a loss takes.

    Args:
        labels: [..., K].
        space: theirs, a name in `LABEL_SPACES`.
        loss: a name in `primitives.losses.LOSSES`: the squared error takes targets, the
            others probabilities, or weights as they are.

    Example:
        >>> trainable(jnp.array([1.0, 0.0]), "probabilities", "mse").tolist()
        [0.5, -0.5]
    """
    if loss == "mse":
        if space == "targets":
            return labels
        return centred(probabilities_of(labels, space))
    return probabilities_of(labels, space) if space == "targets" else labels
