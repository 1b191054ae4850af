"""Sorting the training samples by difficulty, for windows over them (FIEX)."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np

from jaxdd.data import Dataset
from jaxdd.data.problem import Problem
from jaxdd.distillation.resolution import Resolved
from jaxdd.errors import UserError
from jaxdd.modifiers.curriculum import Curriculum, describe
from jaxdd.scores.dataset import compute as compute
from jaxdd.scores.table import score_named
from jaxdd.storage.arrays import Member, Shapes, read_arrays
from jaxdd.storage.files import atomic_file
from jaxdd.storage.paths import shown
from jaxdd.types import Network, RealData

SCORES_REMEDY = "give the scores.npz of python -m experiments.difficulty"
SCORES_FILE = "scores.npz"
_SCORES = {
    "scores": Member("f", 1),
    "ids": Member("iu", 1),
    "fingerprint": Member("U", 0, 10_000, required=False),
}


def read_scores(path: str | Path, ids: np.ndarray) -> np.ndarray:
    """Scores from a `scores.npz`, in the order of the training split's ids.

    Raises:
        UserError: no such file, another content, or a sample without a score.
    """

    def one_each(shapes: Shapes) -> None:
        if shapes["scores"] != shapes["ids"] or shapes["ids"] == (0,):
            raise ValueError("it does not hold one score per id")

    arrays = read_arrays(path, _SCORES, SCORES_REMEDY, "the scores", one_each)
    scores, ids_scored = arrays["scores"], arrays["ids"]
    if not np.isfinite(scores).all() or len(np.unique(ids_scored)) < len(ids_scored):
        raise UserError(
            f"{shown(path)} does not hold one finite score per id: {SCORES_REMEDY}"
        )
    order = np.argsort(ids_scored)
    place = np.searchsorted(ids_scored[order], ids)
    place = order[np.minimum(place, len(order) - 1)]
    lacking = ids[ids_scored[place] != ids]
    if len(lacking):
        raise UserError(
            f"{shown(path)} has no score for {len(lacking)} training samples, such as "
            f"number {lacking[0]}: score the same dataset"
        )
    return scores[place]


def of_other_data(path: str | Path, dataset: Dataset) -> str | None:
    """A warning where scores are of other data, None where the file says nothing.

    They may be meant: of the same samples at another size, say.

    Raises:
        UserError: as `read_scores`.
    """
    arrays = read_arrays(path, _SCORES, SCORES_REMEDY, "the scores")
    scored = str(arrays.get("fingerprint", ""))
    if scored in ("", dataset.whole_fingerprint) or not dataset.is_decoded:
        return None
    return (
        f"warning: {shown(path)} has scores of other data than this (its fingerprint "
        "differs), which are taken for those of the samples with the same numbers"
    )


def sorted_real(
    problem: Problem, network: Network, resolved: Resolved, folder: Path | None
) -> RealData:
    """The training split on the device, sorted easy to hard where a window needs it.

    The scores are kept in the run's folder, so that it goes on with the very same ones.
    """
    train, window = problem.splits.train, resolved.window
    if resolved.curriculum == Curriculum():
        return problem.on_device(train)
    if folder is not None:
        refuse_other_scores(problem, resolved, folder)
        if (folder / SCORES_FILE).exists():
            kept = read_scores(folder / SCORES_FILE, train.ids)
            return problem.on_device(train, kept)
    if window.scores is not None:
        scores = read_scores(window.scores, train.ids)
    else:
        real, name = problem.on_device(train), window.score
        assert name is not None, "a window without scores has a score"
        scores = compute(network, real, resolved.task.seed, [name])[name]
    if folder is not None:
        with atomic_file(folder / SCORES_FILE, "wb") as file:
            np.savez(file, scores=scores, ids=train.ids)
    return problem.on_device(train, scores)


def refuse_other_scores(problem: Problem, resolved: Resolved, folder: Path) -> None:
    """Compare --scores with those that a run in this folder was begun with.

    Raises:
        UserError: they differ. Where the file lies does not matter.
    """
    kept, ids = folder / SCORES_FILE, problem.splits.train.ids
    path = resolved.window.scores
    if path is None or not kept.exists():
        return
    scores = read_scores(path, ids)
    if not np.array_equal(scores, read_scores(kept, ids)):
        raise UserError(
            f"{shown(path)} is not what {shown(folder)} was begun with: "
            f"give the same scores, such as {shown(kept)}, or another --workdir"
        )


def describe_window(problem: Problem, resolved: Resolved) -> str | None:
    """What a run's window will leave out, before anything is written or computed.

    Returns:
        A sentence, None without a window.

    Raises:
        UserError: it leaves out nothing, or there is nothing to sort by.
    """
    curriculum, window = resolved.curriculum, resolved.window
    if curriculum == Curriculum():
        return None
    train, warning = problem.splits.train, None
    if window.scores is not None:
        read_scores(window.scores, train.ids)
        warning = of_other_data(window.scores, problem.dataset)
    else:
        assert window.score is not None, "a window without scores has a score"
        score_named(window.score)
    counts = np.bincount(train.labels, minlength=problem.dataset.num_classes)
    epochs = 1 if resolved.bank is None else resolved.bank.epochs
    told = describe(jnp.asarray(counts, jnp.int32), curriculum, epochs)
    return told if warning is None else f"{told}; {warning}"
