"""What a match is shown of the samples, and D4A's term against forgetting."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdd.errors import UserError, quoted
from jaxdd.sets import present
from jaxdd.types import Array, Batch, Info, Inputs, Key, Scalar, Synthetic
from jaxdd.windows import batch_of_pass, sample_class

REMEMBERED = ("none", "proxy", "replay")


class Sampling(NamedTuple):
    """How many samples of a class a match is shown."""

    real: int
    synthetic: int | None = None  # a random choice of them; None for all

    def draw(self, key: Key, inputs: Inputs, class_index: Array, step: Array) -> Batch:
        """Real samples of one class for a step.

        Drawn by the key, or with `inputs.order` the next ones of a pass over the class:
        a step takes one batch of every class, so the step says how far it is.
        """
        if inputs.order is None:
            return sample_class(key, inputs.real, class_index, self.real)
        return batch_of_pass(inputs.order, inputs.real, class_index, self.real, step)


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


def choose_rows(key: Key, batch: Batch, size: int | None) -> Batch:
    """At most `size` random rows of a batch, images before padding."""
    if size is None or batch.labels.shape[0] <= size:
        return batch
    order = jax.random.uniform(key, batch.labels.shape[:1])
    shown = jax.lax.stop_gradient(present(batch.labels))
    chosen = jnp.argsort(jnp.where(shown, order, jnp.inf))[:size]
    return Batch(batch.images[chosen], batch.labels[chosen])
