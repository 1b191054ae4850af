"""`scores.npz`: a score of every sample, by the samples' ids."""

from pathlib import Path

import numpy as np

from jaxdd.data import Dataset
from jaxdd.errors import UserError
from jaxdd.storage.arrays import Member, Shapes, read_arrays
from jaxdd.storage.paths import shown
from jaxdd.storage.recognising import Kind, members

SCORES_REMEDY = "give the scores.npz of python -m experiments.difficulty"
SCORES_FILE = "scores.npz"
SCORED = Kind("a scores.npz", lambda path: {"scores.npy", "ids.npy"} <= members(path))
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
    if arrays["ids"].max() >= dataset.whole_count:
        raise UserError(
            f"{shown(path)} has scores of other data: of {arrays['ids'].max() + 1} "
            f"samples or more, and this has {dataset.whole_count}: {SCORES_REMEDY} "
            "on the same data"
        )
    return (
        f"warning: {shown(path)} has scores of other data than this (its fingerprint "
        "differs), which are taken for those of the samples with the same numbers"
    )
