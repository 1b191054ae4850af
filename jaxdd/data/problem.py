"""A dataset with its splits and preprocessing, as every run starts from it."""

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

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
from jaxdd.data.load import BUILT_IN
from jaxdd.data.readers.pictures import size_of
from jaxdd.data.readers.table import MISSING
from jaxdd.data.real import real_data
from jaxdd.data.streaming import choice as streaming_choice
from jaxdd.data.streaming.moving import placed, whitened_rows
from jaxdd.data.streaming.rows import HostArray, Rows
from jaxdd.data.subsets import checked_ids, read_index
from jaxdd.data.whitening import LARGEST_WHOLE, cost, side_for
from jaxdd.devices import policy
from jaxdd.errors import UserError
from jaxdd.fields import Choice, option
from jaxdd.modality import MODALITIES, check_pixels
from jaxdd.progress import say
from jaxdd.storage.paths import shown
from jaxdd.types import RealData


@dataclass(frozen=True, kw_only=True)
class DataFlags:
    """The flags of a dataset, and of the form to which its images are converted."""

    dataset: str = option(
        "digits",
        f"the data: {', '.join(BUILT_IN)} (built in), folder:PATH (a sub-folder of "
        "PNG, JPEG, BMP, WebP, TIFF, GIF or PPM images per class), npz:FILE (as "
        "MedMNIST's), table:FILE (CSV, Parquet or NPZ, with --label) or the name of a "
        "prepared TFDS dataset",
        kind="dataset",
        often=True,
    )
    data_dir: str | None = option(
        None, "folder of prepared TFDS datasets", kind="path", often=True
    )
    channels: int | None = option(
        None,
        "number of channels to which images are converted: 1 (grey) or 3 (RGB; "
        "transparency is dropped)",
    )
    image_size: str | None = option(
        None,
        "size in pixels, N or HxW, to which images are cut about their centre and "
        "resized",
        kind="size",
    )
    modality: str | None = option(
        None,
        f"what the samples of an npz:FILE or of arrays are: {', '.join(MODALITIES)}; "
        "default: what the number of axes says, where [n, H, W] are grey images",
        choices=MODALITIES,
    )
    label: str | None = option(
        None, "name of the column of a table:FILE that holds the classes"
    )
    id_column: str | None = option(
        None, "name of a column of a table:FILE that names its rows and is no feature"
    )
    missing: str | None = option(
        None,
        "what becomes of a cell of a table:FILE without a value: the table is refused "
        "(refuse), or it is the mean of its column over the training rows (mean); "
        "default: refuse",
        choices=MISSING,
    )
    subset: str | None = option(
        None,
        "an index that experiments.prune wrote: the training split is restricted to "
        "its samples before anything else",
        kind="path",
    )
    stream: str = option("auto", streaming_choice.HELP, choices=streaming_choice.STREAM)

    @property
    def form(self) -> dict[str, str | int]:
        """The flags that say how data is read, where they are given, by name."""
        values = {name: getattr(self, name) for name in FORM}
        return {name: value for name, value in values.items() if value is not None}


# Flags of `DataFlags` that an artifact keeps, so that its data can be read again.
FORM = ("channels", "image_size", "modality", "label", "id_column", "missing")


