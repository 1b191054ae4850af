"""Regression of features: real samples are predicted from the set in one solve."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jaxdd import augment as augmentations
from jaxdd.fields import option
from jaxdd.modifiers.masks import Masking
from jaxdd.objectives.bases import MixedMatching
from jaxdd.objectives.distribution import FEATURES, first_block
from jaxdd.objectives.parts import Parts
from jaxdd.objectives.prototypes import (
    Selection,
    augmented,
    features_of_blocks,
    margin_loss,
    prototypes,
    row_weights,
    weighted_mean,
)
from jaxdd.objectives.set_lifts import per_batch
from jaxdd.objectives.shapes import features_of
from jaxdd.primitives.evidence import later_gradient
from jaxdd.primitives.regression import gram, relative_ridge, solve_ridge
from jaxdd.synthetic.labels import centred
from jaxdd.types import (
    Array,
    Batch,
    BatchMatch,
    Evidence,
    Key,
    Learner,
    Network,
    Objective,
    Scalar,
    Synthetic,
)


def regression_match(
    network: Network,
    augment: Callable[..., tuple[Array, ...]],
    *,
    ridge: float = 1e-6,
    flip: bool = False,
    margin: float = 1.0,
    features: str = "last",
    mask: Masking | None = None,
    as_targets: bool = True,
) -> BatchMatch:
    """The loss of kernel ridge regression from the set to real samples (FRePo).

    With features Phi of the network, K = Phi_s Phi_s^T + ridge I and targets Y:
    P = Phi_t Phi_s^T K^-1 Y and L = mean 1/2 |P - y_t|^2 + margin term. Zhou,
    Nezhadarya, Ba, "Dataset Distillation using Neural Feature Regression", NeurIPS
    2022, eqs. (6) and (7), with the margin term, the mirror images and the ridge of the
    official code. The features come from the network in evaluation mode.

    Args:
        network: the network of the features.
        augment: Siamese, (key, *batches of images) -> tuple of images.
        ridge: lambda, as a share of the mean diagonal entry of the kernel.
        flip: whether the mirror images of the set are rows of the kernel, too.
        margin: weight of `prototypes.margin_loss` with a margin of 1/K, which has a
            gradient where labels are learned.
        features: "last", the penultimate features, or "all", the features of every
            block (ours), which a mask needs.
        mask: the features that enter the kernel (PAD's FIEM, ours here); None for all.
        as_targets: whether labels of the set are targets, as real labels minus 1/K are;
            otherwise they are probabilities and centred here.

    Returns:
        The match of a set with real samples of any class. Its evidence has the
        relative "residual" of the solve, infinite where it failed.

    Raises:
        UserError: an unknown choice of features, or a mask on the last ones only.

    Example:
        >>> start = jaxdd.initial_set(key, "real", real, ipc=2)
        >>> match = regression_match(network, jaxdd.siamese(()), as_targets=False)
        >>> value, evidence = match(key, start, batch, learner)
        >>> bool(value > 0), bool(evidence.info["residual"] < 1e-2)
        (True, True)
    """
    selection = Selection(first_block(features, mask), mask)
    loss = "mse" if as_targets else "cross_entropy"

    def match(
        key: Key, synthetic: Synthetic, real: Batch, learner: Learner
    ) -> tuple[Scalar, Evidence]:
        real, batch = augmented(key, augment, real, synthetic)
        rows = prototypes(batch, flip, as_targets)
        of_real, of_rows = (
            features_of_blocks(network, learner, x.images) for x in (real, rows)
        )
        present = row_weights(real.labels)
        kept = selection.kept((of_rows, rows.weights), (of_real, present))
        phi_real = jax.lax.stop_gradient(selection.features(of_real, kept))
        phi = selection.features(of_rows, kept) * rows.weights[:, None]
        kernel = gram(phi, phi)
        strength = relative_ridge(kernel, ridge, jnp.sum(rows.weights))
        solved = solve_ridge(kernel, strength, rows.targets)
        predicted = gram(gram(phi_real, phi), solved.solution.T)
        errors = jnp.sum((predicted - centred(real.labels)) ** 2, axis=-1) / 2
        value = weighted_mean(errors, present)
        value = value + margin * margin_loss(batch.labels, 1 / batch.labels.shape[-1])
        gradient = later_gradient(network, learner, batch, loss=loss)
        return value, Evidence(batch, gradient, {"residual": solved.residual})

    return match


@dataclass(frozen=True)
class OnFeatures(MixedMatching):
    """Base of the objectives that predict real samples from features of the set.

    Attributes:
        flip: whether mirror images of the set are rows of the kernel.
        margin: weight of the margin term of learned labels.
        features: which enter the kernel: those of the "last" block, or of "all" blocks.
    """

    batch_syn: ClassVar[int | None] = None
    label_spaces: ClassVar[tuple[str, ...]] = ("probabilities", "targets")

    flip: bool = option(
        False,
        "whether the mirror images of the set take part in the regression of features",
    )
    margin: float = option(
        1.0,
        "weight of the term that keeps the largest learned label of an image above the "
        "others (FRePo, RCIG); 0 for none",
        flag="label_margin",
        at_least=0,
    )
    features: str = option(
        "last",
        "blocks of the network whose features are matched: the last one (last), "
        "or all of them (all)",
        choices=FEATURES,
    )

    def arguments(self, parts: Parts) -> dict[str, Any]:
        """What the matches of such objectives have in common."""
        return {
            "augment": augmentations.siamese(augmentations.pipeline(self.augmentation)),
            "flip": self.flip,
            "margin": self.margin,
            "features": self.features,
            "mask": parts.mask,
            "as_targets": parts.as_targets,
        }

    def matched(self, network: Network, image_shape: tuple[int, ...]) -> Any:
        """The shapes of what a mask chooses from: features of the blocks."""
        return features_of(network, image_shape)


@dataclass(frozen=True)
class FeatureRegression(OnFeatures):
    """Real samples are predicted from the set by its features (FRePo).

    Attributes:
        ridge: see `regression_match`.
    """

    name: ClassVar[str] = "regression"
    subject: ClassVar[str] = "regression of features"

    ridge: float = option(
        1e-6,
        "ridge of the regression of features, as a share of the kernel's mean diagonal "
        "entry",
        above=0,
    )

    def make(self, network: Network, parts: Parts) -> Objective:
        """The objective."""
        match = regression_match(network, **self.arguments(parts), ridge=self.ridge)
        return per_batch(match, self.batch_mixed, parts.terms, parts.remember)
