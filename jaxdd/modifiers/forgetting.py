"""D4A's term against forgetting."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from jaxdd.errors import UserError, quoted
from jaxdd.primitives.losses import present
from jaxdd.types import Info, Inputs, Scalar

REMEMBERED = ("none", "proxy", "replay")

Kind = TypeVar("Kind")


class Forgetting(NamedTuple):
    """D4A's term against forgetting what earlier segments hold (ours).

    It is the match itself on other sets. "proxy": the new images also have to match the
    earlier ones, which stand for the real samples that are left out. "replay": old and
    new images together have to match all real samples, kept or not. It is 0 in the
    first segment, which has no earlier images.

    Attributes:
        kind: "proxy" or "replay".
        weight: the factor of the term in the loss.
    """

    kind: str
    weight: float

    def choose(self, proxy: Kind, replay: Kind) -> Kind:
        """The one of two values that belongs to the kind of this term.

        Raises:
            UserError: the kind is unknown.
        """
        if self.kind not in REMEMBERED[1:]:
            raise _unknown(self.kind)
        return proxy if self.kind == "proxy" else replay

    def add(
        self,
        matched: tuple[Scalar, Info],
        inputs: Inputs,
        compare: Callable[[], Scalar],
    ) -> tuple[Scalar, Info]:
        """The loss and info of a match with the term added.

        Args:
            matched: the loss and info without the term.
            inputs: whose earlier images decide whether there is anything to forget.
            compare: () -> the match on the sets that the term compares; computed only
                where there are earlier images.

        Raises:
            UserError: the inputs have no earlier segments.
        """
        loss, info = matched
        labels = inputs.earlier_set().labels
        zero = jnp.zeros_like(loss)
        penalty = jax.lax.cond(jnp.any(present(labels)), compare, lambda: zero)
        return loss + self.weight * penalty, {**info, "forgetting": penalty}


def forgetting(kind: str, weight: float) -> Forgetting | None:
    """The term by name, None without one.

    Raises:
        UserError: the kind is unknown.
    """
    if kind not in REMEMBERED:
        raise _unknown(kind)
    return None if kind == "none" or weight == 0 else Forgetting(kind, weight)


def _unknown(kind: str) -> UserError:
    return UserError(
        f"unknown term against forgetting {quoted(kind)}: choose one of "
        f"{', '.join(REMEMBERED)}"
    )
