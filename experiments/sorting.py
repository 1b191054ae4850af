"""Sorting the training samples by difficulty, for windows over them (FIEX)."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.probes import make_probes
from experiments.problem import Problem, named_key
from experiments.progress import say
from jaxdd import difficulty
from jaxdd.errors import UserError, quoted
from jaxdd.forgetting_events import forgetting_scores
from jaxdd.influence import influence_scores
from jaxdd.storage.arrays import Member, Shapes, read_arrays
from jaxdd.storage.files import atomic_file
from jaxdd.storage.paths import shown
from jaxdd.train import Training
from jaxdd.types import Array, Key, Learner, Network, RealData
from jaxdd.windows import Curriculum, take


@dataclass(frozen=True)
class Effort:
    """How many networks the scores are averaged over, and what is done with each."""

    networks: int = 5
    train_steps: int = 100  # before all but forgetting; EL2N is meant early in training
    forgetting_epochs: int = 10
    damping: float = 0.1  # of influence
    rank: int = 16


class Subject(NamedTuple):
    """What a score is measured on."""

    key: Key  # of this score's own randomness
    network: Network
    probes: Callable[[], Learner]  # trained when first asked for, shared by the scores
    real: RealData
    effort: Effort


def _at_probes(name: str, subject: Subject) -> Array:
    scores = jax.jit(difficulty.ensemble_scores(subject.network, name, take))
    return scores(subject.probes(), subject.real)


def _influence(subject: Subject) -> Array:
    damping, rank = subject.effort.damping, subject.effort.rank
    scores = influence_scores(subject.network, take, damping=damping, rank=rank)
    return jax.jit(scores)(subject.key, subject.probes(), subject.real)


def _forgetting(subject: Subject) -> Array:
    training = Training(subject.effort.forgetting_epochs, 0.01, momentum=0.9)
    keys = jax.random.split(subject.key, subject.effort.networks)
    return jax.jit(forgetting_scores(subject.network, training))(keys, subject.real)


# Each is (subject) -> [M].
MEASURES: dict[str, Callable[[Subject], Array]] = {
    **{name: partial(_at_probes, name) for name in difficulty.SCORES},
    "influence": _influence,
    "forgetting": _forgetting,
}
SCORES = tuple(MEASURES)
SCORES_REMEDY = "give the scores.npz of python -m experiments.difficulty"
_SCORES = {"scores": Member("f", 1), "ids": Member("iu", 1)}


def check_name(name: str) -> None:
    """Raise UserError for a score that there is not."""
    if name not in MEASURES:
        raise UserError(
            f"unknown score {quoted(name)}: choose from {', '.join(SCORES)}"
        )


def compute(
    network: Network,
    real: RealData,
    seed: int,
    names: Sequence[str],
    effort: Effort = Effort(),
) -> dict[str, np.ndarray]:
    """Scores [M] by name; the networks are shared by all but forgetting.

    Raises:
        UserError: an unknown score, or one that is not finite.
    """
    for name in names:
        check_name(name)

    @cache
    def probes() -> Learner:
        return make_probes(network, real, seed, effort.networks, effort.train_steps)

    scores = {}
    for name in names:
        say(f"{name}: {effort.networks} networks, {real.labels.shape[0]} samples")
        subject = Subject(named_key(seed, name), network, probes, real, effort)
        scores[name] = np.asarray(MEASURES[name](subject))
        if not np.isfinite(scores[name]).all():
            raise UserError(
                f"the score {name} is not finite: train the networks for fewer steps"
            )
    return scores


def read_scores(path: str | Path, ids: np.ndarray) -> np.ndarray:
    """Scores from a `scores.npz`, in the order of the training split's ids.

    Raises:
        UserError: no such file, another content, or a sample without a score.
    """

    def one_each(shapes: Shapes) -> None:
        if shapes["scores"] != shapes["ids"] or shapes["ids"] == (0,):
            raise ValueError("it does not hold one score per id")

    arrays = read_arrays(path, _SCORES, SCORES_REMEDY, "the scores", one_each)
    scores, found = arrays["scores"], arrays["ids"]
    if not np.isfinite(scores).all() or len(np.unique(found)) < len(found):
        raise UserError(
            f"{shown(path)} does not hold one finite score per id: {SCORES_REMEDY}"
        )
    order = np.argsort(found)
    place = np.searchsorted(found[order], ids)
    place = order[np.minimum(place, len(order) - 1)]
    lacking = ids[found[place] != ids]
    if len(lacking):
        raise UserError(
            f"{shown(path)} has no score for {len(lacking)} training samples, such as "
            f"number {lacking[0]}: score the same dataset"
        )
    return scores[place]


def sorted_real(
    problem: Problem, network: Network, values: dict[str, Any], folder: Path
) -> RealData:
    """The training split on the device, sorted easy to hard where a window needs it.

    The scores are kept in the run's folder, so that it goes on with the very same ones.
    """
    train = problem.splits.train
    if Curriculum(**values["curriculum"]) == Curriculum():
        return problem.on_device(train)
    kept = folder / "scores.npz"
    refuse_other_scores(problem, values, folder)
    if kept.exists():
        return problem.on_device(train, read_scores(kept, train.ids))
    if values["scores"] is not None:
        scores = read_scores(values["scores"], train.ids)
    else:
        real, name = problem.on_device(train), values["score"]
        scores = compute(network, real, values["seed"], [name])[name]
    with atomic_file(kept, "wb") as file:
        np.savez(file, scores=scores, ids=train.ids)
    return problem.on_device(train, scores)


def refuse_other_scores(problem: Problem, values: dict[str, Any], folder: Path) -> None:
    """Compare --scores with those that a run in this folder was begun with.

    Raises:
        UserError: they differ. Where the file lies does not matter.
    """
    kept, ids = folder / "scores.npz", problem.splits.train.ids
    if values["scores"] is None or not kept.exists():
        return
    scores = read_scores(values["scores"], ids)
    if not np.array_equal(scores, read_scores(kept, ids)):
        raise UserError(
            f"{shown(values['scores'])} is not what {shown(folder)} was begun with: "
            f"give the same scores, such as {shown(kept)}, or another --workdir"
        )


def excluded(counts: Array, curriculum: Curriculum, epoch: int) -> np.ndarray:
    """[K] samples of each class, of counts [K], that an epoch does not see."""
    first, past = curriculum.bounds(counts, epoch)
    return np.asarray(counts - (past - first))


def foretell(problem: Problem, values: dict[str, Any]) -> str | None:
    """What a run's window will leave out, before anything is written or computed.

    Returns:
        A sentence, None without a window.

    Raises:
        UserError: it leaves out nothing, or there is nothing to sort by.
    """
    curriculum = Curriculum(**values["curriculum"])
    if curriculum == Curriculum():
        return None
    train = problem.splits.train
    if values["scores"] is not None:
        read_scores(values["scores"], train.ids)
    else:
        check_name(values["score"])
    counts = np.bincount(train.labels, minlength=problem.dataset.num_classes)
    epochs = 1 if values["bank"] is None else values["bank"]["epochs"]
    return describe(jnp.asarray(counts, jnp.int32), curriculum, epochs)


def _changes(
    gone: Callable[[int], int], epochs: int, removals: Sequence[int]
) -> list[tuple[int, int]]:
    """(epoch, samples left out) wherever their number changes.

    Between removals it only falls, so that most epochs need not be looked at: there may
    be billions. Of more than seven changes the first four and the last three are found.

    Args:
        gone: epoch -> samples left out.
        epochs: of the training.
        removals: from which epochs on samples are removed.
    """
    inside = {epoch for epoch in removals if 0 < epoch < epochs}
    starts = sorted({0, *inside})
    known = cache(gone)

    def next_change(epoch: int) -> int | None:
        """The first epoch after `epoch` with another number."""
        for stop in [*(s for s in starts if s > epoch), epochs]:
            # Within this stretch the number only falls.
            if known(stop - 1) != known(epoch):
                return (
                    bisect_left(
                        range(epoch + 1, stop),
                        True,
                        key=lambda e: known(e) != known(epoch),
                    )
                    + epoch
                    + 1
                )
            if stop < epochs and known(stop) != known(epoch):
                return stop
        return None

    def last_change(epoch: int) -> int | None:
        """The epoch up to `epoch` from which on its number holds; None for epoch 0."""
        for start in [s for s in reversed(starts) if s <= epoch]:
            if known(start) != known(epoch):
                return (
                    bisect_left(
                        range(start, epoch + 1),
                        True,
                        key=lambda e: known(e) == known(epoch),
                    )
                    + start
                )
            if start > 0 and known(start - 1) != known(epoch):
                return start
        return None

    first: list[int] = [0]
    while len(first) < 8:
        after = next_change(first[-1])
        if after is None:
            return [(e, known(e)) for e in first]
        first.append(after)
    last: list[int] = []
    until = epochs - 1
    while len(last) < 3:
        change = last_change(until)
        assert change is not None
        last.insert(0, change)
        until = change - 1
    return [(e, known(e)) for e in [*first[:4], *last]]


def describe(counts: Array, curriculum: Curriculum, epochs: int) -> str:
    """What a curriculum leaves out of classes of counts [K], as a sentence.

    Raises:
        UserError: it is asked for and leaves out nothing.
    """
    total = int(np.asarray(counts).sum())
    changes = _changes(
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
    shown = texts if len(texts) < 7 else [*texts[:3], "...", *texts[-3:]]
    return f"curriculum: of {total} training samples are left out {', '.join(shown)}"
