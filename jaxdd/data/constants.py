"""The normalisation of a dataset: constants per channel, published or measured."""

import math

import numpy as np

from jaxdd.data.preprocess import ROWS, Preprocess
from jaxdd.data.streaming.rows import HostArray, blocks
from jaxdd.errors import UserError
from jaxdd.modality import modality_of

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# Mean and standard deviation per channel as in the official code of DC, DSA and DM. For
# CIFAR-100 other methods use those of CIFAR-10: see `presets.Preset.constants`.
_PUBLISHED = {
    "mnist": ((0.1307,), (0.3081,)),
    "fashion_mnist": ((0.2861,), (0.3530,)),
    "svhn_cropped": ((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar100": ((0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762)),
}
_STD_FLOOR = 1e-3  # a quarter of a grey level: below it a channel is constant
# Numbers of any unit are constant where float32 cannot tell them apart.
_RELATIVE_FLOOR, _LEAST = 1e-6, 1e-30


def _published(dataset_name: str) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """The published mean and standard deviation of a dataset, or None."""
    name = dataset_name.split(":")[0].split("/")[0]
    if name.startswith(("tiny_imagenet", "imagenet")):
        return _IMAGENET
    return _PUBLISHED.get(name)


def check_constants(dataset_name: str, channels: int) -> None:
    """Refuse a dataset without published constants for so many channels.

    Raises:
        UserError: the dataset has no constants, or they are for another number of
            channels.
    """
    constants = _published(dataset_name)
    if constants is None:
        raise UserError(
            f"there are no constants for {dataset_name!r}: name one of "
            f"{', '.join(_PUBLISHED)}, imagenet"
        )
    if len(constants[0]) != channels:
        raise UserError(
            f"the constants of {dataset_name!r} are for {len(constants[0])} channels "
            f"and the images have {channels}: name another dataset"
        )


def normalisation(dataset_name: str, images: HostArray) -> Preprocess:
    """The usual per-channel normalisation of a dataset.

    A constant channel of images gets a small standard deviation instead of zero; a
    constant channel of sequences or feature of vectors is standardised to zero.

    Args:
        dataset_name: the dataset whose published constants are used, for images.
        images: [M, ..., C] uint8 or float32, the training samples, from which the
            constants are computed if none are published.
    """
    if not modality_of(images.shape[1:]).pixels:
        mean, std = _measure(images)
        floor = np.maximum(_RELATIVE_FLOOR * np.abs(mean), _LEAST)
        std = np.where(std > floor, std, 1.0)
        return Preprocess("affine", mean.astype(np.float32), std.astype(np.float32))
    constants = _published(dataset_name)
    # Data of the user may have the name of a published dataset.
    if constants is None or len(constants[0]) != images.shape[-1]:
        mean, std = _measure(images)
    else:
        mean, std = np.array(constants[0]), np.array(constants[1])
    std = np.maximum(std, _STD_FLOOR)
    return Preprocess("affine", mean.astype(np.float32), std.astype(np.float32))


def _measure(images: HostArray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation per channel, [C] float64, on the [0, 1] scale."""
    channels = images.shape[-1]
    count = math.prod(images.shape[:-1])
    if images.dtype == np.uint8:  # exact and fast: only 256 values can occur
        values = np.arange(256) / 255
        hist = np.zeros((channels, 256), np.int64)
        for block in blocks(images):
            for c in range(channels):
                hist[c] += np.bincount(block[..., c].ravel(), minlength=256)
        total, square = hist @ values, hist @ values**2
    else:
        total, square = np.zeros(channels), np.zeros(channels)
        for block in blocks(images, ROWS):
            block = block.astype(np.float64)
            others = tuple(range(block.ndim - 1))
            total += block.sum(others)
            square += (block**2).sum(others)
    mean = total / count
    return mean, np.sqrt(np.maximum(square / count - mean**2, 0))
