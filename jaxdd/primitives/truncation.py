"""Truncated back-propagation through training: a window of its steps has a derivative.

A training of s + W steps is warmed up for s steps without a derivative; through the W
steps of the window the derivative is exact, second-order terms and the moments of the
optimiser included.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdd.errors import UserError
from jaxdd.primitives.gradients import Loss, batch_gradient, value_and_gradients
from jaxdd.primitives.optimizers import InnerOptimizer, Trained
from jaxdd.primitives.trees import global_norm, in_dtypes, vary_alike
from jaxdd.primitives.unroll import Prepare, as_it_is
from jaxdd.types import Array, Batch, Params

# (state, batch, stats, context, count, active) -> (next state, gradient norm [])
TrainingStep = Callable[..., tuple[Trained, Array]]


def training_step(
    loss: Loss,
    optimizer: InnerOptimizer,
    prepare: Prepare = as_it_is,
    *,
    microbatch: int | None = None,
    differentiable_norm: bool = False,
) -> TrainingStep:
    """One step of any inner optimiser, with its own derivative rule.

    Nothing but the state (the parameters and the optimiser's moments) is stored per
    step. In the backward pass the minibatch is chosen and augmented again, its gradient
    g is computed again, the optimiser's update is transposed at (state, g), and for the
    cotangent w of g one forward-mode sweep of the gradients along w gives Hw, for the
    parameters, and the mixed second derivative, for the batch (forward over reverse, as
    `unroll.student_step`; the rule for any optimiser is ours).

    Args:
        loss: (params, prepared batch, stats) -> [], e.g. `losses.mean_loss(network)`.
        optimizer: of the parameters.
        prepare: (batch, context) -> the step's minibatch, augmented; differentiable
            w.r.t. the batch, with everything random taken from the context. The context
            of a step is (context, count).
        microbatch: chunk length of the gradients; not with batch norm.
        differentiable_norm: whether the second output carries a gradient.

    Returns:
        (state, batch, stats, context, count, active) -> (next state, gradient norm []).
        `count` [] int32 are the updates before this one. `active` [] bool: where it is
        False, state and cotangents pass through as they are, nothing is computed and
        the norm is 0; None for a step that is always taken. Differentiable w.r.t. state
        and batch.

    Raises:
        UserError: the optimiser is another, such as one of optax, whose roots have no
            finite derivative at 0.

    Example:
        >>> from jaxdd.primitives.optimizers import inner_sgd
        >>> loss = lambda w, batch, stats: jnp.mean((batch.images @ w) ** 2) / 2
        >>> batch = Batch(jnp.eye(2), jnp.ones((2, 1)))
        >>> optimizer = inner_sgd(0.5, momentum=0.0, decay=0.0)
        >>> step = training_step(loss, optimizer)
        >>> state = optimizer.begin(jnp.ones(2))
        >>> step(state, batch, (), (), jnp.int32(0), None)[0].params.tolist()
        [0.75, 0.75]
    """
    if not isinstance(optimizer, InnerOptimizer):
        raise UserError(
            f"a training that is differentiated needs an InnerOptimizer, such as "
            f"inner_adam(0.001) or inner_sgd(0.1), not a {type(optimizer).__name__}"
        )
    first = batch_gradient(loss, microbatch)
    both = value_and_gradients(loss, microbatch)

    def advance(state: Trained, gradient: Params, count: Array):
        norm = global_norm(gradient)
        if not differentiable_norm:
            norm = jax.lax.stop_gradient(norm)
        return optimizer.update(state, gradient, count), norm

    @jax.custom_vjp
    def step(state, batch, stats, context, count, active):
        def take(state: Trained):
            prepared = prepare(batch, (context, count))
            return advance(state, first(state.params, prepared, stats), count)

        if active is None:
            return take(state)
        kind = jnp.result_type(*jax.tree.leaves(state.params))
        skip = lambda state: vary_alike((state, jnp.zeros((), kind)), state)[0]
        return jax.lax.cond(active, take, skip, state)

    def forward(state, batch, stats, context, count, active):
        residuals = state, batch, stats, context, count, active
        return step(*residuals), residuals

    def backward(residuals, cotangents):
        state, batch, stats, context, count, active = residuals

        def transpose(cotangents):
            choose = lambda batch: prepare(batch, (context, count))
            prepared, pull = jax.vjp(choose, batch)
            gradient = first(state.params, prepared, stats)
            moved = lambda state, gradient: advance(state, gradient, count)
            by_state, along = jax.vjp(moved, state, gradient)[1](cotangents)
            at = lambda params: both(params, prepared, stats)
            _, (_, hessian, mixed) = jax.jvp(at, (state.params,), (along,))
            by_params = jax.tree.map(jnp.add, by_state.params, hessian)
            return by_state._replace(params=by_params), pull(mixed)[0]

        if active is None:
            by_state, by_batch = transpose(cotangents)
        else:
            nothing, _ = vary_alike(jax.tree.map(jnp.zeros_like, batch), batch)
            skip = lambda cotangents: (cotangents[0], nothing)
            by_state, by_batch = jax.lax.cond(active, transpose, skip, cotangents)
        return by_state, in_dtypes(by_batch, batch), None, None, None, None

    step.defvjp(forward, backward)

    def training(state, batch, stats, context, count, active):
        return step(*vary_alike(state, batch, stats, context, count, active))

    return training


def train(
    step: TrainingStep, state: Trained, batch: Batch, stats, context, start: Array
) -> Trained:
    """The state after `start` [] int32 steps, without a derivative (the warm-up).

    Args:
        step: from `training_step`.
        state: before the first update.
        batch: what the steps choose from.
        stats: running statistics for the loss.
        context: what all steps share, such as a key; see `training_step`.
        start: the number of steps, which may be traced.
    """
    state, batch = jax.lax.stop_gradient((state, batch))
    one = lambda i, state: step(state, batch, stats, context, i, None)[0]
    return jax.lax.fori_loop(0, start, one, state)


def train_window(
    step: TrainingStep,
    state: Trained,
    batch: Batch,
    stats: Any,
    context: Any,
    start: Array,
    steps: int,
    length: Array | None = None,
) -> tuple[Trained, Array]:
    """Take the steps of a window, whose derivative is exact.

    Args:
        step: from `training_step`.
        state: after `start` updates.
        batch, stats, context: as in `train`.
        start: [] int32, the updates before the window.
        steps: W, the most steps that a window has. Memory holds that many states.
        length: [] int32, the steps of this window, at most `steps`; None for all of
            them. What is beyond it is not computed.

    Returns:
        The state after the window, and the gradient norms [W], 0 beyond its length.

    Example:
        >>> from jaxdd.primitives.optimizers import inner_adam
        >>> loss = lambda w, batch, stats: jnp.mean((batch.images @ w) ** 2) / 2
        >>> batch = Batch(jnp.eye(2), jnp.ones((2, 1)))
        >>> optimizer = inner_adam(0.1)
        >>> step, state = training_step(loss, optimizer), optimizer.begin(jnp.ones(2))
        >>> warm = train(step, state, batch, (), (), jnp.int32(3))
        >>> _, norms = train_window(
        ...     step, warm, batch, (), (), jnp.int32(3), 4, jnp.int32(2))
        >>> (norms > 0).tolist()
        [True, True, False, False]
    """

    def body(state: Trained, i: Array):
        active = None if length is None else i < length
        return step(state, batch, stats, context, start + i, active)

    return jax.lax.scan(body, state, jnp.arange(steps))


class Student(NamedTuple):
    """How an objective trains a network on the set, for whoever else has to train it.

    Attributes:
        optimizer: of the parameters.
        step: one step; its batch is [K, n, ...], its context the key of the training.
        steps: W, the steps of a window.
    """

    optimizer: InnerOptimizer
    step: TrainingStep
    steps: int
