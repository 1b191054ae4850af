"""Self-influence of samples: how much training on a sample lowers its own loss.

Koh & Liang, ICML 2017: more weight on a sample in training moves the parameters along
-(H + lambda)^-1 g, where g is its gradient and H the Hessian of the mean loss, so that
its own loss falls by the self-influence g^T (H + lambda)^-1 g per weight. That is large
for a sample that is fitted for its own sake and not by what it shares with the others
(their section 5.4 finds wrong labels by it). The influence on the mean loss,
-mean(g)^T (H + lambda)^-1 g, is cheaper, but no difficulty: samples that are hard in
the usual way help the mean most, and rank below easy ones.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from jaxdd.devices import policy
from jaxdd.errors import UserError
from jaxdd.primitives.losses import mean_loss
from jaxdd.scores.fisher import fisher_product, top_eigenpairs
from jaxdd.training.fit import rows
from jaxdd.types import Array, Batch, Key, Learner, Network


def influence_scores(
    network: Network,
    fetch: Callable[[Any, Array], Batch] = rows,
    *,
    damping: float = 0.1,
    rank: int = 16,
    samples: int = 256,
    chunk: int = 64,
):
    """Self-influence g^T (F + lambda)^-1 g of every sample, averaged over networks.

    H is taken as F, the mean Fisher (Gauss-Newton) matrix, which is never indefinite,
    and F as its `rank` largest eigenpairs (Schioppa et al., AAAI 2022), so that no
    system is solved per sample. F is taken as zero outside their span: a score is
    too large by a factor of at most 1 + s / lambda, for the largest eigenvalue s
    left out. A smaller damping needs a higher rank.

    Args:
        network: the architecture.
        fetch: (data, indices) -> Batch, as in `fit.make_fit`.
        damping: lambda as a share of F's largest eigenvalue, so that scores have no
            unit; with much of it they approach squared gradient norms.
        rank: number of eigenpairs; memory is about 3 * rank * P floats.
        samples: number of samples, evenly spaced in the data, that F is computed from.
        chunk: number of these samples at a time.

    Returns:
        (key, learners [E, ...], data) -> [M]; the key draws the random sketches from
        which the eigenpairs are computed. Pure, not jitted.

    Raises:
        UserError: damping, rank or the number of samples is not positive.

    Example:
        >>> import jax, jaxdd, numpy as np
        >>> images = np.ones((6, 8, 8, 1), np.float32)
        >>> real = jaxdd.real_data(images, np.arange(6) % 3, 3)
        >>> network = jaxdd.make_network("mlp", (8, 8, 1), 3, width=4)
        >>> init = lambda key: jaxdd.Learner(*network.init(key))
        >>> learners = jax.vmap(init)(jax.random.split(jax.random.key(0), 2))
        >>> scores = influence_scores(network, jaxdd.data.real.take, rank=4)
        >>> scores(jax.random.key(1), learners, real).shape
        (6,)
    """
    for name, value in (("damping", damping), ("rank", rank), ("samples", samples)):
        if not value > 0:
            raise UserError(f"{name} of the influence must be positive, not {value}")
    loss = mean_loss(network)

    def of_network(key: Key, learner: Learner, data) -> Array:
        params, stats = learner.params, learner.stats
        count = data.labels.shape[0]
        used = min(samples, count)
        indices = jnp.asarray(np.arange(used) * count // used)
        product = fisher_product(network, learner, data, indices, fetch, chunk)
        flat, _ = ravel_pytree(params)
        values, vectors = top_eigenpairs(key, product, flat.size, rank, flat.dtype)
        # Where F vanishes so do the gradients of all samples that are right.
        shift = jnp.maximum(damping * values[-1], jnp.finfo(flat.dtype).tiny)

        def one(sample: Batch) -> Array:
            single = jax.tree.map(lambda x: x[None], sample)
            gradient, _ = ravel_pytree(jax.grad(loss)(params, single, stats))
            along = vectors @ gradient
            across = gradient - along @ vectors
            return jnp.sum(along**2 / (values + shift)) + jnp.sum(across**2) / shift

        at = lambda indices: jax.vmap(one)(fetch(data, indices))
        return policy.map_chunks(at, count, policy.choices().samples)

    def scores(key: Key, learners: Learner, data) -> Array:
        keys = jax.random.split(key, jax.tree.leaves(learners)[0].shape[0])
        each = lambda pair, data: of_network(pair[0], pair[1], data)
        scores_by_network = policy.spread_axis(each, (keys, learners), data)
        return jnp.mean(scores_by_network, axis=0)

    return scores
