"""A dataset with its splits and preprocessing, as every run starts from it."""

import re
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from jaxdd.data import (
    Dataset,
    Preprocess,
    Split,
    Splits,
    fit_zca,
    load,
    normalisation,
    split,
)
from jaxdd.data.real import real_data
from jaxdd.devices import policy
from jaxdd.errors import UserError, quoted
from jaxdd.fields import option
from jaxdd.progress import say
from jaxdd.types import RealData


@dataclass(frozen=True, kw_only=True)
class DataFlags:
    """The flags of a dataset, and of the form to which its images are converted."""

    dataset: str = option(
        "digits",
        "the data: digits, folder:PATH (a sub-folder of PNG, JPEG, BMP, WebP, TIFF, "
        "GIF or PPM images per class), npz:FILE (as MedMNIST's) or the name of a "
        "prepared TFDS dataset",
        kind="dataset",
    )
    data_dir: str | None = option(None, "folder of prepared TFDS datasets", kind="path")
    channels: int | None = option(
        None, "convert images to 1 (grey) or 3 (RGB; transparency is dropped)"
    )
    image_size: str | None = option(
        None, "N or HxW: cut images to that shape about the centre, and resize them"
    )


class Scaling(NamedTuple):
    """The choice of a preprocessing, before it is fitted to the training split.

    Attributes:
        zca: whether images are whitened.
        constants: name of the dataset whose mean and standard deviation are used; None
            for those of the images, and with whitening.
    """

    zca: bool = False
    constants: str | None = None


@dataclass(frozen=True)
class Problem:
    """A dataset, split and preprocessed.

    Attributes:
        dataset: the data as they were read.
        splits: training, validation and test split.
        preprocess: the fitted preprocessing.
        split_seed: seed of the validation split.
        source: name by which `data.load` reads the dataset; None for data in memory.
        scaling: the choice by which `preprocess` was fitted.
    """

    dataset: Dataset
    splits: Splits
    preprocess: Preprocess
    split_seed: int = 0
    source: str | None = None
    scaling: Scaling = Scaling()  # noqa: RUF009 - immutable

    @property
    def name(self) -> str:
        """The source of the data, or the name of a dataset in memory."""
        return self.source or self.dataset.name

    def scaled(self, scaling: Scaling) -> "Problem":
        """The same problem with another preprocessing."""
        if scaling == self.scaling:
            return self
        fitted = _fit(scaling, self.dataset, self.splits.train.images)
        return replace(self, preprocess=fitted, scaling=scaling)

    def blind(self) -> "Problem":
        """The same problem with the validation split in place of the test split.

        Hyper-parameters are chosen on it, without access to the test data.

        Raises:
            UserError: there is no validation split.
        """
        train, validation, _ = self.splits
        if validation is None:
            raise UserError("choosing needs validation data: leave out --validation=0")
        blind = Splits(train, None, validation)
        return replace(self, splits=blind)

    def microbatch(self, network: dict) -> int | None:
        """Chunk length for a network's gradients over a batch; see `policy`."""
        width = network.get("width") or 128
        return policy.microbatch_for(self.dataset.image_shape, width)

    def on_device(self, part: Split, scores: np.ndarray | None = None) -> RealData:
        """A split on the device; scores [M] sort each class from easy to hard."""
        images, scale, shift = self.preprocess.device_images(part.images)
        classes = self.dataset.num_classes
        return real_data(images, part.labels, classes, scale, shift, scores)


def open_problem(
    name: str,
    data_dir: str | None,
    validation: float,
    seed: int,
    zca: bool,
    constants: str | None = None,
    channels: int | None = None,
    image_size: str | None = None,
) -> Problem:
    """Read a dataset, split it, and fit the preprocessing to the training split.

    The remarks of the reader go to `progress.say`.

    Args:
        name, data_dir, channels, image_size: see `DataFlags`.
        validation: share of the training data that is held out, in [0, 0.5].
        seed: seed of the validation split.
        zca, constants: see `Scaling`.

    Raises:
        UserError: the dataset cannot be used, or the validation share is out of range.
    """
    dataset = open_dataset(name, data_dir, channels, image_size)
    return replace(prepare(dataset, validation, seed, zca, constants), source=name)


def open_dataset(
    name: str,
    data_dir: str | None,
    channels: int | None = None,
    image_size: str | None = None,
) -> Dataset:
    """Read a dataset by its flags; the remarks of the reader go to `progress.say`.

    Raises:
        UserError: the dataset cannot be used.
    """
    dataset = load(name, data_dir, channels, size_of(image_size))
    for remark in dataset.remarks:
        say(remark)
    return dataset


def size_of(text: str | None) -> tuple[int, int] | None:
    """(H, W) in pixels from the flag --image_size; None without the flag.

    Raises:
        UserError: the text is neither N nor HxW.

    Example:
        >>> size_of("32"), size_of("20x30")
        ((32, 32), (20, 30))
    """
    if text is None:
        return None
    # The text may come from an artifact.
    match = re.fullmatch(r"([0-9]{1,9})(?:x([0-9]{1,9}))?", str(text))
    if match is None:
        raise UserError(
            f"--image_size must be a number of pixels or HxW, not {quoted(text)}"
        )
    height, width = match[1], match[2] or match[1]
    return int(height), int(width)


def prepare(
    dataset: Dataset,
    validation: float,
    seed: int,
    zca: bool,
    constants: str | None = None,
) -> Problem:
    """`open_problem` for a dataset in memory."""
    scaling = Scaling(zca, constants)
    splits = split(dataset, validation, seed)
    fitted = _fit(scaling, dataset, splits.train.images)
    return Problem(dataset, splits, fitted, seed, scaling=scaling)


def _fit(scaling: Scaling, dataset: Dataset, images: np.ndarray) -> Preprocess:
    if scaling.zca:
        return fit_zca(images)
    return normalisation(scaling.constants or dataset.name, images)
