"""Additive terms of a match, and objectives that change on the way."""

from collections.abc import Callable

import jax

from jaxdd.types import Array, Objective


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
