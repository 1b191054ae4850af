"""Unrolled training of a student, differentiable at one parameter copy per step."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdd.primitives.gradients import Loss
from jaxdd.trees import global_norm, vdot
from jaxdd.types import Batch, Key, Params


def student_step(loss: Loss, differentiable_norm: bool = False):
    """One SGD step, with its own derivative rule.

    Args:
        loss: (params, batch, key) -> []. Augmentation and the choice of a minibatch
            belong inside, with randomness from `key`: then only the parameters are
            stored per step.
        differentiable_norm: whether the second output carries a gradient (a penalty on
            gradient norms along the path); it costs one more gradient per step in the
            backward pass.

    Returns:
        (params, batch, step_size, key) -> (new params, norm of the gradient []).
        Differentiable w.r.t. params, batch and step_size. For a cotangent u of the new
        parameters the backward pass is one forward-mode sweep along
        v = -step_size * u (+ the norm's direction): params get u + Hv, the batch gets
        the mixed second derivative, the step size gets -<u, gradient>.

    Example:
        >>> loss = lambda w, batch, key: jnp.mean((batch.images @ w) ** 2) / 2
        >>> batch = Batch(jnp.eye(2), jnp.ones((2, 1)))
        >>> step = student_step(loss)
        >>> new, norm = step(jnp.ones(2), batch, jnp.float32(0.5), jax.random.key(0))
        >>> new.tolist()
        [0.75, 0.75]
    """

    @jax.custom_vjp
    def step(params, batch, step_size, key):
        gradient = jax.grad(loss)(params, batch, key)
        new = jax.tree.map(lambda p, g: p - step_size * g, params, gradient)
        return new, global_norm(gradient)

    def forward(params, batch, step_size, key):
        return step(params, batch, step_size, key), (params, batch, step_size, key)

    def backward(residuals, cotangents):
        params, batch, step_size, key = residuals
        u, by_norm = cotangents
        v = jax.tree.map(lambda x: -step_size * x, u)
        if differentiable_norm:
            gradient = jax.grad(loss)(params, batch, key)
            norm = global_norm(gradient)
            factor = jnp.where(norm > 0, by_norm / jnp.where(norm > 0, norm, 1), 0)
            v = jax.tree.map(lambda x, g: x + factor * g, v, gradient)
        (gradient, _), (hessian_v, mixed_v) = jax.jvp(
            lambda p: jax.grad(loss, argnums=(0, 1))(p, batch, key), (params,), (v,)
        )
        by_params = jax.tree.map(jnp.add, u, hessian_v)
        return by_params, mixed_v, -vdot(u, gradient), None

    step.defvjp(forward, backward)
    return step


def unroll(step, params: Params, batch: Batch, step_size: Array, keys: Key):
    """Run a student for as many steps as there are keys.

    Args:
        step: what `student_step` returns.
        params: start parameters.
        batch: what the student trains on, all steps.
        step_size: [] learning rate.
        keys: [T] one key per step.

    Returns:
        (end parameters, gradient norms [T]).

    Example:
        >>> loss = lambda w, batch, key: jnp.mean((batch.images @ w) ** 2) / 2
        >>> batch = Batch(jnp.eye(2), jnp.ones((2, 1)))
        >>> keys = jax.random.split(jax.random.key(0), 3)
        >>> end, norms = unroll(
        ...     student_step(loss), jnp.ones(2), batch, jnp.float32(0.5), keys)
        >>> end.shape, norms.shape
        ((2,), (3,))
    """

    def body(carry: Params, key: Key) -> tuple[Params, Float[Array, ""]]:
        return step(carry, batch, step_size, key)

    return jax.lax.scan(body, params, keys)
