"""Additive terms of a match, and objectives that change on the way."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from jaxdd.terms import WeightedTerm
from jaxdd.types import Array, Learner, Match, Objective


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
