"""Objectives that change in the course of a run."""

from collections.abc import Callable

import jax

from jaxdd.types import Array, Objective


def switch(
    use_second: Callable[[Array], Array], first: Objective, second: Objective
) -> Objective:
    """One objective up to a step, and another from there on.

    Only the chosen one is computed. Both must have the same info.

    Args:
        use_second: (step) -> [] bool.
        first: the objective where that is False.
        second: the objective where it is True.

    Example:
        >>> one = lambda *_: (jax.numpy.float32(1), {})
        >>> two = lambda *_: (jax.numpy.float32(2), {})
        >>> late = switch(lambda step: step >= 5, one, two)
        >>> [float(late(0, 0, 0, 0, jax.numpy.int32(step))[0]) for step in (4, 5)]
        [1.0, 2.0]
    """

    def objective(key, synthetic, learner, inputs, step):
        arguments = key, synthetic, learner, inputs, step
        return jax.lax.cond(use_second(step), second, first, *arguments)

    return objective
