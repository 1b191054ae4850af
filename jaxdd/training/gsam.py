"""Adaptive GSAM, which optax lacks, as an optax transformation."""

import jax
import jax.numpy as jnp
import optax

from jaxdd.errors import UserError
from jaxdd.primitives.trees import global_norm, vdot

EPSILON = 1e-12


def gsam(
    rho: float, alpha: float, adaptive: bool = True
) -> optax.GradientTransformationExtraArgs:
    """Replace a gradient by a surrogate-gap guided, sharpness-aware one.

    With g the gradient at w, g_p the gradient at w + e, e = rho w^2 g / | |w| g | and
    g_o the part of g orthogonal to g_p, the result is g_p - alpha g_o. Zhuang et al.,
    "Surrogate Gap Minimization Improves Sharpness-Aware Training", ICLR 2022, with the
    adaptive perturbation of Kwon et al., ICML 2021, as the experts of FTD, DATM and PAD
    are trained (official code, gsam.py). All parameters are perturbed together, biases
    and norms included.

    Args:
        rho: radius of the perturbation.
        alpha: weight of the orthogonal part; 0 is SAM.
        adaptive: scale the perturbation by the squared parameters; else it is
            rho g / |g|.

    Returns:
        A transformation whose `update` needs `params` and `grad_fn`, the gradient of
        the same minibatch as a function of the parameters. Weight decay and momentum
        come after it in a chain.

    Raises:
        UserError: rho or alpha is negative.

    Example:
        >>> grad_fn = jax.grad(lambda w: jnp.sum(w**4))
        >>> optimizer = optax.chain(gsam(0.1, alpha=0.3), optax.sgd(0.01))
        >>> w = jnp.ones(2)
        >>> updates, _ = optimizer.update(
        ...     grad_fn(w), optimizer.init(w), w, grad_fn=grad_fn)
        >>> bool(jnp.all(jnp.abs(updates) > 0.04))
        True
    """
    if rho < 0 or alpha < 0:
        raise UserError(f"GSAM's rho={rho} and alpha={alpha} must not be negative")

    def scaled(scale, tree):
        return jax.tree.map(lambda x: scale * x, tree)

    def perturbation(params, gradient):
        if not adaptive:
            return scaled(rho / (global_norm(gradient) + EPSILON), gradient)
        weighted = jax.tree.map(lambda w, g: jnp.abs(w) * g, params, gradient)
        scale = rho / (global_norm(weighted) + EPSILON)
        return jax.tree.map(lambda w, g: scale * w**2 * g, params, gradient)

    def update(updates, state, params=None, *, grad_fn, **extra):
        del extra
        moved = jax.tree.map(jnp.add, params, perturbation(params, updates))
        perturbed = grad_fn(moved)
        norm, norm_p = global_norm(updates), global_norm(perturbed)
        cosine = vdot(updates, perturbed) / (norm * norm_p + EPSILON)
        along = scaled(cosine * norm / (norm_p + EPSILON), perturbed)
        final = jax.tree.map(
            lambda p, g, a: p - alpha * (g - a), perturbed, updates, along
        )
        return final, state

    return optax.GradientTransformationExtraArgs(
        lambda params: optax.EmptyState(), update
    )