@dataclass(frozen=True)
class Scaling(Choice):
    """How images become what networks see, before it is fitted to the training split.

    Attributes:
        zca: whether images are ZCA-whitened.
        zca_blocks: side of the blocks that are whitened, in pixels; None for whole
            images.
        constants: the dataset whose mean and standard deviation normalise images that
            are not whitened; None for their own.
    """

    subject: ClassVar[str] = "the preprocessing"

    zca: bool = option(False, "whether images are ZCA-whitened instead of normalised")
    zca_blocks: int | None = option(
        None,
        "side in pixels of the blocks in which --zca whitens images, a divisor of "
        "their height and width; needed from 64x64 on; default: whole images",
        above=0,
    )
    constants: str | None = option(
        None,
        "dataset whose mean and standard deviation normalise the images; default: "
        "as in the method's official code",
    )


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
    scaling: Scaling = Scaling()

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

    def held_out(self, share: float, seed: int) -> "Problem":
        """The same problem with a share of its training split held out.

        Args:
            share: of each class of the data's own training split, in [0, 1).
            seed: draws the samples.

        Raises:
            UserError: there are too few samples for that.
        """
        splits = split(self.dataset, share, seed)
        fitted = _fit(self.scaling, self.dataset, splits.train.images)
        return replace(self, splits=splits, preprocess=fitted, split_seed=seed)

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
        images, scale, shift = self._device_images(part.images)
        classes = self.dataset.num_classes
        return real_data(images, part.labels, classes, scale, shift, scores)

    def _device_images(
        self, images: HostArray
    ) -> tuple[HostArray, np.ndarray, np.ndarray]:
        """As `Preprocess.device_images`; whitened images of a file are a file too."""
        if not isinstance(images, Rows) or self.preprocess.kind == "affine":
            return self.preprocess.device_images(images)
        whitened = whitened_rows(images, self.preprocess, self.dataset.name)
        return whitened, *self.preprocess.unscaled(images.shape[-1])


def open_problem(
    data: DataFlags,
    validation: float,
    seed: int,
    scaling: Scaling = Scaling(),
) -> Problem:
    """Read a dataset, split it, and fit the preprocessing to the training split.

    The remarks of the reader go to `progress.say`.

    Args:
        data: the flags that name the data.
        validation: share of train that is held out.
        seed: of that share.
        scaling: how images are normalised.

    Raises:
        UserError: the dataset cannot be used, or the validation share is out of range.
    """
    dataset = open_dataset(data)
    return replace(prepare(dataset, validation, seed, scaling), source=data.dataset)


def open_dataset(data: DataFlags) -> Dataset:
    """Read a dataset by the flags that name it, and say what was left out of it.

    Raises:
        UserError: the dataset cannot be used.
    """
    form: dict[str, Any] = {**data.form, "image_size": size_of(data.image_size)}
    dataset = load(data.dataset, data.data_dir, stream=data.stream, **form)
    for remark in dataset.remarks:
        say(remark)
    return restricted(dataset, data.subset, data.dataset)


def in_memory(dataset: Dataset, data: DataFlags) -> Dataset:
    """A dataset that a person handed over, as the flags about it say.

    Args:
        dataset: the data.
        data: the flags, of which --subset and --stream matter.

    Raises:
        UserError: as `restricted`; or the disk refuses or has no room.
    """
    some = restricted(dataset, data.subset, dataset.name)
    return placed(some, data.stream)


def restricted(dataset: Dataset, path: str | None, name: str) -> Dataset:
    """The dataset with the training samples that --subset names.

    Args:
        dataset: the data.
        path: of the index; None for all samples.
        name: what the data is called in messages.

    Raises:
        UserError: the index cannot be read, is of other data, or has ids that are out
            of range, occur twice or leave a class empty.
    """
    if path is None:
        return dataset
    index = read_index(path)
    if dataset.is_decoded:
        index.check(name, dataset.fingerprint)
    ids = checked_ids(index.ids, len(dataset.labels), shown(path))
    say(f"{shown(path)}: {len(ids)} of {len(dataset.labels)} training samples")
    return dataset.subset(ids)


def prepare(
    dataset: Dataset,
    validation: float,
    seed: int,
    scaling: Scaling = Scaling(),
) -> Problem:
    """`open_problem` for a dataset in memory."""
    splits = split(dataset, validation, seed)
    fitted = _fit(scaling, dataset, splits.train.images)
    return Problem(dataset, splits, fitted, seed, scaling=scaling)


def _fit(scaling: Scaling, dataset: Dataset, images: HostArray) -> Preprocess:
    if scaling.constants is not None:
        check_pixels(f"--constants={scaling.constants}", dataset.image_shape)
    if scaling.zca:
        shape, asked = dataset.image_shape, scaling.zca_blocks
        side = side_for(shape, asked)
        values = math.prod(shape) if side is None else side * side * shape[-1]
        if values > LARGEST_WHOLE:
            rows = len(images) * math.prod(shape) // values
            say(f"ZCA whitening takes about {cost(values, rows)}")
        return fit_zca(images, block=asked)
    return normalisation(scaling.constants or dataset.name, images)
