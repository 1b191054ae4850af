"""The lift of a match to an objective: over classes, the whole set, or spans.

Every lift takes the same `Sampling` and `Forgetting`: what a match is shown and what
D4A adds are written once for all methods.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from jaxdd.data.real import sample_class
from jaxdd.devices import policy
from jaxdd.modifiers.forgetting import Forgetting
from jaxdd.modifiers.terms import WeightedTerm, add_terms
from jaxdd.objectives.sampling import Sampling, choose_rows
from jaxdd.synthetic.sets import union
from jaxdd.types import (
    Array,
    Batch,
    Info,
    Inputs,
    Key,
    Match,
    Objective,
    Scalar,
    Synthetic,
)


def per_class(
    match: Match,
    sampling: Sampling,
    terms: Mapping[str, WeightedTerm] | None = None,
    remember: Forgetting | None = None,
) -> Objective:
    """Lift a match of one class to the sum over classes.

    Every class draws its own real batch and its own augmentation. The gradient w.r.t. a
    class's images comes from that class alone, so it is computed in the same pass as
    the value and handed over by a derivative rule: nothing of size K * P crosses the
    lift, and real gradients are never computed twice. Differentiable w.r.t. the
    synthetic set only.

    Args:
        match: of one class.
        sampling: how many samples of a class it is shown.
        terms: penalties by name.
        remember: a term against forgetting.

    Returns:
        (key, synthetic, learner, inputs, step) -> (loss, info); info has "match" (sum
        over classes), each term's value (mean over classes) and "forgetting" (sum)
        where there is such a term.

    Example:
        >>> import jax, jaxdd, numpy as np
        >>> images = np.ones((6, 8, 8, 1), np.float32)
        >>> real = jaxdd.real_data(images, np.arange(6) % 3, 3)
        >>> network = jaxdd.make_network("mlp", (8, 8, 1), 3, width=4)
        >>> learner = jaxdd.Learner(*network.init(jax.random.key(0)))
        >>> key = jax.random.key(0)
        >>> start = jaxdd.initial_set(key, "real", real, ipc=1)
        >>> match = jaxdd.feature_match(network, jaxdd.siamese(()))
        >>> objective = per_class(match, Sampling(real=2))
        >>> inputs = jaxdd.Inputs(real, real)
        >>> loss, info = objective(key, start, learner, inputs, jax.numpy.int32(0))
        >>> sorted(info)
        ['match']
    """
    weighted = add_terms(match, terms or {})

    def lift(evaluate, key, synthetic: Synthetic, learner, inputs: Inputs, step):
        classes = synthetic.images.shape[0]

        def one(xs, key, learner, inputs: Inputs, step):
            index, images, labels = xs
            key_sample, key_match = jax.random.split(jax.random.fold_in(key, index))
            real = sampling.draw(key_sample, inputs, index, step)

            def value(batch: Batch):
                shown = choose_rows(
                    jax.random.fold_in(key_match, 0xC0), batch, sampling.synthetic
                )
                found = weighted(key_match, shown, real, learner, step, 1 / classes)
                if remember is None:
                    return found
                key_pairs = jax.random.fold_in(key_match, 0xE0)
                pairs = pairs_of(key_pairs, index, batch, inputs)
                again = jax.random.fold_in(key_match, 0xF0)
                compare = lambda made, target: match(again, made, target, learner)[0]
                return remember.add(pairs, compare, inputs.earlier, found)

            return evaluate(value, Batch(images, labels))

        def pairs_of(key: Key, index: Array, new: Batch, inputs: Inputs):
            assert inputs.earlier is not None, "forgetting needs inputs.earlier"
            before = Batch(inputs.earlier.images[index], inputs.earlier.labels[index])
            key_new, key_before, key_real = jax.random.split(key, 3)
            some = lambda key, batch: choose_rows(key, batch, sampling.synthetic)

            def proxy():
                return some(key_new, new), some(key_before, before)

            def replay():
                both = jax.tree.map(lambda *x: jnp.concatenate(x), before, new)
                everything = sample_class(key_real, inputs.full, index, sampling.real)
                return some(key_new, both), everything

            return {"proxy": proxy, "replay": replay}

        xs = jnp.arange(classes), synthetic.images, synthetic.labels
        return policy.spread_axis(
            one, xs, key, learner, inputs, step, chunk=policy.choices().classes
        )

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
    match: Match,
    terms: Mapping[str, WeightedTerm] | None = None,
    remember: Forgetting | None = None,
) -> Objective:
    """Lift a trajectory match to an objective: the whole set against one span.

    In a later segment of D4A the student trains on all images made so far, of which
    only the new ones get a gradient.

    Args:
        match: (key, synthetic set, target parameters, learner) -> (value, evidence).
        terms: penalties by name; there is one of each, with its whole weight.
        remember: a term against forgetting. Its proxy is the distance between what
            students reach on the new images and on the earlier ones.

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
    weighted = add_terms(match, terms or {})

    def objective(key, synthetic: Synthetic, learner, inputs: Inputs, step):
        span, earlier = inputs.span, inputs.earlier
        assert span is not None, "trajectory matching needs inputs.span"
        together = union(earlier, synthetic)
        found = weighted(key, together, span.target, learner, step, 1.0)
        if remember is None:
            return found
        again = jax.random.fold_in(key, 0xF0)

        def proxy():
            assert earlier is not None
            before = earlier._replace(step_size=synthetic.step_size)
            reached = match(again, before, span.target, learner)[1].end
            return synthetic, jax.lax.stop_gradient(reached)

        pairs = {"proxy": proxy, "replay": lambda: (together, span.whole)}
        compare = lambda made, target: match(again, made, target, learner)[0]
        return remember.add(pairs, compare, earlier, found)

    return objective


