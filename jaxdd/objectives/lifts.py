"""The lift of a match of one class to an objective: the sum over classes.

A lift draws the samples that its match sees, adds the terms, and adds D4A's term
against forgetting, which is the same match on other samples.
"""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from jaxdd.data.real import sample_class
from jaxdd.devices import policy
from jaxdd.modifiers.forgetting import Forgetting
from jaxdd.modifiers.terms import WeightedTerm, add_terms
from jaxdd.objectives.sampling import Sampling
from jaxdd.primitives.keys import Draw
from jaxdd.primitives.trees import in_dtypes, vary_alike
from jaxdd.synthetic.sets import choose_rows
from jaxdd.types import (
    Array,
    Batch,
    ClassMatch,
    Info,
    Inputs,
    Key,
    Learner,
    Objective,
    Scalar,
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


def class_gradients(of_class: ClassObjective, features: bool = False) -> Objective:
    """The sum of an objective over classes, with its gradient from the same pass.

    The gradient with respect to the images of a class comes from that class alone, so
    it is computed together with the value, class by class. A custom derivative rule
    returns it: memory does not grow with K * P, and nothing is computed a second time
    in a backward pass. Only the images and labels get a gradient.

    Args:
        of_class: the objective of one class, a pure function; its key is that of the
            class.
        features: whether all that it computes of the network are features, and no
            gradients of its parameters: a device may then take more classes at once.

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
        chosen = policy.choices()
        chunk = chosen.feature_classes if features else chosen.classes
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
        return total(values, infos), (gradients, synthetic)

    def backward(residuals, cotangents):
        gradients, synthetic = residuals
        scale = cotangents[0]
        by_synthetic = Synthetic(
            scale * gradients.images,
            scale * gradients.labels,
            # Not zeros_like, which would not vary over a mesh as the step size does.
            0 * synthetic.step_size,
        )
        return None, in_dtypes(by_synthetic, synthetic), None, None, None

    objective.defvjp(forward, backward)

    def of_set(key, synthetic, learner, inputs, step):
        return objective(*vary_alike(key, synthetic, learner, inputs, step))

    return of_set


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
    features: bool = False,
) -> Objective:
    """Lift a match of one class to the sum over classes.

    Every class draws its own real batch and its own augmentation. Only the synthetic
    set gets a gradient; see `class_gradients`.

    Args:
        match: the match of one class.
        sampling: how many samples of a class the match sees.
        terms: penalties by name.
        remember: a term against forgetting.
        features: whether the match compares features, see `class_gradients`.

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

    # A term is about gradients of the parameters, whatever is matched.
    return class_gradients(of_class, features and not terms)
