"""The lift of a match to an objective: over classes, the whole set, or spans.

A lift draws the samples that its match sees, adds the terms, and adds D4A's term
against forgetting, which is the same match on other samples.
"""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from jaxdd.data.real import sample_any, sample_class
from jaxdd.devices import policy
from jaxdd.modifiers.forgetting import Forgetting
from jaxdd.modifiers.terms import WeightedTerm, add_terms
from jaxdd.objectives.sampling import Sampling, choose_images, choose_rows
from jaxdd.primitives.keys import Draw
from jaxdd.synthetic.sets import flatten, union
from jaxdd.types import (
    Array,
    Batch,
    BatchMatch,
    ClassMatch,
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


@runtime_checkable
class ClassObjective(Protocol):
    """The loss of the images of one class."""

    def __call__(
        self,
        images: Batch,
        key: Key,
        class_index: Array,
        learner: Learner,
        inputs: Inputs,
        step: Array,
        /,
    ) -> tuple[Scalar, Info]:
        """Compute it.

        Args:
            images: [n, ...], the only argument that gets a gradient.
            key: consumed.
            class_index: [] int32.
            learner: the network of the step.
            inputs: the data of the step.
            step: [] int32.
        """  # fmt: skip


def class_gradients(of_class: ClassObjective) -> Objective:
    """The sum of an objective over classes, with its gradient from the same pass.

    The gradient with respect to the images of a class comes from that class alone, so
    it is computed together with the value, class by class. A custom derivative rule
    returns it: memory does not grow with K * P, and nothing is computed a second time
    in a backward pass. Only the images and labels get a gradient.

    Args:
        of_class: the objective of one class, a pure function; its key is that of the
            class.

    Returns:
        The objective; its loss and info are sums over classes.
    """

    def over_classes(function, key, synthetic: Synthetic, learner, inputs, step):
        def one(xs, key, learner, inputs, step):
            index, images = xs
            key_class = jax.random.fold_in(key, index)
            return function(images, key_class, index, learner, inputs, step)

        xs = (
            jnp.arange(synthetic.images.shape[0]),
            Batch(synthetic.images, synthetic.labels),
        )
        chunk = policy.choices().classes
        return policy.spread_axis(one, xs, key, learner, inputs, step, chunk=chunk)

    def total(values, infos) -> tuple[Scalar, Info]:
        return jnp.sum(values), jax.tree.map(jnp.sum, infos)

    @jax.custom_vjp
    def objective(key, synthetic, learner, inputs, step):
        return total(*over_classes(of_class, key, synthetic, learner, inputs, step))

    def forward(key, synthetic, learner, inputs, step):
        with_gradient = jax.value_and_grad(of_class, has_aux=True)
        (values, infos), gradients = over_classes(
            with_gradient, key, synthetic, learner, inputs, step
        )
        return total(values, infos), (gradients, synthetic.step_size)

    def backward(residuals, cotangents):
        gradients, step_size = residuals
        scale = cotangents[0]
        by_synthetic = Synthetic(
            scale * gradients.images,
            scale * gradients.labels,
            jnp.zeros_like(step_size),
        )
        return None, by_synthetic, None, None, None

    objective.defvjp(forward, backward)
    return objective


def _proxy_of_class(
    key: Key, new: Batch, index: Array, inputs: Inputs, sampling: Sampling
) -> tuple[Batch, Batch]:
    """New images of a class, and earlier ones in the place of real samples."""
    key_new, key_before, _ = jax.random.split(key, 3)
    before = _earlier_of_class(inputs, index)
    return (
        choose_rows(key_new, new, sampling.synthetic),
        choose_rows(key_before, before, sampling.synthetic),
    )


def _replay_of_class(
    key: Key, new: Batch, index: Array, inputs: Inputs, sampling: Sampling
) -> tuple[Batch, Batch]:
    """Old and new images of a class, and samples from all real ones."""
    key_new, _, key_real = jax.random.split(key, 3)
    before = _earlier_of_class(inputs, index)
    both = jax.tree.map(lambda *x: jnp.concatenate(x), before, new)
    everything = sample_class(key_real, inputs.full, index, sampling.real)
    return choose_rows(key_new, both, sampling.synthetic), everything


def _earlier_of_class(inputs: Inputs, index: Array) -> Batch:
    earlier = inputs.earlier_set()
    return Batch(earlier.images[index], earlier.labels[index])


def per_class(
    match: ClassMatch,
    sampling: Sampling,
    terms: Mapping[str, WeightedTerm] | None = None,
    remember: Forgetting | None = None,
) -> Objective:
    """Lift a match of one class to the sum over classes.

    Every class draws its own real batch and its own augmentation. Only the synthetic
    set gets a gradient; see `class_gradients`.

    Args:
        match: the match of one class.
        sampling: how many samples of a class the match sees.
        terms: penalties by name.
        remember: a term against forgetting.

    Returns:
        The objective. Its info has "match" (the sum over classes), each term's value
        (the mean over classes) and, with `remember`, "forgetting" (the sum).

    Example:
        >>> start = jaxdd.initial_set(key, "real", real, ipc=1)
        >>> match = jaxdd.feature_match(network, jaxdd.siamese(()))
        >>> objective = per_class(match, Sampling(real=2))
        >>> inputs = jaxdd.Inputs(real, real)
        >>> loss, info = objective(key, start, learner, inputs, jax.numpy.int32(0))
        >>> sorted(info)
        ['match']
    """
    weighted = add_terms(match, terms or {})

    def of_class(
        new: Batch,
        key: Key,
        index: Array,
        learner: Learner,
        inputs: Inputs,
        step: Array,
    ) -> tuple[Scalar, Info]:
        key_real, key_match = jax.random.split(key)
        real = sampling.draw(key_real, inputs, index, step)
        rows = choose_rows(Draw.ROWS.of(key_match), new, sampling.synthetic)
        share = 1 / new.labels.shape[-1]
        matched = weighted(key_match, rows, real, learner, step, share)
        if remember is None:
            return matched
        pair_of = remember.choose(_proxy_of_class, _replay_of_class)
        key_pair = Draw.PAIRS.of(key_match)

        def compare() -> Scalar:
            pair = pair_of(key_pair, new, index, inputs, sampling)
            return match(Draw.AGAIN.of(key_match), *pair, learner)[0]

        return remember.add(matched, inputs, compare)

    return class_gradients(of_class)


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
