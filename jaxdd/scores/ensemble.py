"""How hard samples are: scores per sample, averaged over an ensemble.

In every score larger means harder; whether easy or hard samples are wanted is up to
whoever uses the score. Here are those that a network gives for a batch by itself.
`forgetting` needs a whole training run and `influence` a whole dataset; their modules
stand below.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxdd.data.real import take
from jaxdd.devices import policy
from jaxdd.errors import UserError, quoted
from jaxdd.primitives import per_sample_gradient_norms
from jaxdd.primitives.losses import mean_loss, per_sample_cross_entropy
from jaxdd.primitives.trees import aligned
from jaxdd.scores.fisher import fisher_traces
from jaxdd.training.fit import Training, make_fit, rows
from jaxdd.types import Array, Batch, Key, Learner, Network, Outputs, RealData

Score = Callable[[Network, Learner, Batch], Array]


def _error(outputs: Outputs, labels: Array) -> Array:
    return jnp.linalg.norm(jax.nn.softmax(outputs.logits) - labels, axis=-1)


def _from_outputs(score: Callable[[Outputs, Array], Array]) -> Score:
    """A score that one forward pass gives."""

    def compute(network: Network, learner: Learner, batch: Batch) -> Array:
        outputs, _ = network.apply(learner.params, learner.stats, batch.images, False)
        present = jnp.any(batch.labels > 0, axis=-1)
        return jnp.where(present, score(outputs, batch.labels), 0)

    return compute


def _entropy(outputs: Outputs, labels: Array) -> Array:
    log_p = jax.nn.log_softmax(outputs.logits)
    return -jnp.sum(jnp.exp(log_p) * log_p, axis=-1)


def _error_probability(outputs: Outputs, labels: Array) -> Array:
    # The mass of the other classes, so that 1 - 0.99999999 does not round to zero.
    return jnp.sum(jax.nn.softmax(outputs.logits) * (1 - labels), axis=-1)


def _margin(outputs: Outputs, labels: Array) -> Array:
    p = jax.nn.softmax(outputs.logits)
    own_class = jnp.argmax(labels, -1, keepdims=True)
    is_own = aligned(jnp.arange(p.shape[-1]), own_class) == own_class
    own = jnp.sum(jnp.where(is_own, p, 0), axis=-1)
    other = jnp.max(jnp.where(is_own, 0, p), axis=-1)
    return other - own


def _grand(outputs: Outputs, labels: Array) -> Array:
    features = jnp.sum(outputs.features[-1] ** 2, axis=-1)
    return _error(outputs, labels) * jnp.sqrt(1 + features)


def grad_norm(network: Network, learner: Learner, batch: Batch) -> Array:
    """GraDN at one network: the norm of the gradient of all parameters, [B]."""
    norms = per_sample_gradient_norms(mean_loss(network))
    return norms(learner.params, batch, learner.stats)


def empirical_fisher(network: Network, learner: Learner, batch: Batch) -> Array:
    """Trace of the empirical Fisher matrix: the squared gradient norm, [B].

    At one network it ranks samples as `grad_norm` does; on average over networks it
    leans towards those at which a sample's gradient is large.
    """
    return jnp.square(grad_norm(network, learner, batch))


# Each is (network, learner, batch) -> [B] at one network.
SCORES: Mapping[str, Score] = {
    # Wang et al. 2024 (SDC): E |grad loss|, all parameters.
    "grad_norm": grad_norm,
    # Paul et al. 2021, GraNd of the classifier only: |p - y| sqrt(1 + |h|^2).
    "grand": _from_outputs(_grand),
    # Paul et al. 2021: E |p - y|, meant early in training.
    "el2n": _from_outputs(_error),
    "loss": _from_outputs(lambda o, y: per_sample_cross_entropy(o.logits, y)),
    # 1 - p(y); Swayamdipta et al. 2020 call the average of p(y) a sample's confidence.
    "error_probability": _from_outputs(_error_probability),
    # Undecided rather than wrong: it does not look at the label, nor does fisher.
    "entropy": _from_outputs(_entropy),
    # Largest wrong probability minus the right one: in [-1, 1].
    "margin": _from_outputs(_margin),
    # E_{y ~ p(x)} |grad log p(y | x)|^2, labels drawn from the network's prediction
    # (Martens, JMLR 2020): how far a sample can move the network, by its own belief.
    "fisher": fisher_traces,
    # The same with the given label; what most code calls Fisher information (Kunstner
    # et al., NeurIPS 2019, on the difference).
    "empirical_fisher": empirical_fisher,
}


def ensemble_scores(
    network: Network,
    score: str,
    fetch: Callable[[Any, Array], Batch] = rows,
    chunk: int = 64,
):
    """Scores of a dataset, averaged over networks.

    Args:
        network: the architecture.
        score: a name in SCORES.
        fetch: (data, indices) -> Batch, as in `train.make_fit`.
        chunk: samples at a time.

    Returns:
        (learners [E, ...], data) -> [M]. Pure, not jitted.

    Raises:
        UserError: an unknown score.

    Example:
        >>> import jax, jaxdd, numpy as np
        >>> images = np.ones((6, 8, 8, 1), np.float32)
        >>> real = jaxdd.real_data(images, np.arange(6) % 3, 3)
        >>> network = jaxdd.make_network("mlp", (8, 8, 1), 3, width=4)
        >>> init = lambda key: jaxdd.Learner(*network.init(key))
        >>> learners = jax.vmap(init)(jax.random.split(jax.random.key(0), 5))
        >>> scores = ensemble_scores(network, "el2n", take)
        >>> scores(learners, real).shape
        (6,)
    """
    if score not in SCORES:
        raise UserError(
            f"unknown score {quoted(score)}: choose one of {', '.join(SCORES)} "
            "(forgetting_scores and influence_scores are functions of their own)"
        )
    compute = SCORES[score]

    def scores(learners: Learner, data) -> Array:
        def of_network(learner: Learner, data) -> Array:
            return policy.map_chunks(
                lambda indices: compute(network, learner, fetch(data, indices)),
                data.labels.shape[0],
                chunk,
            )

        return jnp.mean(policy.spread_axis(of_network, learners, data), axis=0)

    return scores


def train_probes(network: Network, training: Training, samples: int):
    """Networks partly trained on real data, at which difficulty is measured.

    Args:
        network: the architecture.
        training: how each is trained.
        samples: how many random real samples each network sees per epoch (all if the
            dataset has fewer).

    Returns:
        (keys [E], real) -> learners [E, ...]. Pure, not jitted.
    """
    fit = make_fit(network, training, fetch=take)

    def probes(keys: Key, real: RealData) -> Learner:
        def one(key: Key, real: RealData) -> Learner:
            key_init, key_pick, key_fit = jax.random.split(key, 3)
            count = min(samples, real.labels.shape[0])
            picked = jax.random.permutation(key_pick, real.labels.shape[0])[:count]
            learner = Learner(*network.init(key_init))
            seen = real._replace(images=real.images[picked], labels=real.labels[picked])
            return fit(key_fit, learner, seen)[0]

        return policy.spread_axis(one, keys, real)

    return probes


def rank_correlation(scores: Mapping[str, ArrayLike]) -> Array:
    """Spearman's correlation of every pair of scores, [s, s]; ties share their rank."""

    def ranks(x: Array) -> Array:
        below = jnp.searchsorted(jnp.sort(x), x, side="left")
        upto = jnp.searchsorted(jnp.sort(x), x, side="right")
        return (below + upto) / 2.0

    return jnp.corrcoef(jnp.stack([ranks(jnp.asarray(x)) for x in scores.values()]))


def percentile(value: Array, population: Array) -> Array:
    """Share of the population below the value, in percent; ties count half."""
    ordered = jnp.sort(population)
    below = jnp.searchsorted(ordered, value, side="left")
    upto = jnp.searchsorted(ordered, value, side="right")
    return 50.0 * (below + upto) / population.shape[0]
