"""From a match to an objective: terms, then the lift over classes, set or spans."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxdd import policy
from jaxdd.terms import WeightedTerm
from jaxdd.types import (
    Array,
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
        (key, synthetic, target, learner, step, share) -> (value, info). `share` is the
        part of an absolute weight that one match gets: where the match is summed over
        classes a penalty is averaged, so that lift passes 1/K (ours).

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

    def weighted(key, synthetic, target, learner: Learner, step, share):
        # The match's key does not depend on the terms: with and without them a run
        # sees the same samples and augmentations.
        value, evidence = match(jax.random.fold_in(key, 0), synthetic, target, learner)
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


def per_span(
    match: Match, terms: Mapping[str, WeightedTerm] | None = None
) -> Objective:
    """Lift a trajectory match to an objective: the whole set against one span.

    Args:
        match: (key, synthetic set, target parameters, learner) -> (value, evidence).
        terms: penalties by name; there is one of each, with its whole weight.

    Returns:
        (key, synthetic, learner, inputs, step) -> (loss, info); `inputs.span` has the
        expert's parameters. Info has "match" and each term's value.

    Example:
        >>> import jax, jaxdd, numpy as np
        >>> images = np.ones((6, 8, 8, 1), np.float32)
        >>> real = jaxdd.real_data(images, np.arange(6) % 3, 3)
        >>> network = jaxdd.make_network("mlp", (8, 8, 1), 3, width=4)
        >>> key = jax.random.key(0)
        >>> learner = jaxdd.Learner(*network.init(key))
        >>> span = jaxdd.Span(learner.params, network.init(jax.random.key(1))[0])
        >>> start = jaxdd.initial_set(key, "real", real, ipc=1)
        >>> plain = lambda key, images: images
        >>> objective = per_span(jaxdd.trajectory_match(network, plain, 2))
        >>> inputs = jaxdd.Inputs(real, real, span)
        >>> loss, info = objective(key, start, learner, inputs, jax.numpy.int32(0))
        >>> sorted(info)
        ['match']
    """

    def target(inputs: Inputs):
        assert inputs.span is not None, "trajectory matching needs inputs.span"
        return inputs.span.target

    return _whole(match, target, terms)


def per_set(match: Match, terms: Mapping[str, WeightedTerm] | None = None) -> Objective:
    """Lift a match of all classes at once to an objective.

    Args:
        match: (key, synthetic set, real data, learner) -> (value, evidence).
        terms: penalties by name; there is one of each, with its whole weight.

    Returns:
        (key, synthetic, learner, inputs, step) -> (loss, info); info has "match" and
        each term's value.

    Example:
        >>> import jax, jaxdd, numpy as np
        >>> images = np.ones((6, 8, 8, 1), np.float32)
        >>> real = jaxdd.real_data(images, np.arange(6) % 3, 3)
        >>> network = jaxdd.make_network("mlp", (8, 8, 1), 3, width=4)
        >>> key = jax.random.key(0)
        >>> learner = jaxdd.Learner(*network.init(key))
        >>> start = jaxdd.initial_set(key, "real", real, ipc=1)
        >>> match = jaxdd.contrastive_match(
        ...     network, jaxdd.DISTANCES["ours"], jaxdd.siamese(()), batch_size=2)
        >>> inputs = jaxdd.Inputs(real, real)
        >>> _, info = per_set(match)(key, start, learner, inputs, jax.numpy.int32(0))
        >>> sorted(info)
        ['match']
    """
    return _whole(match, lambda inputs: inputs.real, terms)


def _whole(
    match: Match,
    target: Callable[[Inputs], Any],
    terms: Mapping[str, WeightedTerm] | None,
) -> Objective:
    weighted = add_terms(match, terms or {})

    def objective(key, synthetic: Synthetic, learner, inputs: Inputs, step):
        return weighted(key, synthetic, target(inputs), learner, step, 1.0)

    return objective


def switch(
    use_second: Callable[[Array], Array], first: Objective, second: Objective
) -> Objective:
    """One objective until `use_second(step)` holds, another where it does.

    Both must have the same info. Only the chosen one is computed.

    Example:
        >>> import jax
        >>> one = lambda *_: (jax.numpy.float32(1), {})
        >>> two = lambda *_: (jax.numpy.float32(2), {})
        >>> late = switch(lambda step: step >= 5, one, two)
        >>> [float(late(0, 0, 0, 0, jax.numpy.int32(step))[0]) for step in (4, 5)]
        [1.0, 2.0]
    """

    def objective(*args):
        return jax.lax.cond(use_second(args[-1]), second, first, *args)

    return objective
