"""The curriculum over samples that are sorted easy to hard (PAD's FIEX)."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import jax.numpy as jnp
import numpy as np

from jaxdd.errors import UserError, check_integer, quoted
from jaxdd.fields import Choice, option
from jaxdd.types import Array, RealData


@dataclass(frozen=True)
class Curriculum:
    """The range of each class, in easy-to-hard order, from which samples are drawn.

    The window starts with the easiest `init_ratio` of a class, grows linearly to the
    whole class at epoch `add_end_epoch`, and loses its easiest part after the epochs of
    `removals`. Li et al., "Prioritize Alignment in Dataset Distillation" (PAD), 2024;
    class sizes come from the data. By default all samples are in play in every epoch.

    Attributes:
        init_ratio: IR, the share of a class in epoch 0.
        add_end_epoch: AEE, the first epoch with the whole class.
        removals: (R, q) pairs with growing R: from epoch R + 1 on the easiest share q
            is left out.
        drop_easiest, drop_hardest: shares that are left out in every epoch.

    Example:
        >>> curriculum = Curriculum(0.75, 20, ((40, 0.1), (60, 0.2)))
        >>> counts = jnp.array([5000])
        >>> for epoch in (0, 10, 40, 41, 61):
        ...     first, past = curriculum.bounds(counts, epoch)
        ...     print(int(first[0]), int(past[0]))
        0 3750
        0 4375
        0 5000
        500 5000
        1000 5000
    """

    init_ratio: float = 1.0
    add_end_epoch: int = 0
    removals: tuple[tuple[int, float], ...] = ()
    drop_easiest: float = 0.0
    drop_hardest: float = 0.0

    def __post_init__(self):
        if not 0 < self.init_ratio <= 1:
            raise UserError(f"init_ratio must lie in (0, 1], not {self.init_ratio}")
        if self.init_ratio < 1 and self.add_end_epoch < 1:
            raise UserError(
                f"init_ratio={self.init_ratio} needs the epoch at which the whole "
                "class is in play: give a positive add_end_epoch"
            )
        epochs = [epoch for epoch, _ in self.removals]
        if epochs != sorted(set(epochs)) or any(epoch < 0 for epoch in epochs):
            raise UserError(f"the epochs of removals must grow: {self.removals}")
        shares = {
            "drop_easiest": (self.drop_easiest,),
            "drop_hardest": (self.drop_hardest,),
            "a share of removals": self._removed,
        }
        for name, values in shares.items():
            for share in values:
                if not 0 <= share < 1:
                    raise UserError(f"{name} must lie in [0, 1), not {share}")
        easiest = max(self.drop_easiest, *self._removed, 0.0)
        if easiest + self.drop_hardest >= 1:
            raise UserError(
                f"dropping the easiest {easiest:g} and the hardest "
                f"{self.drop_hardest:g} of a class leaves nothing"
            )

    @property
    def _removed(self) -> tuple[float, ...]:
        return tuple(share for _, share in self.removals)

    @property
    def is_static(self) -> bool:
        """Whether the window is the same in all epochs."""
        return self.init_ratio == 1 and not self.removals

    def bounds(self, counts: Array, epoch: Array | int) -> tuple[Array, Array]:
        """The window [first, past) in every class's row, at least one sample wide.

        Args:
            counts: [K] samples of the classes.
            epoch: [] index.
        """

        def share_of(share) -> Array:
            # The smallest bit more, or 0.1 * 30 = 2.9999998 would become 2.
            return jnp.floor(share * counts + 1e-3).astype(jnp.int32)

        grown = jnp.float32(self.init_ratio)
        if self.add_end_epoch:
            progress = jnp.asarray(epoch) / self.add_end_epoch
            grown = jnp.minimum(1.0, grown + (1 - grown) * progress)
        past = jnp.minimum(share_of(grown), counts - share_of(self.drop_hardest))
        first = share_of(self.drop_easiest)
        for after, share in self.removals:
            removed = jnp.where(jnp.asarray(epoch) > after, share_of(share), 0)
            first = jnp.maximum(first, removed)
        past = jnp.maximum(past, jnp.minimum(counts, 1))
        return jnp.minimum(first, jnp.maximum(past - 1, 0)), past

    def window(self, real: RealData, epoch: Array | int) -> RealData:
        """The same data with the samples of the window in play."""
        first, past = self.bounds(real.counts, epoch)
        width = real.table.shape[1]
        index = (jnp.arange(width)[None] + first[:, None]) % width
        table = jnp.take_along_axis(real.table, index, axis=1)
        return real._replace(table=table, counts=past - first)

    def members(self, real: RealData, epoch: Array | int) -> Array:
        """[M] bool: which samples are in the window."""
        window = self.window(real, epoch)
        in_play = jnp.arange(window.table.shape[1])[None] < window.counts[:, None]
        total = real.labels.shape[0]
        # Padding of the table points behind the end and is dropped.
        index = jnp.where(in_play, window.table, total)
        return jnp.zeros(total, bool).at[index.ravel()].set(True, mode="drop")


def excluded(counts: Array, curriculum: Curriculum, epoch: int) -> np.ndarray:
    """[K] samples of each class that an epoch leaves out, of counts [K]."""
    first, past = curriculum.bounds(counts, epoch)
    return np.asarray(counts - (past - first))


def changes_of(
    gone: Callable[[int], int], epochs: int, removals: Sequence[int]
) -> list[tuple[int, int]]:
    """(epoch, samples left out) wherever their number changes.

    Between removals the number only falls, so that a bisection finds the changes: there
    may be billions of epochs. Of more than seven changes it returns the first four and
    the last three.

    Args:
        gone: epoch -> samples left out.
        epochs: the epochs of the training.
        removals: the first epoch after each removal.
    """
    inside = {epoch for epoch in removals if 0 < epoch < epochs}
    starts = sorted({0, *inside})
    number_at = cache(gone)

    def next_change(epoch: int) -> int | None:
        """The first epoch after `epoch` with another number."""
        for stop in [*(s for s in starts if s > epoch), epochs]:
            # Within this stretch the number only falls.
            if number_at(stop - 1) != number_at(epoch):
                return (
                    bisect_left(
                        range(epoch + 1, stop),
                        True,
                        key=lambda e: number_at(e) != number_at(epoch),
                    )
                    + epoch
                    + 1
                )
            if stop < epochs and number_at(stop) != number_at(epoch):
                return stop
        return None

    def last_change(epoch: int) -> int | None:
        """The epoch up to `epoch` from which on its number holds; None for epoch 0."""
        for start in [s for s in reversed(starts) if s <= epoch]:
            if number_at(start) != number_at(epoch):
                return (
                    bisect_left(
                        range(start, epoch + 1),
                        True,
                        key=lambda e: number_at(e) == number_at(epoch),
                    )
                    + start
                )
            if start > 0 and number_at(start - 1) != number_at(epoch):
                return start
        return None

    first: list[int] = [0]
    while len(first) < 8:
        after = next_change(first[-1])
        if after is None:
            return [(e, number_at(e)) for e in first]
        first.append(after)
    last: list[int] = []
    until = epochs - 1
    while len(last) < 3:
        change = last_change(until)
        assert change is not None
        last.insert(0, change)
        until = change - 1
    return [(e, number_at(e)) for e in [*first[:4], *last]]


def describe(counts: Array, curriculum: Curriculum, epochs: int) -> str:
    """A sentence on the samples that a curriculum leaves out, of counts [K].

    Raises:
        UserError: the curriculum leaves out nothing.
    """
    total = int(np.asarray(counts).sum())
    changes = changes_of(
        lambda e: int(excluded(counts, curriculum, e).sum()),
        max(1, epochs),
        [epoch + 1 for epoch, _ in curriculum.removals],
    )
    if max(gone for _, gone in changes) == 0:
        raise UserError(
            "the window over the training samples leaves out none of them: use larger "
            "shares, or none at all"
        )
    if curriculum.is_static:
        return f"window: {changes[0][1]} of {total} training samples are left out"
    texts = [f"{gone} in epoch {epoch}" for epoch, gone in changes]
    listed = texts if len(texts) < 7 else [*texts[:3], "...", *texts[-3:]]
    return f"curriculum: of {total} training samples are left out {', '.join(listed)}"


def parse_removals(text: str) -> tuple[tuple[int, float], ...]:
    """ "40:0.1,60:0.2" to ((40, 0.1), (60, 0.2)); "" and "none" to ().

    Raises:
        UserError: the text is no list of pairs.
    """
    if text in ("", "none"):
        return ()
    try:
        pairs = [part.split(":") for part in text.split(",")]
        removals = tuple((int(epoch), float(share)) for epoch, share in pairs)
    except ValueError as error:
        raise UserError(
            f"--removals must be EPOCH:SHARE pairs joined by commas, not {quoted(text)}"
        ) from error
    for epoch, _ in removals:
        check_integer("an epoch of --removals", epoch)
    return removals


def removals_text(removals: tuple[tuple[int, float], ...]) -> str:
    """Removals as `parse_removals` reads them.

    Example:
        >>> removals_text(((40, 0.1), (60, 0.25))), removals_text(())
        ('40:0.1,60:0.25', 'none')
    """
    return ",".join(f"{epoch}:{share!r}" for epoch, share in removals) or "none"


@dataclass(frozen=True)
class Window(Choice):
    """Which real samples are in play, sorted easy to hard (PAD's FIEX).

    Attributes:
        score: what the samples are sorted by, a name in `scores`; None for "el2n" where
            something is left out.
        scores: the path of a `scores.npz` to sort by instead.
        drop_easiest, drop_hardest, init_ratio, add_end_epoch, removals: see
            `Curriculum`; the last three are about the training of experts.
    """

    subject: ClassVar[str] = "the window over the real samples"

    score: str | None = option(
        None,
        "difficulty score that sorts the real samples of each class from easy to "
        "hard; default: el2n, if samples are left out",
    )
    scores: str | None = option(
        None,
        "path of a scores.npz that sorts the real samples of each class, instead "
        "of --score",
        kind="path",
    )
    drop_easiest: float = option(
        0.0,
        "share of the real samples of each class, the easiest ones, that is left out",
        at_least=0.0,
        below=1.0,
    )
    drop_hardest: float = option(
        0.0,
        "share of the real samples of each class, the hardest ones, that is left out",
        at_least=0.0,
        below=1.0,
    )
    init_ratio: float = option(
        1.0,
        "share of the real samples of each class, the easiest ones, that experts "
        "are trained on in epoch 0 (IR in PAD)",
        above=0.0,
        at_most=1.0,
    )
    add_end_epoch: int = option(
        0,
        "epoch from which experts are trained on all samples of each class (AEE "
        "in PAD)",
        beside={"init_ratio": None},
    )
    removals: tuple[tuple[int, float], ...] = option(
        (),
        "epochs after which experts are no longer trained on the easiest share of "
        "each class, as EPOCH:SHARE pairs joined by commas, or none",
        parse=parse_removals,
    )

    def curriculum(self) -> Curriculum:
        """The shares and epochs."""
        return Curriculum(
            self.init_ratio,
            self.add_end_epoch,
            self.removals,
            self.drop_easiest,
            self.drop_hardest,
        )
