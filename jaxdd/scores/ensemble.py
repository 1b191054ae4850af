"""Scores averaged over an ensemble of networks, and the training of that ensemble."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxdd.data.real import take
from jaxdd.devices import policy
from jaxdd.errors import UserError
from jaxdd.scores.table import Effort, score_named
from jaxdd.scores.watched import averaged
from jaxdd.training.fit import Training, make_fit, rows
from jaxdd.types import Array, Batch, Key, Learner, Network, RealData


def ensemble_scores(
    network: Network,
    score: str,
    fetch: Callable[[Any, Array], Batch] = rows,
    chunk: int = 64,
):
    """Scores of a batch or a dataset, averaged over networks.

    Args:
        network: the architecture.
        score: a name in `table.SCORES` whose score needs no more than networks.
        fetch: (data, indices) -> Batch, as in `fit.make_fit`.
        chunk: samples at a time.

    Returns:
        (learners [E, ...], data) -> [M]. Pure, not jitted.

    Raises:
        UserError: the score is unknown, or needs more than trained networks.

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
    compute, needs = score_named(score)
    if needs != "networks":
        subject = "whole dataset" if needs == "dataset" else "training run of its own"
        raise UserError(
            f"the score {score} needs a {subject}: use jaxdd.scores.ensemble.measure"
        )

    def scores(learners: Learner, data) -> Array:
        def of_network(learner: Learner, data) -> Array:
            return policy.map_chunks(
                lambda indices: compute(network, learner, fetch(data, indices)),
                data.labels.shape[0],
                chunk,
            )

        return jnp.mean(policy.spread_axis(of_network, learners, data), axis=0)

    return scores


def measure(
    name: str,
    network: Network,
    key: Key,
    probes: Callable[[], Learner],
    real: RealData,
    effort: Effort,
) -> Array:
    """Any score of a dataset, [M], whatever it needs. Compiled.

    Args:
        name: a name in `table.SCORES`.
        network: the architecture.
        key: source of the score's own draws; scores at given networks draw nothing.
        probes: returns the trained networks [E, ...]. It is only called if the score
            needs them, so that several scores can share one training.
        real: the dataset.
        effort: number of networks, and the settings of influence and forgetting.

    Raises:
        UserError: the score is unknown, or refuses the effort.
    """
    compute, needs = score_named(name)
    if needs == "networks":
        scores = ensemble_scores(network, name, take)
        return averaged(scores, probes(), real, stage=name)
    scores = compute(network, effort)
    if needs == "dataset":
        return jax.jit(scores)(key, probes(), real)
    keys = jax.random.split(key, effort.networks)
    return averaged(scores, keys, real, stage=name)


def check_shape(
    name: str, network: Network, image_shape: tuple[int, ...], classes: int
) -> None:
    """Refuse a score that is not one number per sample, before networks are trained.

    Args:
        name: in `table.SCORES`; only scores at given networks are looked at.
        network: the architecture.
        image_shape: of a sample.
        classes: K.

    Raises:
        UserError: its result has another shape.
    """
    compute, needs = score_named(name)
    if needs != "networks":
        return

    def of_two(key: Key) -> Array:
        learner = Learner(*network.init(key))
        batch = Batch(jnp.zeros((2, *image_shape)), jnp.eye(2, classes))
        return compute(network, learner, batch)

    shape = jax.eval_shape(of_two, jax.random.key(0)).shape
    if shape != (2,):
        raise UserError(
            f"the score {name} gives an array of shape {shape} for 2 samples: it has "
            "to give one number for each, [2]"
        )


def train_probes(network: Network, training: Training, samples: int):
    """Networks partly trained on real data, at which difficulty is measured.

    Args:
        network: the architecture.
        training: the schedule by which each is trained.
        samples: random real samples that each network sees per epoch (all if the
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
            subset = real._replace(
                images=real.images[picked], labels=real.labels[picked]
            )
            return fit(key_fit, learner, subset)[0]

        return policy.spread_axis(one, keys, real)

    return probes
