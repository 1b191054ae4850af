"""`difficulty.npz`: what was seen of difficulty at the end of a run, for its report.

A summary has the mean GraDN of a set and its place among real samples. This file has
the values behind them, some of the easiest and hardest real images, and the GraDN of
test samples, by which accuracy can be sorted.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxdd.data import Split
from jaxdd.data.problem import Problem
from jaxdd.errors import UserError
from jaxdd.primitives.losses import present
from jaxdd.report.tiles import LARGE, shrunk
from jaxdd.scores.probes import KINDS, Probes, Seen
from jaxdd.storage.arrays import Member, Shapes, read_arrays
from jaxdd.storage.files import atomic_file
from jaxdd.storage.paths import shown

FILE = "difficulty.npz"
EACH = 3  # easiest and as many hardest images of a class
CLASSES = 20  # of the first of them
_MEGABYTE = 2**20


class SampleDifficulty(NamedTuple):
    """Difficulty of samples, GraDN under networks of every kind.

    Attributes:
        kinds: P names of `scores.probes.KINDS`; images and test samples are sorted by
            the first.
        of_set: [P, N] of the set's images.
        of_real: [P, R] of random training samples.
        extremes: [S, h, w, 1 or 3] uint8, the easiest and the hardest of those samples
            in each of the first classes, the easiest and the hardest first; sequences
            [S, L, C] and vectors [S, F] float32, as they were read.
        classes: [S] of these images.
        hard: [S] bool, whether an image is among the hardest.
        test_ids: [T] of random test samples, increasing.
        of_test: [T] of these.
    """

    kinds: tuple[str, ...]
    of_set: np.ndarray
    of_real: np.ndarray
    extremes: np.ndarray
    classes: np.ndarray
    hard: np.ndarray
    test_ids: np.ndarray
    of_test: np.ndarray


def gather(
    probes: Probes, seen: Mapping[str, Seen], problem: Problem
) -> SampleDifficulty:
    """What was seen, with images and test samples.

    Test samples are scored in a batch of the size of the real ones, so that nothing is
    compiled for them; the set is finished by then.

    Args:
        probes: the networks.
        seen: what `probes.look` saw of the finished set.
        problem: the data.
    """
    kinds = tuple(seen)
    there = np.asarray(present(next(iter(seen.values())).labels)) > 0
    of_set = np.stack([np.asarray(x.of_set)[there] for x in seen.values()])
    of_real = np.stack([np.asarray(x.of_real) for x in seen.values()])
    train = problem.splits.train
    picked = np.asarray(probes.picked)
    labels = train.labels[picked]
    places, hard = extremes_of(labels, of_real[0], problem.dataset.num_classes)
    images = train.images[picked[places]]
    if problem.dataset.modality.pixels:
        unit = 255 if images.dtype == np.uint8 else 1
        images = shrunk(np.asarray(images, np.float32) / unit)
    test_ids, of_test = np.zeros(0, np.int64), np.zeros(0, np.float32)
    if kinds[0] in probes.fixed:  # others change with the set and are not kept
        test_ids, of_test = _of_test(probes, kinds[0], problem)
    return SampleDifficulty(
        kinds,
        of_set,
        of_real,
        images,
        labels[places],
        hard,
        test_ids,
        of_test,
    )


def extremes_of(
    labels: np.ndarray, scores: np.ndarray, num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """The easiest and hardest samples of the first classes.

    Args:
        labels, scores: [M].
        num_classes: K.

    Returns:
        (places [S], hard [S] bool): up to three of each per class, no sample twice.

    Example:
        >>> labels, scores = np.array([0, 0, 1, 0]), np.array([3.0, 1.0, 5.0, 2.0])
        >>> places, hard = extremes_of(labels, scores, 2)
        >>> places.tolist(), hard.tolist()
        ([1, 3, 0, 2], [False, False, True, False])
    """
    places: list[np.ndarray] = []
    hard: list[bool] = []
    for k in range(min(num_classes, CLASSES)):
        members = np.flatnonzero(labels == k)
        order = members[np.argsort(scores[members], kind="stable")]
        easy = order[: min(EACH, -(-len(order) // 2))]
        tough = order[::-1][: min(EACH, len(order) // 2)]
        places += [easy, tough]
        hard += [False] * len(easy) + [True] * len(tough)
    return np.concatenate(places).astype(np.int64), np.array(hard, bool)


def _of_test(
    probes: Probes, kind: str, problem: Problem
) -> tuple[np.ndarray, np.ndarray]:
    """(ids [T], GraDN [T]) of test samples, at most as many as real ones were."""
    test, size = problem.splits.test, len(probes.picked)
    rng = np.random.default_rng(problem.split_seed)
    chosen = np.sort(rng.permutation(len(test.labels))[:size])
    filled = np.resize(chosen, size)  # once more from the beginning
    part = problem.on_device(
        Split(test.images[filled], test.labels[filled], test.ids[filled])
    )
    data = probes.reference._replace(images=part.images, labels=part.labels)
    learners, _ = probes.fixed[kind]
    scores = np.asarray(probes.of_real(learners, data))
    return test.ids[chosen], scores[: len(chosen)]


# --- The file -------------------------------------------------------------------------

_MEMBERS = {
    "kinds": Member("U", 1, 10_000),
    "of_set": Member("f", 2, 256 * _MEGABYTE),
    "of_real": Member("f", 2, _MEGABYTE),
    "extremes": Member("uf", None, 64 * _MEGABYTE, repetitive=True),
    "classes": Member("i", 1, 10_000, repetitive=True),
    "hard": Member("b", 1, 10_000, repetitive=True),
    "test_ids": Member("i", 1, _MEGABYTE),
    "of_test": Member("f", 1, _MEGABYTE),
}


def write(samples: SampleDifficulty, folder: Path) -> None:
    """Write the file atomically.

    Raises:
        UserError: the disk refuses.
    """
    arrays = {**samples._asdict(), "kinds": np.array(samples.kinds)}
    with atomic_file(folder / FILE, "wb") as file:
        np.savez_compressed(file, **arrays)


def read(folder: Path, num_classes: int) -> SampleDifficulty:
    """The difficulties in the folder of a run with K classes.

    Raises:
        UserError: the file is missing or damaged, or fits no run.
    """
    remedy = "remove it, and the report is made without it"
    arrays = read_arrays(folder / FILE, _MEMBERS, remedy, "the file", _agree)
    kinds = tuple(arrays.pop("kinds").tolist())
    samples = SampleDifficulty(kinds=kinds, **arrays)
    classes = samples.classes
    there = bool(np.all((classes >= 0) & (classes < num_classes)))
    is_picture = samples.extremes.ndim == 4
    there &= is_picture == (samples.extremes.dtype == np.uint8)
    if not (there and set(samples.kinds) <= set(KINDS)):
        raise UserError(f"{shown(folder / FILE)} is of another run: {remedy}")
    return samples


def _agree(shapes: Shapes) -> None:
    """Check that the declared shapes fit each other.

    Raises:
        ValueError: they do not.
    """
    (kinds,) = shapes["kinds"]
    images = shapes["extremes"]
    one = len({images[0], *shapes["classes"], *shapes["hard"]}) == 1
    if not one or not kinds == shapes["of_set"][0] == shapes["of_real"][0] > 0:
        raise ValueError("its arrays do not fit each other")
    if not 2 <= len(images) <= 4 or 0 in images[1:]:
        raise ValueError("its images have an impossible size")
    if len(images) == 4 and (images[3] not in (1, 3) or max(images[1:3]) > 2 * LARGE):
        raise ValueError("its images have an impossible size")
    if shapes["test_ids"] != shapes["of_test"]:
        raise ValueError("its test samples do not fit each other")
