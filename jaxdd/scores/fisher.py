"""The model's Fisher matrix, without ever holding it or per-sample gradients [B, P].

At one sample it is F(x) = E_{y ~ p(x)} g g^T with g = grad log p(y | x): the labels are
the model's own and not those of the data, which the "empirical" Fisher uses. For the
cross-entropy this is also the generalised Gauss-Newton matrix J^T (diag p - p p^T) J of
the logits' Jacobian J (Martens, JMLR 2020, section 9.2), hence never indefinite, as the
Hessian is before training has converged. Networks are applied as in evaluation, so that
batch norm takes its running statistics and samples do not interact.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jaxdd.devices import policy
from jaxdd.primitives.losses import present
from jaxdd.primitives.trees import vdot
from jaxdd.types import Array, Batch, Key, Learner, Network, Params


def _logits(network: Network, learner: Learner, images: Array):
    def compute(params: Params) -> Array:
        return network.apply(params, learner.stats, images, False)[0].logits

    return compute


def fisher_traces(network: Network, learner: Learner, batch: Batch) -> Array:
    """Trace of the Fisher matrix of every sample: sum_k p_k |grad log p_k|^2, [B].

    E_{y ~ p(x)} |grad log p(y | x)|^2 with labels drawn from the network's prediction
    (Martens, JMLR 2020): how far a sample can move the network, by its own belief.
    Exact: one forward and K backward passes for each sample. `policy` bounds the
    samples at a time, and the gradients of each. Zero for padding rows; otherwise
    the labels are ignored.
    """
    classes = batch.labels.shape[-1]

    chosen = policy.choices()

    def one(sample: Batch) -> Array:
        images = sample.images[None]
        logits, pull = jax.vjp(_logits(network, learner, images), learner.params)
        p = jax.nn.softmax(logits)

        def of_class(one_hot: Array) -> Array:
            (gradient,) = pull(one_hot - p)
            return vdot(gradient, gradient)

        one_hots = jnp.eye(classes, dtype=p.dtype)[:, None]
        squares = policy.map_axis(
            of_class, one_hots, min(chosen.classes, chosen.samples)
        )
        return jnp.sum(p[0] * squares) * present(sample.labels)

    size = batch.labels.shape[0]
    return jax.lax.map(one, batch, batch_size=min(chosen.samples, size))


def fisher_product(
    network: Network,
    learner: Learner,
    data: Any,
    indices: Array,
    fetch: Callable[[Any, Array], Batch],
    chunk: int,
) -> Callable[[Array], Array]:
    """Products with the mean Fisher matrix of some samples.

    Args:
        network, learner: the network at which the matrix is taken.
        data: the dataset, in any form that `fetch` reads.
        indices: [m], the samples; padding rows do not count.
        fetch: (data, indices) -> Batch, as in `fit.make_fit`.
        chunk: samples at a time.

    Returns:
        (vectors [r, P]) -> [r, P], with the parameters flattened as by `ravel_pytree`.
        All vectors share each chunk's forward pass.
    """
    _, unravel = ravel_pytree(learner.params)
    ravel = lambda tree: ravel_pytree(tree)[0]
    size = min(chunk, indices.shape[0])
    filled = jnp.resize(indices, (-(-indices.shape[0] // size), size))
    valid = (jnp.arange(filled.size) < indices.shape[0]).reshape(filled.shape)

    def product(vectors: Array) -> Array:
        def add(carry, part):
            total, mass = carry
            batch = fetch(data, part[0])
            weight = (part[1] & present(batch.labels)).astype(total.dtype)
            logits, push = jax.linearize(
                _logits(network, learner, batch.images), learner.params
            )
            pull = jax.linear_transpose(push, learner.params)
            p = jax.nn.softmax(logits)

            def one(vector: Array) -> Array:
                u = push(unravel(vector))
                curved = p * (u - jnp.sum(p * u, axis=-1, keepdims=True))
                return ravel(pull(weight[:, None] * curved)[0])

            total = total + policy.map_axis(one, vectors, policy.choices().networks)
            return (total, mass + jnp.sum(weight)), None

        start = jnp.zeros_like(vectors), jnp.zeros((), vectors.dtype)
        (total, mass), _ = jax.lax.scan(add, start, (filled, valid))
        return total / jnp.where(mass > 0, mass, 1)

    return product


def top_eigenpairs(
    key: Key, product: Callable[[Array], Array], size: int, rank: int, dtype: Any
) -> tuple[Array, Array]:
    """Largest eigenvalues [r], ascending, and vectors [r, size] of a PSD matrix.

    A random sketch and one step of subspace iteration, then Rayleigh-Ritz (Halko,
    Martinsson & Tropp, SIAM Review 2011, algorithms 4.4 and 5.3): three products of
    r = min(rank, size) vectors each. Exact once r reaches the rank of the matrix.

    Args:
        product: (vectors [r, size]) -> [r, size].
    """
    basis = jax.random.normal(key, (min(rank, size), size), dtype)
    for _ in range(2):
        basis = jnp.linalg.qr(product(basis).T)[0].T
    small = product(basis) @ basis.T
    values, rotation = jnp.linalg.eigh((small + small.T) / 2)
    return jnp.maximum(values, 0), rotation.T @ basis
