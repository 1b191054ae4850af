"""Optimisers of a training that is itself differentiated: their derivatives are finite.

An update is elementwise and pure, so that its transpose is cheap; where a root is taken
its derivative at zero is zero, because entries without any gradient occur (dead units,
pixels that never change).
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdd.primitives.trees import safe_sqrt
from jaxdd.types import Array, Params

ADAM_DECAYS = (0.9, 0.999)
ADAM_EPSILON = 1e-8
SGD_MOMENTUM = 0.9
SGD_DECAY = 5e-4


class Trained(NamedTuple):
    """A network's parameters in training, with the moments of its optimiser."""

    params: Params
    moments: Any  # a tuple of trees like params


class InnerOptimizer(NamedTuple):
    """An optimiser as two pure functions.

    Attributes:
        init: (params) -> the moments before the first update.
        update: (state, gradient, updates so far [] int32) -> the next state.
    """

    init: Callable[[Params], Any]
    update: Callable[[Trained, Params, Array], Trained]

    def begin(self, params: Params) -> Trained:
        """The state before the first update."""
        return Trained(params, self.init(params))


def inner_sgd(
    rate: float, momentum: float = SGD_MOMENTUM, decay: float = SGD_DECAY
) -> InnerOptimizer:
    """SGD with momentum and coupled weight decay (PyTorch's semantics).

    One moment: with the parameters it makes two copies per step of an unrolled
    training. The defaults are those of RaT-BPTT's official code.

    Args:
        rate: learning rate.
        momentum: of the updates, without dampening.
        decay: factor of the parameters that is added to their gradient.

    Example:
        >>> optimizer = inner_sgd(0.5, momentum=0.0, decay=0.0)
        >>> state = optimizer.begin(jnp.ones(2))
        >>> optimizer.update(state, jnp.ones(2), jnp.int32(0)).params.tolist()
        [0.5, 0.5]
    """

    def init(params: Params) -> Any:
        return (jax.tree.map(jnp.zeros_like, params),)

    def update(state: Trained, gradient: Params, count: Array) -> Trained:
        del count
        turn = lambda b, g, p: momentum * b + g + decay * p
        buffer = jax.tree.map(turn, state.moments[0], gradient, state.params)
        move = lambda p, b: p - rate * b
        return Trained(jax.tree.map(move, state.params, buffer), (buffer,))

    return InnerOptimizer(init, update)


def inner_adam(
    rate: float,
    decays: tuple[float, float] = ADAM_DECAYS,
    epsilon: float = ADAM_EPSILON,
) -> InnerOptimizer:
    """Adam (Kingma and Ba, ICLR 2015, algorithm 1), without weight decay.

    Two moments: with the parameters they make three copies per step of an unrolled
    training.

    Args:
        rate: learning rate.
        decays: of the first and of the second moment.
        epsilon: added to the root of the second moment.

    Example:
        >>> optimizer = inner_adam(0.5)
        >>> state = optimizer.begin(jnp.ones(2))
        >>> moved = optimizer.update(state, jnp.array([3.0, 0.0]), jnp.int32(0))
        >>> moved.params.round(3).tolist()
        [0.5, 1.0]
    """
    first, second = decays

    def init(params: Params) -> Any:
        zeros = lambda: jax.tree.map(jnp.zeros_like, params)
        return zeros(), zeros()

    def update(state: Trained, gradient: Params, count: Array) -> Trained:
        m, v = state.moments
        m = jax.tree.map(lambda m, g: first * m + (1 - first) * g, m, gradient)
        v = jax.tree.map(lambda v, g: second * v + (1 - second) * g**2, v, gradient)

        def move(p: Array, m: Array, v: Array) -> Array:
            updates = (count + 1).astype(p.dtype)
            unbiased = m / (1 - first**updates)
            scale = safe_sqrt(v / (1 - second**updates)) + epsilon
            return p - rate * unbiased / scale

        return Trained(jax.tree.map(move, state.params, m, v), (m, v))

    return InnerOptimizer(init, update)


INNER_OPTIMIZERS: Mapping[str, Callable[[float], InnerOptimizer]] = {
    "adam": inner_adam,
    "sgd": inner_sgd,
}
