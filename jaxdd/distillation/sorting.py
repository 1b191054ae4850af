"""Sorting the training samples by difficulty, for windows over them (FIEX)."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np

from jaxdd.data.problem import Problem
from jaxdd.distillation.resolution import Resolved
from jaxdd.errors import UserError
from jaxdd.modifiers.curriculum import Curriculum, describe
from jaxdd.scores.dataset import compute
from jaxdd.scores.table import score_named
from jaxdd.scoring.files import SCORES_FILE, of_other_data, read_scores
from jaxdd.storage.files import atomic_file
from jaxdd.storage.paths import shown
from jaxdd.types import Network, RealData


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
