"""Implicit gradients through a convex inner problem (RCIG)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import optax

from jaxdd.fields import option
from jaxdd.modifiers.masks import Masking
from jaxdd.objectives.distribution import first_block
from jaxdd.objectives.linearised import (
    body_of,
    inner_loss,
    inner_problem,
    linearise,
    padded,
    solved_head,
)
from jaxdd.objectives.parts import Parts
from jaxdd.objectives.prototypes import (
    Prototypes,
    Selection,
    augmented,
    features_of_blocks,
    margin_loss,
    prototypes,
    row_weights,
    weighted_mean,
)
from jaxdd.objectives.regression import OnFeatures
from jaxdd.objectives.set_lifts import per_batch
from jaxdd.primitives.evidence import later_gradient
from jaxdd.primitives.losses import per_sample_cross_entropy
from jaxdd.primitives.quadratic import (
    Minimize,
    by_adam,
    by_conjugate_gradients,
)
from jaxdd.primitives.regression import gram
from jaxdd.primitives.trees import apply_mask, global_norm, total
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

SOLVERS = ("cg", "adam")


def clipped_implicit(direct: Array, implicit: Array) -> Array:
    """The implicit part of a gradient, at most as long as the direct part.

    What is no number counts as zero. Source: RCIG's official code.

    Example:
        >>> clipped_implicit(jnp.array([1.0]), jnp.array([-4.0])).tolist()
        [-1.0]
    """
    longer = global_norm(implicit) > global_norm(direct)
    norm = jnp.where(longer, global_norm(implicit), 1)
    factor = jnp.where(longer, global_norm(direct) / norm, 1)
    clipped = implicit * factor
    return jnp.where(jnp.isnan(clipped), 0, clipped)


def convex_match(
    network: Network,
    solve_inner: Minimize,
    solve_hessian: Minimize,
    augment: Callable[..., tuple[Array, ...]],
    *,
    ridge: float = 5e-4,
    flip: bool = False,
    margin: float = 1.0,
    features: str = "last",
    mask: Masking | None = None,
    as_targets: bool = True,
    clip: bool = True,
) -> BatchMatch:
    """The cross-entropy on real samples after training on the set, by its optimum.

    The network that is trained has the linearised body of the learner and a head that
    is solved for (`linearised.inner_loss`). The gradient is the direct one at the
    optimum plus the implicit one, which asks how the optimum moves with the set. Loo
    et al., "Dataset Distillation with Convexified Implicit Gradients", ICML 2023, and
    its official code.

    Args:
        network: the network of the learner, in evaluation mode.
        solve_inner: finds the optimum of the inner problem.
        solve_hessian: applies the inverse Hessian.
        augment: Siamese, (key, *batches of images) -> tuple of images.
        ridge: lambda, per image of the set.
        flip: whether the mirror images of the set are rows of the inner problem.
        margin: weight of `prototypes.margin_loss` with a margin of 1/(2 K).
        features, mask, as_targets: as in `regression.regression_match`.
        clip: whether the implicit part of the gradient of images, of labels and of the
            scale is at most as long as its direct part.

    Returns:
        The match, which reads the step size of the set as the scale of the predicted
        logits, an inverse temperature. Its evidence has the relative "residual" of the
        solve for the head, infinite where it or that of the inverse Hessian failed.

    Raises:
        UserError: an unknown choice of features, or a mask on the last ones only; on a
            call, the network's last kernel is not named "head/kernel".

    Example:
        >>> solver = by_conjugate_gradients(20)
        >>> match = convex_match(
        ...     network, solver, solver, jaxdd.siamese(()), ridge=0.05)
        >>> isinstance(match, BatchMatch)
        True
    """
    selection = Selection(first_block(features, mask), mask)
    loss = "mse" if as_targets else "cross_entropy"

    def match(
        key: Key, synthetic: Synthetic, real: Batch, learner: Learner
    ) -> tuple[Scalar, Evidence]:
        fixed = jax.lax.stop_gradient(synthetic)

        def rows_of(synthetic: Synthetic) -> tuple[Prototypes, Batch, Batch]:
            samples, batch = augmented(key, augment, real, synthetic)
            return prototypes(batch, flip, as_targets), batch, samples

        rows, batch, samples = rows_of(fixed)
        present = row_weights(samples.labels)
        kept = selection.kept(
            (features_of_blocks(network, learner, rows.images), rows.weights),
            (features_of_blocks(network, learner, samples.images), present),
        )
        at = linearise(network, learner, lambda x: selection.features(x, kept))
        images = jnp.sum(row_weights(batch.labels))
        strength = ridge * jnp.maximum(images, 1)
        inner = inner_problem(at, learner.params, rows, strength)
        tangent = inner.solve(solve_inner)

        def outer(synthetic: Synthetic, tangent):
            rows, batch, _ = rows_of(synthetic)
            ours = padded(at(tangent, rows.images), rows.weights)
            theirs = at(tangent, samples.images)
            head = solved_head(ours, strength, rows.targets)
            fitted = gram(gram(theirs.features, ours.features), head.solution.T)
            logits = (theirs.shift + fitted) * synthetic.step_size
            sure = jax.nn.one_hot(jnp.argmax(samples.labels, -1), logits.shape[-1])
            value = weighted_mean(per_sample_cross_entropy(logits, sure), present)
            least = 1 / (2 * logits.shape[-1])
            return value + margin * margin_loss(batch.labels, least), head.residual

        (value, residual), (direct, slope) = jax.value_and_grad(
            outer, argnums=(0, 1), has_aux=True
        )(fixed, tangent)
        moved = solve_hessian(inner.multiply, apply_mask(body_of(slope), slope))

        def along(synthetic: Synthetic) -> Scalar:
            """<moved, gradient of the inner loss at the optimum>."""
            rows = rows_of(synthetic)[0]
            of_tangent = lambda t: inner_loss(at, t, rows, strength)
            return jax.jvp(of_tangent, (tangent,), (moved,))[1]

        # A part that is lost would not be missed: `clipped_implicit` takes it as 0.
        residual = jnp.where(jnp.isfinite(global_norm(moved)), residual, jnp.inf)
        implicit = jax.tree.map(jnp.negative, jax.grad(along)(fixed))
        if clip:
            implicit = jax.tree.map(clipped_implicit, direct, implicit)
        gradient = jax.tree.map(jnp.add, direct, implicit)
        # Its value is 0 and its gradient the one above.
        change = jax.tree.map(lambda g, x, x0: g * (x - x0), gradient, synthetic, fixed)
        batch = rows_of(synthetic)[1]
        later = later_gradient(network, learner, batch, loss=loss)
        return value + total(change), Evidence(batch, later, {"residual": residual})

    return match


@dataclass(frozen=True)
class ConvexRegression(OnFeatures):
    """Trained on the set in its linearisation, a network predicts real samples (RCIG).

    Attributes:
        ridge: see `convex_match`.
        solver: "cg", conjugate gradients, or "adam" as in the official code.
        solver_steps: products with the Hessian for each of the two problems.
        inner_lr, hessian_lr: rates of Adam for the inner problem and for the inverse
            Hessian. The official code searches for them and starts here.
        temperature_lr: rate of the optimiser of the logarithm of the scale of logits.
    """

    name: ClassVar[str] = "convex"
    subject: ClassVar[str] = "convexified implicit gradients"
    # The scalar beside the images is the scale of the predicted logits.
    step_size: ClassVar[float] = 1.0
    log_step_size: ClassVar[bool] = True

    ridge: float = option(
        5e-4,
        "ridge of the inner problem of RCIG, per image of the set",
        flag="inner_ridge",
        above=0,
    )
    solver: str = option(
        "cg",
        "how the inner problem of RCIG and its inverse Hessian are solved: by "
        "conjugate gradients (cg), or by Adam at fixed rates (adam)",
        choices=SOLVERS,
    )
    solver_steps: int = option(
        20, "steps of each solve of RCIG's inner problem", above=0
    )
    inner_lr: float = option(
        1e-5,
        "learning rate of Adam in RCIG's inner problem (--solver=adam)",
        above=0,
        beside={"solver": ("adam",)},
    )
    hessian_lr: float = option(
        5e-5,
        "learning rate of Adam for RCIG's inverse Hessian (--solver=adam)",
        above=0,
        beside={"solver": ("adam",)},
    )
    temperature_lr: float = option(
        0.03,
        "learning rate of the logarithm of the inverse temperature of RCIG's "
        "predictions; 0 keeps it at 0",
        at_least=0,
    )

    def minimizers(self) -> tuple[Minimize, Minimize]:
        """The solvers of the inner problem and of the inverse Hessian."""
        if self.solver == "cg":
            both = by_conjugate_gradients(self.solver_steps)
            return both, both
        rates = self.inner_lr, self.hessian_lr
        inner, hessian = (by_adam(self.solver_steps, rate) for rate in rates)
        return inner, hessian

    def step_size_updates(self) -> optax.GradientTransformation | None:
        """AdaBelief on the logarithm of the scale; None at a rate of 0."""
        return optax.adabelief(self.temperature_lr) if self.temperature_lr else None

    def make(self, network: Network, parts: Parts) -> Objective:
        """The objective."""
        match = convex_match(
            network,
            *self.minimizers(),
            **self.arguments(parts),
            ridge=self.ridge,
        )
        return per_batch(match, self.batch_mixed, parts.terms, parts.remember)
