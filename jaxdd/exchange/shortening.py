"""A distilled set with fewer images per class, by a score: one set for many sizes."""

import dataclasses
from dataclasses import replace
from typing import Any

import numpy as np

from jaxdd.artifact.artifact import Artifact
from jaxdd.artifact.given import Source, artifact_of
from jaxdd.data.real import real_data
from jaxdd.errors import UserError, check_integer, choose
from jaxdd.fields import plain
from jaxdd.fields.options import check_seed, check_type
from jaxdd.nets import make_network
from jaxdd.primitives.ends import ENDS
from jaxdd.scores.dataset import compute
from jaxdd.scores.table import Effort, score_named

USUAL_SCORE = "el2n"


def shorten(
    artifact: Source,
    ipc: int,
    score: str = USUAL_SCORE,
    *,
    end: str = "easy",
    seed: int = 0,
    networks: int = 5,
    train_steps: int = 100,
) -> Artifact:
    """Fewer images of every class, by how hard they are; its accuracy is not measured.

    A score is that of a stored image at networks of the set's own kind that are trained
    on the set itself for a moment: the file alone is enough, no real data is read. The
    images that are kept lie in the order of their choice, so that `Artifact.first` of
    the result is the same as shortening further; with `ipc` as it is, the whole set is
    put in that order.

    Args:
        artifact: the set, or the path of its file.
        ipc: stored images of a class that are kept.
        score: name of a score in `jaxdd.SCORES`. Labels count as the class of an image;
            an image that is cut into tiles has the mean score of them.
        end: "easy" keeps the easiest, "hard" the hardest, "median" those nearest to
            the middle of their class.
        seed: of the networks.
        networks: that a score is averaged over.
        train_steps: SGD steps that each of them takes on the set.

    Raises:
        UserError: the file cannot be read, there are not so many images, the score or
            the end is unknown, a number is not positive, or the score is not finite.

    Source: the idea of YOCO (He et al., "You only condense once", NeurIPS 2023), which
    keeps images of low prediction error, the same number of every class. Its error is
    of logits, averaged over the first epochs; that any score may decide, at networks
    after a few steps, is ours.

    Example:
        >>> from jaxdd.artifact.artifact import _example
        >>> two = _example().keep(np.zeros((2, 2), int))
        >>> one = shorten(two, 1, networks=1, train_steps=1)
        >>> one.images.shape, one.provenance["shortened"]["of"]
        ((2, 1, 4, 4, 1), 2)
    """
    choose("end", end, dict.fromkeys(ENDS))
    score_named(score)
    check_seed(plain(seed), "seed")
    for name, value in (
        ("ipc", ipc), ("networks", networks), ("train_steps", train_steps),
    ):  # fmt: skip
        check_type(name, int, plain(value))
        check_integer(name, value)
        if value < 1:
            raise UserError(f"{name} must be positive, not {value}")
    effort = Effort(networks=networks, train_steps=train_steps)
    artifact = artifact_of(artifact)
    if ipc > artifact.ipc:
        raise UserError(
            f"a set with an ipc of {artifact.ipc} cannot be shortened to {ipc}: choose "
            f"{'1' if artifact.ipc == 1 else f'1 to {artifact.ipc}'}"
        )
    scores = image_scores(artifact, score, seed, effort)
    places = _order(scores, end)[:, :ipc]
    about: dict[str, Any] = {
        "of": artifact.ipc,
        "score": score,
        "end": end,
        "seed": int(seed),
        "effort": dataclasses.asdict(effort),
        "places": places.tolist(),
    }
    provenance = {**artifact.provenance, "shortened": about}
    return replace(artifact.keep(places), provenance=provenance)


def image_scores(
    artifact: Artifact, score: str, seed: int, effort: Effort
) -> np.ndarray:
    """[K, n] scores of the stored images at networks trained on the set.

    Args:
        artifact: the set.
        score: name of a score.
        seed: of the networks.
        effort: how many networks, and for how long.

    Raises:
        UserError: the score is unknown or not finite.

    Example:
        >>> from jaxdd.artifact.artifact import _example
        >>> few = Effort(networks=1, train_steps=1)
        >>> image_scores(_example(), "loss", 0, few).shape
        (2, 1)
    """
    score_named(score)
    classes = len(artifact.images)
    # One after another, so that the tiles of an image are known to be its own.
    each = [
        np.asarray(artifact.keep(np.full((classes, 1), j)).synthetic().images)
        for j in range(artifact.ipc)
    ]
    images = np.stack(each, axis=1)  # [K, n, tiles, ...]
    per_class = images.shape[1] * images.shape[2]
    data = real_data(
        images.reshape(classes * per_class, *images.shape[3:]),
        np.repeat(np.arange(classes), per_class),
        classes,
    )
    options = {k: v for k, v in artifact.network.items() if k != "name"}
    shape = images.shape[3:]
    network = make_network(artifact.network["name"], shape, classes, **options)
    scores = compute(network, data, seed, [score], effort)[score]
    return scores.reshape(images.shape[:3]).mean(axis=2)


def _order(scores: np.ndarray, end: str) -> np.ndarray:
    """[K, n] places of each class, those that are kept first in front."""
    order = np.argsort(scores, axis=1, kind="stable")
    if end == "hard":
        return order[:, ::-1]
    if end == "easy":
        return order
    count = scores.shape[1]
    outwards = np.argsort(np.abs(np.arange(count) - (count - 1) / 2), kind="stable")
    return order[:, outwards]
