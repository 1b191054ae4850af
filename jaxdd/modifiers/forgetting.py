"""What a match is shown of the samples, and D4A's term against forgetting."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdd.errors import UserError, quoted
from jaxdd.synthetic.sets import present
from jaxdd.types import Info, Scalar, Synthetic

REMEMBERED = ("none", "proxy", "replay")


class Forgetting(NamedTuple):
    """D4A's term against forgetting what earlier segments hold (ours).

    It is the match itself on other sets. "proxy": the new images also have to match the
    earlier ones, which stand for the real samples that are left out. "replay": old and
    new images together have to match all real samples, kept or not. Where there are no
    earlier images it is 0.
    """

    kind: str
    weight: float

    def add(
        self,
        pairs: Mapping[str, Callable],
        match: Callable[..., Scalar],
        earlier: Synthetic | None,
        found: tuple[Scalar, Info],
    ) -> tuple[Scalar, Info]:
        """The loss and info with the term.

        Args:
            pairs: by kind () -> what `match` compares.
            match: (synthetic, target) -> value.
            earlier: what decides whether there is anything to forget.
            found: loss and info without the term.
        """
        assert earlier is not None, "a term against forgetting needs inputs.earlier"
        loss, info = found
        zero = jnp.zeros_like(loss)
        penalty = jax.lax.cond(
            jnp.any(present(earlier.labels)),
            lambda: match(*pairs[self.kind]()),
            lambda: zero,
        )
        return loss + self.weight * penalty, {**info, "forgetting": penalty}


def forgetting(kind: str, weight: float) -> Forgetting | None:
    """The term by name, None without one.

    Raises:
        UserError: an unknown kind.
    """
    if kind not in REMEMBERED:
        raise UserError(
            f"unknown term against forgetting {quoted(kind)}: choose one of "
            f"{', '.join(REMEMBERED)}"
        )
    return None if kind == "none" or weight == 0 else Forgetting(kind, weight)
