"""From a match of one class to an objective: terms, then the class lift."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from jaxdd import policy
from jaxdd.terms import WeightedTerm
from jaxdd.types import (
    Batch,
    Info,
    Inputs,
    Learner,
    Match,
    Objective,
    Scalar,
    Synthetic,
)
from jaxdd.windows import sample_class


def add_terms(match: Match, terms: Mapping[str, WeightedTerm]):
    """Add weighted penalties to a match.

    Returns:
        (key, synthetic, real, learner, step, share) -> (value, info). `share` is the
        class's part of an absolute weight: the match is summed over classes, a penalty
        is averaged, so the lift passes 1/K (ours).

    Example:
        >>> import jax, jaxdd, numpy as np
        >>> images = np.ones((6, 8, 8, 1), np.float32)
        >>> real = jaxdd.real_data(images, np.arange(6) % 3, 3)
        >>> network = jaxdd.make_network("mlp", (8, 8, 1), 3, width=4)
        >>> match = jaxdd.feature_match(network, jaxdd.siamese(()))
        >>> weight = jaxdd.weight_schedule("constant", 0.1, 1)
        >>> term = jaxdd.WeightedTerm(weight, jaxdd.sdc(network))
        >>> callable(add_terms(match, {"sdc": term}))
        True
    """

    def weighted(key, synthetic: Batch, real: Batch, learner: Learner, step, share):
        # The match's key does not depend on the terms: with and without them a run
        # sees the same samples and augmentations.
        value, evidence = match(jax.random.fold_in(key, 0), synthetic, real, learner)
        total, info = value, {"match": value}
        for i, (name, entry) in enumerate(terms.items()):
            key_term = jax.random.fold_in(key, i + 1)
            penalty = entry.term(key_term, learner, evidence)
            unit = share
            if entry.relative:
                unit = jax.lax.stop_gradient(value / jnp.where(penalty > 0, penalty, 1))
            total = total + entry.schedule(step) * unit * penalty
            info[name] = penalty * share
        return total, info

    return weighted


def per_class(
    match: Match, batch_size: int, terms: Mapping[str, WeightedTerm] | None = None
) -> Objective:
    """Lift a match of one class to the sum over classes.

    Every class draws its own real batch and its own augmentation. The gradient w.r.t. a
    class's images comes from that class alone, so it is computed in the same pass as
    the value and handed over by a derivative rule: nothing of size K * P crosses the
    lift, and real gradients are never computed twice. Differentiable w.r.t. the
    synthetic set only.

    Args:
        match: of one class.
        batch_size: real samples per class.
        terms: penalties by name.

    Returns:
        (key, synthetic, learner, inputs, step) -> (loss, info); info has "match" (sum
        over classes) and each term's value (mean over classes).

    Example:
        >>> import jax, jaxdd, numpy as np
        >>> images = np.ones((6, 8, 8, 1), np.float32)
        >>> real = jaxdd.real_data(images, np.arange(6) % 3, 3)
        >>> network = jaxdd.make_network("mlp", (8, 8, 1), 3, width=4)
        >>> learner = jaxdd.Learner(*network.init(jax.random.key(0)))
        >>> key = jax.random.key(0)
        >>> start = jaxdd.initial_set(key, "real", real, ipc=1)
        >>> match = jaxdd.feature_match(network, jaxdd.siamese(()))
        >>> objective = per_class(match, batch_size=2)
        >>> inputs = jaxdd.Inputs(real, real)
        >>> loss, info = objective(key, start, learner, inputs, jax.numpy.int32(0))
        >>> sorted(info)
        ['match']
    """
    weighted = add_terms(match, terms or {})

    def lift(evaluate, key, synthetic: Synthetic, learner, inputs: Inputs, step):
        classes = synthetic.images.shape[0]

        def one(xs):
            index, images, labels = xs
            key_sample, key_match = jax.random.split(jax.random.fold_in(key, index))
            real = sample_class(key_sample, inputs.real, index, batch_size)
            return evaluate(
                lambda batch: weighted(
                    key_match, batch, real, learner, step, 1 / classes
                ),
                Batch(images, labels),
            )

        xs = jnp.arange(classes), synthetic.images, synthetic.labels
        return policy.map_axis(one, xs)

    def total(values, infos) -> tuple[Scalar, Info]:
        return jnp.sum(values), jax.tree.map(jnp.sum, infos)

    @jax.custom_vjp
    def objective(key, synthetic, learner, inputs, step):
        return total(*lift(lambda f, x: f(x), key, synthetic, learner, inputs, step))

    def forward(key, synthetic, learner, inputs, step):
        (values, infos), gradients = lift(
            lambda f, x: jax.value_and_grad(f, has_aux=True)(x),
            key, synthetic, learner, inputs, step,
        )  # fmt: skip
        return total(values, infos), (gradients, synthetic.step_size)

    def backward(residuals, cotangents):
        (images, labels), step_size = residuals
        scale = cotangents[0]
        by_synthetic = Synthetic(
            scale * images, scale * labels, jnp.zeros_like(step_size)
        )
        return None, by_synthetic, None, None, None

    objective.defvjp(forward, backward)
    return objective
