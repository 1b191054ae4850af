"""Gradients of a batch loss that can themselves be differentiated cheaply.

A loss here is `(params, batch, context) -> []`, a mean over the batch. What a batch
weighs in the mean of several is the number of its rows, unless the loss says otherwise
by an attribute `weight`, a function of labels [B, K], such as the mass of labels of
`losses.cross_entropy`; rows of zeros weigh nothing then. `losses.mean_loss` has it for
every loss by name. The context is any further pytree that the loss needs, such as a key
or running statistics; it is passed on, never closed over, and carries no gradient.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxdd.primitives.trees import in_dtypes, vary_alike
from jaxdd.types import Array, Batch, Params, Scalar

Loss = Callable[[Params, Batch, Any], Scalar]


def pad_batch(batch: Batch, multiple: int) -> Batch:
    """Append padding rows (zero labels) until the length is a multiple."""
    extra = -batch.labels.shape[0] % multiple
    if extra == 0:
        return batch
    return jax.tree.map(
        lambda x: jnp.pad(x, [(0, extra)] + [(0, 0)] * (x.ndim - 1)), batch
    )


def _chunks(loss: Loss, batch: Batch, microbatch: int) -> tuple[Batch, Batch | None]:
    """Few chunks of equal length: 10 images are 5 + 5, not 8 + 2 and padding.

    Returns:
        Chunks with a leading axis, and the rows after the last of them: None where the
        loss gives rows of zeros no weight, which fill the last chunk then.
    """
    size = batch.labels.shape[0]
    length = -(-size // -(-size // microbatch))
    if hasattr(loss, "weight"):
        batch = pad_batch(batch, length)
    whole = batch.labels.shape[0] // length * length
    chunks = jax.tree.map(lambda x: x[:whole].reshape(-1, length, *x.shape[1:]), batch)
    rest = jax.tree.map(lambda x: x[whole:], batch)
    return chunks, rest if rest.labels.shape[0] else None


def _weight_of(loss: Loss) -> Callable[[Array], Array | int]:
    """What a batch weighs, by its labels."""
    return getattr(loss, "weight", lambda labels: labels.shape[0])


def _weighted(loss: Loss):
    # A chunk counts by its weight, so that the sum over chunks is the batch's mean.
    weight = _weight_of(loss)
    return lambda params, chunk, context: (
        weight(chunk.labels) * loss(params, chunk, context)
    )


def _mass(loss: Loss, labels: Array) -> Array:
    mass = jnp.asarray(_weight_of(loss)(labels), labels.dtype)
    return jnp.where(mass > 0, mass, 1)


def _divided(tree: Any, mass: Array) -> Any:
    """A tree divided by a number, each leaf in its own precision."""
    return jax.tree.map(lambda x: (x / mass).astype(x.dtype), tree)


def batch_gradient(loss: Loss, microbatch: int | None = None):
    """The gradient of a loss w.r.t. the parameters, accumulated over chunks.

    Meant for gradients that are not differentiated again (real batches, training).

    Args:
        loss: (params, batch, context) -> [].
        microbatch: chunk length, or None for the whole batch at once. Exact for means
            over rows, and for losses with a `weight`, as those of `losses.mean_loss`
            have it: there rows of zeros may be added. A mean by label mass without one
            is not, nor where samples interact: batch norm, randomness per image.

    Returns:
        (params, batch, context) -> gradient, a tree like params.

    Example:
        >>> from jaxdd.primitives.losses import cross_entropy
        >>> def loss(w, batch, context):
        ...     return cross_entropy(batch.images @ w, batch.labels)
        >>> batch, w = Batch(jnp.eye(3), jnp.eye(3)), jnp.eye(3)
        >>> whole, parts = (batch_gradient(loss, m)(w, batch, ()) for m in (None, 2))
        >>> float(jnp.abs(whole - parts).max()) < 1e-6
        True
    """
    whole = jax.grad(loss)

    def gradient(params, batch, context):
        if microbatch is None or batch.labels.shape[0] <= microbatch:
            return whole(params, batch, context)

        def add(total, chunk):
            part = jax.grad(_weighted(loss))(params, chunk, context)
            return jax.tree.map(jnp.add, total, part), None

        zeros, *_ = vary_alike(jax.tree.map(jnp.zeros_like, params), params, batch)
        chunks, rest = _chunks(loss, batch, microbatch)
        total, _ = jax.lax.scan(add, zeros, chunks)
        if rest is not None:
            total, _ = add(total, rest)
        return _divided(total, _mass(loss, batch.labels))

    return gradient


def value_and_gradients(loss: Loss, microbatch: int | None):
    """(params, batch, context) -> value, gradients w.r.t. params and batch.

    Along a direction v of the parameters the tangent of the value is <gradient, v>.
    Under jit, outputs that the caller ignores are not computed.
    """
    whole = jax.value_and_grad(loss, argnums=(0, 1))

    def gradients(params, batch, context):
        size = batch.labels.shape[0]
        if microbatch is None or size <= microbatch:
            value, (by_params, by_batch) = whole(params, batch, context)
            return value, by_params, by_batch
        mass, by_labels = jax.value_and_grad(partial(_mass, loss))(batch.labels)

        def add(carry, chunk):
            value, (by_params, by_chunk) = jax.value_and_grad(_weighted(loss), (0, 1))(
                params, chunk, context
            )
            total, summed = carry
            return (total + value, jax.tree.map(jnp.add, summed, by_params)), by_chunk

        zeros: Any = jnp.zeros((), mass.dtype), jax.tree.map(jnp.zeros_like, params)
        zeros, *_ = vary_alike(zeros, params, batch)
        chunks, rest = _chunks(loss, batch, microbatch)
        sums, by_chunk = jax.lax.scan(add, zeros, chunks)
        by_batch = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:size], by_chunk)
        if rest is not None:
            sums, by_rest = add(sums, rest)
            by_batch = jax.tree.map(
                lambda *parts: jnp.concatenate(parts), by_batch, by_rest
            )
        (total, by_params), (images, labels) = sums, by_batch
        # The mean's denominator depends on the labels too.
        by_batch = Batch(
            _divided(images, mass),
            (labels / mass - by_labels * (total / mass**2)).astype(labels.dtype),
        )
        return total / mass, _divided(by_params, mass), by_batch

    return gradients


def inner_gradient(loss: Loss, microbatch: int | None = None):
    """The gradient of a loss w.r.t. the parameters, with its own derivative rule.

    Reverse mode through `jax.grad(loss)` would differentiate a backward pass
    backwards. For a cotangent v the answer is the derivative of <grad, v>, and by
    symmetry of second derivatives that is one forward-mode sweep along v:
    d/de [grad_(params, batch) loss](params + e v). It costs about two gradients and
    stores nothing but the arguments (forward over reverse, as in MixFlow-MG).

    Args:
        loss: (params, batch, context) -> []. Everything traced must be an argument.
        microbatch: chunk length; the gradient is accumulated over chunks, see
            `batch_gradient` for which losses.

    Returns:
        (params, batch, context) -> gradient, a tree like params. Differentiable once
        more by reverse mode w.r.t. params and batch.

    Example:
        >>> loss = lambda w, batch, context: jnp.mean((batch.images @ w) ** 2)
        >>> gradient = inner_gradient(loss)
        >>> batch = Batch(jnp.ones((2, 3)), jnp.ones((2, 1)))
        >>> gradient(jnp.ones(3), batch, ()).shape
        (3,)
    """
    first = batch_gradient(loss, microbatch)
    both = value_and_gradients(loss, microbatch)

    @jax.custom_vjp
    def gradient(params, batch, context):
        return first(params, batch, context)

    def forward(params, batch, context):
        return gradient(params, batch, context), (params, batch, context)

    def backward(residuals, v):
        params, batch, context = residuals
        _, (_, by_params, by_batch) = jax.jvp(
            lambda p: both(p, batch, context), (params,), (v,)
        )
        return *in_dtypes((by_params, by_batch), (params, batch)), None

    gradient.defvjp(forward, backward)

    def gradient_of(params, batch, context):
        return gradient(*vary_alike(params, batch, context))

    return gradient_of


def batch_value(loss: Loss, microbatch: int | None = None):
    """The loss of a batch that is constant, with its gradient from the same pass.

    A custom derivative rule returns the gradient w.r.t. the parameters: memory holds
    the activations of one chunk, and one copy of the parameters.

    Args:
        loss: (params, batch, context) -> [].
        microbatch: chunk length, as in `batch_gradient`.

    Returns:
        (params, batch, context) -> []; differentiable w.r.t. params alone.

    Example:
        >>> from jaxdd.primitives.losses import cross_entropy
        >>> def loss(w, batch, context):
        ...     return cross_entropy(batch.images @ w, batch.labels)
        >>> value = batch_value(loss, microbatch=2)
        >>> number, slope = jax.value_and_grad(value)(
        ...     jnp.zeros((4, 4)), Batch(jnp.eye(4), jnp.eye(4)), ())
        >>> round(float(number), 4), slope.shape
        (1.3863, (4, 4))
    """
    both = value_and_gradients(loss, microbatch)

    @jax.custom_vjp
    def value(params, batch, context):
        return both(params, batch, context)[0]

    def forward(params, batch, context):
        number, by_params, _ = both(params, batch, context)
        return number, by_params

    def backward(by_params, cotangent):
        scaled = jax.tree.map(lambda g: cotangent * g, by_params)
        return in_dtypes(scaled, by_params), None, None

    value.defvjp(forward, backward)

    def value_of(params, batch, context):
        return value(*vary_alike(params, batch, context))

    return value_of
