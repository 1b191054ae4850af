"""The inner problem of RCIG: a linearised body under a head that is solved for."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdd.errors import UserError
from jaxdd.objectives.prototypes import Prototypes
from jaxdd.primitives.quadratic import Minimize
from jaxdd.primitives.regression import Solved, gram, solve_ridge
from jaxdd.primitives.trees import apply_mask, from_named_leaves, named_leaves, vdot
from jaxdd.types import Array, Learner, Network, Params, Scalar

HEAD = "head/kernel"


class Linear(NamedTuple):
    """A network that is linear in the tangent of its parameters, on some images."""

    features: Array  # [N, F], of the base parameters
    shift: Array  # [N, K], how the tangent moves the logits


# (tangent, images) -> the linear network there.
Linearise = Callable[[Params, Array], Linear]


def body_of(params: Params) -> Params:
    """The 0/1 tree of parameters that are not the kernel of the head.

    Raises:
        UserError: the network has no kernel "head/kernel".

    Example:
        >>> body = body_of(learner.params)
        >>> float(body["head"]["kernel"]), float(body["head"]["bias"])
        (0.0, 1.0)
    """
    names = named_leaves(params)
    if HEAD not in names:
        raise UserError(
            f"a linearised body needs a network whose last kernel is named {HEAD}"
        )
    return from_named_leaves(
        params, {name: jnp.float32(name != HEAD) for name in names}
    )


def linearise(
    network: Network,
    learner: Learner,
    select: Callable[[tuple[Array, ...]], Array],
) -> Linearise:
    """The network at a learner as a function of tangent and images.

    Args:
        network: in evaluation mode.
        learner: the base parameters.
        select: (features by block) -> [N, F], those that the head reads.
    """

    def at(tangent: Params, images: Array) -> Linear:
        def outputs(params: Params) -> tuple[Array, Array]:
            seen = network.apply(params, learner.stats, images, False)[0]
            return select(seen.features), seen.logits

        (features, _), (_, shift) = jax.jvp(outputs, (learner.params,), (tangent,))
        return Linear(features, shift)

    return at


def padded(linear: Linear, weights: Array) -> Linear:
    """The same with zeros in rows of padding; weights [N] are 0 there."""
    return Linear(*(x * weights[:, None] for x in linear))


def solved_head(linear: Linear, ridge: Scalar, targets: Array) -> Solved:
    """alpha [N, K] of the head W = features^T alpha that fits what the body leaves.

    Args:
        linear: on the rows of the set.
        ridge: lambda.
        targets: [N, K].
    """
    kernel = gram(linear.features, linear.features)
    return solve_ridge(kernel, ridge, targets - linear.shift)


def inner_loss(
    at: Linearise, tangent: Params, rows: Prototypes, ridge: Scalar
) -> Scalar:
    """The loss of a tangent with the best head for it, strictly convex and quadratic.

    l = [1/2 |Y - f|^2 + ridge/2 (|W|^2 + |tangent|^2)] / (N K), where the head W is the
    minimiser, so that l = ridge/2 [tr (Y - O)^T (K + ridge I)^-1 (Y - O) + |tangent|^2]
    / (N K) with the shift O. Loo et al., "Dataset Distillation with Convexified
    Implicit Gradients", ICML 2023, and its official code.

    Args:
        at: the linearised network.
        tangent: of the body's parameters.
        rows: of the set.
        ridge: lambda.
    """
    linear = padded(at(tangent, rows.images), rows.weights)
    left = rows.targets - linear.shift
    fitted = jnp.sum(left * solved_head(linear, ridge, rows.targets).solution)
    entries = jnp.maximum(jnp.sum(rows.weights), 1) * rows.targets.shape[-1]
    return ridge / 2 * (fitted + vdot(tangent, tangent)) / entries


class Inner(NamedTuple):
    """The inner problem at fixed rows.

    Attributes:
        multiply: the Hessian of `inner_loss` times a tangent of the body.
        right: the tree b of the optimum H tangent = b.
    """

    multiply: Callable[[Params], Params]
    right: Params

    def solve(self, minimize: Minimize) -> Params:
        """The tangent of the trained network."""
        return minimize(self.multiply, self.right)


def inner_problem(
    at: Linearise, params: Params, rows: Prototypes, ridge: Scalar
) -> Inner:
    """Hessian products and optimum of `inner_loss`; nothing of it has a gradient.

    With J for the derivative of the logits along the body and A = K + ridge I,
    H = c (I + J^T A^-1 J) and b = c J^T A^-1 Y, c = ridge / (N K).

    Args:
        at: the linearised network.
        params: of its learner.
        rows: of the set, without a gradient.
        ridge: lambda.
    """
    body = body_of(params)
    zeros = jax.tree.map(jnp.zeros_like, params)
    of_tangent = lambda t: padded(at(t, rows.images), rows.weights)
    # What does not depend on the tangent is computed once, not in every product.
    (features, _), move = jax.linearize(of_tangent, zeros)
    push = lambda tangent: move(tangent).shift
    pull = jax.linear_transpose(push, zeros)
    system = gram(features, features)
    system = system + ridge * jnp.eye(features.shape[0], dtype=features.dtype)
    factor = jax.scipy.linalg.cho_factor(system)
    scale = ridge / (jnp.maximum(jnp.sum(rows.weights), 1) * rows.targets.shape[-1])

    def back(left: Array) -> Params:
        """c J^T A^-1, in the body."""
        solved = jax.scipy.linalg.cho_solve(factor, left)
        return apply_mask(body, jax.tree.map(lambda x: scale * x, pull(solved)[0]))

    def multiply(tangent: Params) -> Params:
        curved = back(push(tangent))
        return jax.tree.map(lambda x, y: scale * x + y, tangent, curved)

    return Inner(multiply, back(rows.targets))
