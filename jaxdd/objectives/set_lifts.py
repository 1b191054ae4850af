"""The lift of a match of the whole set to an objective.

Real samples come class by class (`per_set`), mixed in one batch (`per_batch`), or stand
in the parameters of an expert (`per_span`). As in `lifts`, terms are added, and D4A's
term against forgetting is the same match on other samples.
"""

from collections.abc import Mapping

import jax

from jaxdd.data.real import sample_any, sample_class
from jaxdd.modifiers.forgetting import Forgetting
from jaxdd.modifiers.terms import WeightedTerm, add_terms
from jaxdd.objectives.sampling import Sampling, choose_images
from jaxdd.primitives.keys import Draw
from jaxdd.synthetic.sets import flatten, union
from jaxdd.types import (
    Array,
    Batch,
    BatchMatch,
    Info,
    Inputs,
    Key,
    Learner,
    Objective,
    Params,
    Samples,
    Scalar,
    SetMatch,
    SpanMatch,
    Synthetic,
)


def per_span(
    match: SpanMatch,
    terms: Mapping[str, WeightedTerm] | None = None,
    remember: Forgetting | None = None,
) -> Objective:
    """Lift a trajectory match to an objective: the whole set against one span.

    In later segments of D4A the student trains on the images of all segments so far,
    of which only the new ones get a gradient.

    Args:
        match: the match of a span.
        terms: penalties by name; each counts once, with its whole weight.
        remember: a term against forgetting. Its proxy is the distance between the
            students that are trained on the new images and on the earlier ones.

    Returns:
        The objective, which needs `inputs.span`. Its info has "match", each term's
        value and, with `remember`, "forgetting".

    Example:
        >>> span = jaxdd.Span(learner.params, network.init(jax.random.key(1))[0])
        >>> start = jaxdd.initial_set(key, "real", real, ipc=1)
        >>> plain = lambda key, images: images
        >>> objective = per_span(jaxdd.trajectory_match(network, plain, 2))
        >>> inputs = jaxdd.Inputs(real, real, span)
        >>> loss, info = objective(key, start, learner, inputs, jax.numpy.int32(0))
        >>> sorted(info)
        ['match']
    """
    weighted = add_terms(match, terms or {})

    def objective(
        key: Key, synthetic: Synthetic, learner: Learner, inputs: Inputs, step: Array
    ) -> tuple[Scalar, Info]:
        span = inputs.expert_span()
        together = union(inputs.earlier, synthetic)
        matched = weighted(key, together, span.target, learner, step, 1.0)
        if remember is None:
            return matched
        key_again = Draw.AGAIN.of(key)

        def proxy() -> tuple[Synthetic, Params]:
            before = inputs.earlier_set()._replace(step_size=synthetic.step_size)
            end = match(key_again, before, span.target, learner)[1].end
            return synthetic, jax.lax.stop_gradient(end)

        def replay() -> tuple[Synthetic, Params]:
            return together, span.whole

        pair_of = remember.choose(proxy, replay)

        def compare() -> Scalar:
            return match(key_again, *pair_of(), learner)[0]

        return remember.add(matched, inputs, compare)

    return objective


