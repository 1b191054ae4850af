"""Per-sample gradient norms without ever holding [B, P]."""

import jax
from jaxtyping import Array, Float

from jaxdd.devices import policy
from jaxdd.primitives.gradients import Loss, inner_gradient
from jaxdd.primitives.losses import check_labels, present
from jaxdd.primitives.trees import global_norm
from jaxdd.types import Batch, Params


def per_sample_gradient_norms(loss: Loss, chunk: int | None = None):
    """Norms of the gradients of single samples: GraDN at one network.

    `vmap(grad)` over `chunk` samples, mapped over chunks: memory is chunk * P however
    large the batch. Differentiable w.r.t. the images (each chunk is recomputed in the
    backward pass) and jit-able; wrap it in `jax.jit` if it is the outermost call. On
    several devices call it within `jax.shard_map`, each with its own samples: a sharded
    batch would be gathered for the chunks.

    Args:
        loss: (params, batch, context) -> [], called with batches of one sample.
        chunk: samples per vmap; None for `policy.choices().samples`.

    Returns:
        (params, batch, context) -> [B]; zero for padding rows. It raises UserError for
        labels that are no floats [B, K].

    Example:
        >>> loss = lambda w, batch, context: jnp.mean((batch.images @ w) ** 2)
        >>> batch = Batch(jnp.eye(3), jnp.ones((3, 1)))
        >>> norms = per_sample_gradient_norms(loss)
        >>> norms(jnp.ones(3), batch, ()).tolist()
        [2.0, 2.0, 2.0]
    """
    gradient = inner_gradient(loss)

    def norms(params: Params, batch: Batch, context) -> Float[Array, " B"]:
        @jax.checkpoint
        def one(sample: Batch):
            single = jax.tree.map(lambda x: x[None], sample)
            norm = global_norm(gradient(params, single, context))
            return norm * present(sample.labels)

        check_labels(batch.labels)
        size = batch.labels.shape[0]
        at_once = policy.choices().samples if chunk is None else chunk
        return jax.lax.map(one, batch, batch_size=min(at_once, size))

    return norms
