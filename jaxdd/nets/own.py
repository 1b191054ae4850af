"""A network of other JAX code, as the library's functions take it."""

from collections.abc import Callable
from typing import Any

from jaxdd.errors import UserError, quoted
from jaxdd.types import Array, Key, Network, Outputs, Params, Stats


def as_network(
    init: Callable[[Key], Params],
    apply: Callable[[Params, Array], Any],
) -> Network:
    """A `Network` of two functions, such as those of a Flax or Haiku module.

    Scores, matches, terms and `make_evaluate` take it. A run by `jaxdd.distill` needs a
    network with a name, which its files can say: a line in `jaxdd.NETS`.

    Args:
        init: (key) -> params, any pytree. A mask by depth asks for parts called block0,
            block1, ... and head, or for their order; see `make_mask`.
        apply: (params, images [B, ...]) -> logits [B, K]; or (logits, features), where
            features are one [B, F] for each block, the last that of the classifier, for
            matches and scores of features. Without them there are none. It has no
            running statistics, and is the same in training.

    Returns:
        The network. Its `apply` raises UserError where the logits are no [B, K].

    Source: ours.

    Example:
        >>> mine = as_network(lambda key: jnp.zeros((3, 2)), lambda w, x: x @ w)
        >>> params, stats = mine.init(jax.random.key(0))
        >>> outputs, _ = mine.apply(params, stats, jnp.ones((5, 3)), False)
        >>> outputs.logits.shape
        (5, 2)
    """

    def begin(key: Key, /) -> tuple[Params, Stats]:
        return init(key), {}

    def outputs(
        params: Params, stats: Stats, images: Array, train: bool, /
    ) -> tuple[Outputs, Stats]:
        del train
        result = apply(params, images)
        logits, features = result if isinstance(result, tuple) else (result, ())
        shape = getattr(logits, "shape", None)
        if shape is None or len(shape) != 2 or shape[0] != images.shape[0]:
            raise UserError(
                f"a network of {images.shape[0]} samples has to give logits [B, K], or "
                f"(logits, features), and this one gives {quoted(shape or result)}"
            )
        return Outputs(logits, tuple(features)), stats

    return Network(begin, outputs)
