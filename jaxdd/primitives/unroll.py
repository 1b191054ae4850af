"""Unrolled training of a student, differentiable at one parameter copy per step."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdd.primitives.gradients import Loss, batch_gradient, value_and_gradients
from jaxdd.primitives.trees import global_norm, in_dtypes, vary_alike, vdot
from jaxdd.types import Batch, Params

# (batch, context) -> the minibatch of one step, augmented
Prepare = Callable[[Any, Any], Batch]


def as_it_is(batch: Batch, context) -> Batch:
    """No augmentation, the whole batch in every step."""
    return batch


def student_step(
    loss: Loss,
    prepare: Prepare = as_it_is,
    *,
    microbatch: int | None = None,
    truncated: bool = False,
    differentiable_norm: bool = False,
):
    """One SGD step, with its own derivative rule.

    Nothing but the parameters is stored per step: the minibatch is chosen and augmented
    again in the backward pass.

    Args:
        loss: (params, prepared batch, stats) -> [], e.g. `losses.mean_loss(network)`.
        prepare: (batch, context) -> the step's minibatch, augmented; differentiable
            w.r.t. the batch, with everything random taken from the context.
        microbatch: chunk length of the gradients; not with batch norm.
        truncated: treat the parameters that enter a step as constants when the step's
            gradient is differentiated (TESLA, Cui et al. 2023, section 3.2): the same
            rule without Hessian products, cheaper and no longer the exact gradient.
        differentiable_norm: whether the second output carries a gradient (a penalty on
            gradient norms along the path); it costs one more gradient per step in the
            backward pass.

    Returns:
        (params, batch, step_size, stats, context) -> (new params, gradient norm []).
        Differentiable w.r.t. params, batch and step_size. For a cotangent u of the new
        parameters the backward pass is one forward-mode sweep of loss and gradients
        along u: params get u - step_size * Hu, the batch gets the mixed second
        derivative, the step size gets -<u, gradient>, which is the loss's own tangent,
        so that the gradient itself is not computed again. With a differentiable norm it
        is computed, and the sweep goes along v = -step_size * u + the norm's direction.

    Example:
        >>> loss = lambda w, batch, stats: jnp.mean((batch.images @ w) ** 2) / 2
        >>> batch = Batch(jnp.eye(2), jnp.ones((2, 1)))
        >>> step = student_step(loss)
        >>> new, norm = step(jnp.ones(2), batch, jnp.float32(0.5), (), ())
        >>> new.tolist()
        [0.75, 0.75]
    """
    first = batch_gradient(loss, microbatch)
    both = value_and_gradients(loss, microbatch)

    @jax.custom_vjp
    def step(params, batch, step_size, stats, context):
        gradient = first(params, prepare(batch, context), stats)
        # In the precision of the parameters, whatever that of the step size is.
        new = jax.tree.map(
            lambda p, g: (p - step_size * g).astype(p.dtype), params, gradient
        )
        return new, global_norm(gradient)

    def forward(params, batch, step_size, stats, context):
        residuals = params, batch, step_size, stats, context
        return step(*residuals), residuals

    def backward(residuals, cotangents):
        params, batch, step_size, stats, context = residuals
        u, by_norm = cotangents
        prepared, pull = jax.vjp(lambda b: prepare(b, context), batch)

        def sweep(v):
            """<gradient, v>, Hv and the mixed derivative along v."""
            at = lambda p: both(p, prepared, stats)
            return jax.jvp(at, (params,), (v,))[1]

        if differentiable_norm:
            gradient = first(params, prepared, stats)
            norm = global_norm(gradient)
            factor = jnp.where(norm > 0, by_norm / jnp.where(norm > 0, norm, 1), 0)
            v = jax.tree.map(
                lambda x, g: (factor * g - step_size * x).astype(x.dtype), u, gradient
            )
            slope, (_, hessian, mixed) = vdot(u, gradient), sweep(v)
        else:
            slope, hessian, mixed = sweep(u)
            hessian, mixed = jax.tree.map(lambda x: -step_size * x, (hessian, mixed))
            mixed = in_dtypes(mixed, prepared)
        by_params = u if truncated else jax.tree.map(jnp.add, u, hessian)
        of_three = by_params, pull(mixed)[0], -slope
        return *in_dtypes(of_three, (params, batch, step_size)), None, None

    step.defvjp(forward, backward)

    def student(params, batch, step_size, stats, context):
        return step(*vary_alike(params, batch, step_size, stats, context))

    return student


def unroll(step, params: Params, batch, step_size: Array, stats, contexts):
    """Train a student for T steps, one per context.

    Args:
        step: a step from `student_step`.
        params: start parameters.
        batch: the set that the student trains on, the same in all steps.
        step_size: [] learning rate.
        stats: running statistics for the loss, the same in all steps.
        contexts: tree of [T, ...], the contexts that `prepare` receives step by step,
            such as keys and indices of minibatches.

    Returns:
        (end parameters, gradient norms [T]).

    Example:
        >>> loss = lambda w, batch, stats: jnp.mean((batch.images @ w) ** 2) / 2
        >>> batch = Batch(jnp.eye(2), jnp.ones((2, 1)))
        >>> end, norms = unroll(
        ...     student_step(loss), jnp.ones(2), batch, jnp.float32(0.5), (),
        ...     jnp.arange(3))
        >>> end.shape, norms.shape
        ((2,), (3,))
    """
    params, batch, step_size, stats, contexts = vary_alike(
        params, batch, step_size, stats, contexts
    )

    def body(carry: Params, context) -> tuple[Params, Float[Array, ""]]:
        return step(carry, batch, step_size, stats, context)

    return jax.lax.scan(body, params, contexts)