def per_set(
    match: Match,
    sampling: Sampling,
    terms: Mapping[str, WeightedTerm] | None = None,
    remember: Forgetting | None = None,
) -> Objective:
    """Lift a match of all classes at once to an objective.

    Args:
        match: (key, synthetic set, target, learner) -> (value, evidence); the target is
            a function (key, class) -> Batch.
        sampling: how many samples of a class it is shown.
        terms: penalties by name; there is one of each, with its whole weight.
        remember: a term against forgetting.

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
        ...     network, jaxdd.DISTANCES["ours"], jaxdd.siamese(()))
        >>> objective = per_set(match, Sampling(real=2))
        >>> inputs = jaxdd.Inputs(real, real)
        >>> _, info = objective(key, start, learner, inputs, jax.numpy.int32(0))
        >>> sorted(info)
        ['match']
    """
    weighted = add_terms(match, terms or {})

    def some(key: Key, synthetic: Synthetic) -> Synthetic:
        keys = jax.random.split(key, synthetic.images.shape[0])
        rows = Batch(synthetic.images, synthetic.labels)
        chosen = jax.vmap(lambda k, b: choose_rows(k, b, sampling.synthetic))(
            keys, rows
        )
        return synthetic._replace(images=chosen.images, labels=chosen.labels)

    def objective(key, synthetic: Synthetic, learner, inputs: Inputs, step):
        earlier = inputs.earlier
        key_shown, key_before = jax.random.split(jax.random.fold_in(key, 0xC0))
        shown = some(key_shown, synthetic)
        samples = lambda key, k: sampling.draw(key, inputs, k, step)
        found = weighted(key, shown, samples, learner, step, 1.0)
        if remember is None:
            return found

        def proxy():
            assert earlier is not None
            before = some(key_before, earlier)
            return shown, lambda key, k: Batch(before.images[k], before.labels[k])

        def replay():
            everything = lambda key, k: sample_class(key, inputs.full, k, sampling.real)
            return some(key_before, union(earlier, synthetic)), everything

        again = jax.random.fold_in(key, 0xF0)
        compare = lambda made, target: match(again, made, target, learner)[0]
        pairs = {"proxy": proxy, "replay": replay}
        return remember.add(pairs, compare, earlier, found)

    return objective
