"""Stores that are made from samples that are there already, not from files."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from jaxdd.data.dataset import Dataset
from jaxdd.data.preprocess import ROWS, Preprocess
from jaxdd.data.streaming.building import Part
from jaxdd.data.streaming.places import store_folder
from jaxdd.data.streaming.rows import HostArray, Rows, hash_rows
from jaxdd.data.streaming.store import stored
from jaxdd.storage.paths import shown


def placed(dataset: Dataset, stream: str) -> Dataset:
    """A dataset in memory, on disk where that is asked for.

    Args:
        dataset: the data.
        stream: one of `choice.STREAM`; what is in memory already fits there.

    Raises:
        UserError: as `moved`.
    """
    return moved(dataset) if stream == "always" else dataset


def moved(dataset: Dataset) -> Dataset:
    """A dataset in memory with its samples on disk; one on disk as it is.

    Raises:
        UserError: the disk refuses or has no room.
    """
    if isinstance(dataset.images, Rows):
        return dataset
    name = shown(dataset.name)
    folder = store_folder(name, dataset.fingerprint)
    images, labels = dataset.images, dataset.labels
    test_images, test_labels = dataset.test_images, dataset.test_labels

    def samples_of(images: HostArray, labels: np.ndarray) -> Callable:
        return lambda first: zip(images[first:], labels[first:], strict=True)

    parts = [
        Part("train", len(labels), samples_of(images, labels)),
        Part("test", len(test_labels), samples_of(test_images, test_labels)),
    ]
    there = stored(folder, name, parts, images.shape[1:], images.dtype)
    train, test = there["train"].rows, there["test"].rows
    return replace(dataset, images=train, test_images=test)


def whitened_rows(images: Rows, preprocess: Preprocess, name: str) -> Rows:
    """Preprocessed images [M, ...] float32, on disk as the images are.

    They are computed in the blocks of `Preprocess.apply`, so that they have its bits.

    Args:
        images: as they were read.
        preprocess: the map.
        name: of the dataset.

    Raises:
        UserError: the disk refuses or has no room.
    """
    digest = hashlib.sha256(preprocess.digest.encode())
    digest.update(images.file.source.encode())
    hash_rows(images if images.ids is None else images.ids, digest.update)

    def samples(first: int) -> Iterator[tuple[np.ndarray, int]]:
        for begin in range(first - first % ROWS, len(images), ROWS):
            block = preprocess.apply(images[begin : begin + ROWS])
            for image in block[max(first - begin, 0) :]:
                yield image, 0

    folder = store_folder(f"{shown(name)} whitened", digest.hexdigest())
    part = Part("whitened", len(images), samples)
    there = stored(folder, f"{shown(name)}, whitened", [part], images.shape[1:], "f4")
    return there["whitened"].rows
