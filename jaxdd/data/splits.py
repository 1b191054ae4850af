"""Training, validation and test splits, the same for the same seed."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxdd.data.checks import check_labels, check_no_gap, count_classes
from jaxdd.data.columns import Column
from jaxdd.data.dataset import Dataset, from_arrays
from jaxdd.data.streaming.rows import HostArray, pick
from jaxdd.errors import UserError

TEST_FRACTION = 0.2  # if the source has no test split
TEST_SEED = 0  # fixed: the test split is part of the dataset, not of an experiment


class Split(NamedTuple):
    """Part of a dataset, in dataset order.

    `ids` are the indices of the samples in the dataset's training array (`train` and
    `validation`) or in its test array (`test`). Of a dataset that is some samples of a
    larger one, they are those in the larger one's: a sample has one id everywhere.
    """

    images: HostArray  # [M, ...] uint8 or float32
    labels: np.ndarray  # [M] int32
    ids: np.ndarray  # [M] int64, increasing


class Splits(NamedTuple):
    """The data for training, for choosing hyper-parameters, and for results."""

    train: Split
    validation: Split | None
    test: Split


def split(dataset: Dataset, validation: float | int = 0.1, seed: int = 0) -> Splits:
    """Hold a stratified part of the training data out for validation.

    Args:
        dataset: the data.
        validation: fraction of every class to hold out, in [0, 0.5]; with 0 there is no
            validation split, and `train` is all training data.
        seed: at least 0.

    Raises:
        UserError: the fraction or the seed is out of range, or a class has one sample.
    """
    if not 0 <= validation <= 0.5:
        raise UserError(
            f"the validation fraction must lie in [0, 0.5], but is {validation}"
        )
    test_ids = np.arange(len(dataset.test_labels))
    test = Split(dataset.test_images, dataset.test_labels, test_ids)
    if validation == 0:
        ids = _ids(dataset, np.arange(len(dataset.labels)))
        return Splits(Split(dataset.images, dataset.labels, ids), None, test)
    train_ids, held_ids = hold_out(dataset.labels, validation, seed)
    return Splits(_take(dataset, train_ids), _take(dataset, held_ids), test)


def hold_out(
    labels: np.ndarray, fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Indices to keep and to hold out, both increasing, stratified by class.

    Args:
        labels: [M] int, with at least one sample of every class.
        fraction: share to hold out, in (0, 0.5].
        seed: at least 0.

    Returns:
        Indices to keep [M - m] int64 and to hold out [m] int64, with m = ceil(fraction
        * M) unless small classes forbid it: every class has a sample in both.

    Raises:
        UserError: the seed is negative, or a class has a single sample.
    """
    if seed < 0:
        raise UserError(f"the seed of a split must be at least 0, but is {seed}")
    counts = np.bincount(labels)
    if counts.min() < 2:
        smallest = int(np.argmin(counts))
        raise UserError(
            f"class {smallest} has {counts[smallest]} training sample, too few to hold "
            f"out a fraction of {fraction}; add samples or do without holding out"
        )
    parts = []
    for k, quota in enumerate(_quotas(counts, fraction)):
        # One stream per class: a change in one class leaves the others as they were.
        order = np.random.default_rng([seed, k]).permutation(int(counts[k]))
        parts.append(np.flatnonzero(labels == k)[order[:quota]])
    held_ids = np.sort(np.concatenate(parts))
    is_train = np.ones(len(labels), bool)
    is_train[held_ids] = False
    return np.flatnonzero(is_train), held_ids


def with_test_split(
    name: str,
    images: HostArray,
    labels: np.ndarray,
    class_names: Sequence[str] | None,
    remarks: Sequence[str] = (),
    modality: str | None = None,
    columns: Sequence[Column] = (),
) -> Dataset:
    """A dataset whose test split is a fixed stratified fifth of all images.

    Readers use it if their source has no test split.

    Args:
        name: name of the dataset.
        images: the samples [M, ...], as in `from_arrays`.
        labels: [M] integers from 0 on.
        class_names: K names, None for numbers.
        remarks, columns: as in `Dataset`.
        modality: as in `from_arrays`.

    Raises:
        UserError: the labels do not fit the images or leave out a class; or as in
            `hold_out` and `from_arrays`.
    """
    count = count_classes(f"labels of {name!r}", labels)
    names = [*map(str, range(count))] if class_names is None else class_names
    check_labels(f"training split of {name!r}", labels, len(images), len(names))
    check_no_gap(repr(name), labels, names)
    train, test = hold_out(labels, TEST_FRACTION, TEST_SEED)
    return from_arrays(
        pick(images, train), labels[train], pick(images, test), labels[test],
        class_names, name, remarks, modality, columns,
    )  # fmt: skip


def held_out_remark(name: str, total: int, what: str = "images") -> str:
    """The remark about `with_test_split` on `total` samples."""
    return (
        f"{name} has no test split: a stratified fifth of its {total} {what} is held "
        "out as one, always the same"
    )


def _quotas(counts: np.ndarray, fraction: float) -> np.ndarray:
    """[K] samples to hold out per class, by largest remainder."""
    exact = counts * fraction
    quotas = np.floor(exact).astype(int)
    # 0.07 * 100 is 7.000000000000001: do not let rounding add a sample.
    missing = math.ceil(exact.sum() - 1e-6) - quotas.sum()
    quotas[np.argsort(quotas - exact, kind="stable")[:missing]] += 1
    return np.clip(quotas, 1, counts - 1)


def _take(dataset: Dataset, ids: np.ndarray) -> Split:
    return Split(pick(dataset.images, ids), dataset.labels[ids], _ids(dataset, ids))


def _ids(dataset: Dataset, places: np.ndarray) -> np.ndarray:
    """The ids of the training samples at some places."""
    if dataset.restricted is None:
        return places
    return dataset.restricted.ids[places]