def per_set(
    match: SetMatch,
    sampling: Sampling,
    terms: Mapping[str, WeightedTerm] | None = None,
    remember: Forgetting | None = None,
) -> Objective:
    """Lift a match of all classes at once to an objective.

    Args:
        match: the match of all classes.
        sampling: how many samples of a class the match sees.
        terms: penalties by name; each counts once, with its whole weight.
        remember: a term against forgetting.

    Returns:
        The objective. Its info has "match", each term's value and, with `remember`,
        "forgetting".

    Example:
        >>> start = jaxdd.initial_set(key, "real", real, ipc=1)
        >>> match = jaxdd.contrastive_match(
        ...     network, jaxdd.DISTANCES["ours"], jaxdd.siamese(()))
        >>> objective = per_set(match, Sampling(real=2))
        >>> inputs = jaxdd.Inputs(real, real)
        >>> _, info = objective(key, start, learner, inputs, jax.numpy.int32(0))
        >>> sorted(info)
        ['match']
    """
    weighted = add_terms(match, terms or {})

    def objective(
        key: Key, synthetic: Synthetic, learner: Learner, inputs: Inputs, step: Array
    ) -> tuple[Scalar, Info]:
        key_new, key_before = jax.random.split(Draw.ROWS.of(key))
        chosen = choose_images(key_new, synthetic, sampling.synthetic)

        def real(key: Key, class_index: Array) -> Batch:
            return sampling.draw(key, inputs, class_index, step)

        matched = weighted(key, chosen, real, learner, step, 1.0)
        if remember is None:
            return matched

        def proxy() -> tuple[Synthetic, Samples]:
            earlier = inputs.earlier_set()
            before = choose_images(key_before, earlier, sampling.synthetic)
            return chosen, lambda key, k: Batch(before.images[k], before.labels[k])

        def replay() -> tuple[Synthetic, Samples]:
            both = union(inputs.earlier, synthetic)
            everything = lambda key, k: sample_class(key, inputs.full, k, sampling.real)
            return choose_images(key_before, both, sampling.synthetic), everything

        pair_of = remember.choose(proxy, replay)

        def compare() -> Scalar:
            return match(Draw.AGAIN.of(key), *pair_of(), learner)[0]

        return remember.add(matched, inputs, compare)

    return objective


def per_batch(
    match: BatchMatch,
    size: int,
    terms: Mapping[str, WeightedTerm] | None = None,
    remember: Forgetting | None = None,
) -> Objective:
    """Lift a match of the whole set with one mixed batch of real samples.

    In later segments of D4A the match sees the images of all segments so far, of which
    only the new ones get a gradient.

    Args:
        match: the match of a set with real samples of any class.
        size: real samples of a step.
        terms: penalties by name; each counts once, with its whole weight.
        remember: a term against forgetting. Its proxy matches the new images with the
            earlier ones in the place of real samples, its replay all images with real
            samples that are in play or not.

    Returns:
        The objective. Its info has "match", each term's value and, with `remember`,
        "forgetting".

    Example:
        >>> start = jaxdd.initial_set(key, "real", real, ipc=1)
        >>> mean = lambda images: jax.numpy.mean(images, axis=(0, 1))
        >>> def match(key, synthetic, real, learner):
        ...     apart = mean(synthetic.images) - jax.numpy.mean(real.images, axis=0)
        ...     return jax.numpy.sum(apart**2), None
        >>> inputs = jaxdd.Inputs(real, real)
        >>> objective = per_batch(match, size=4)
        >>> loss, info = objective(key, start, learner, inputs, jax.numpy.int32(0))
        >>> sorted(info)
        ['match']
    """
    weighted = add_terms(match, terms or {})

    def objective(
        key: Key, synthetic: Synthetic, learner: Learner, inputs: Inputs, step: Array
    ) -> tuple[Scalar, Info]:
        key_real, key_match = jax.random.split(key)
        together = union(inputs.earlier, synthetic)
        real = sample_any(key_real, inputs.real, size)
        matched = weighted(key_match, together, real, learner, step, 1.0)
        if remember is None:
            return matched

        def proxy() -> tuple[Synthetic, Batch]:
            return synthetic, jax.lax.stop_gradient(flatten(inputs.earlier_set()))

        def replay() -> tuple[Synthetic, Batch]:
            return together, sample_any(Draw.PAIRS.of(key), inputs.full, size)

        pair_of = remember.choose(proxy, replay)

        def compare() -> Scalar:
            return match(Draw.AGAIN.of(key_match), *pair_of(), learner)[0]

        return remember.add(matched, inputs, compare)

    return objective
