"""Datasets by name: the built-in digits, folders, archives, and prepared TFDS sets."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from jaxdd.data.dataset import Dataset
from jaxdd.data.readers.digits import digits
from jaxdd.data.readers.folder import from_folder
from jaxdd.data.readers.npz import from_npz
from jaxdd.data.readers.pictures import Form, fit_arrays
from jaxdd.data.readers.tfds import from_tfds

# Datasets that come with the installed packages, by name.
BUILT_IN: Mapping[str, Callable[[], Dataset]] = {"digits": digits}
# Readers of files, by the word before the path: (path, channels, size) -> dataset.
READERS: Mapping[str, Callable[..., Dataset]] = {"folder": from_folder, "npz": from_npz}


def load(
    name: str,
    data_dir: str | Path | None = None,
    channels: int | None = None,
    image_size: tuple[int, int] | None = None,
) -> Dataset:
    """The dataset called "digits", "folder:PATH", "npz:FILE", or by its TFDS name.

    Args:
        name: "digits", "folder:PATH", "npz:FILE", or the name of a TFDS dataset.
        data_dir: folder of prepared TFDS datasets, see `from_tfds`.
        channels: 1 (grey) or 3 (RGB), to which images are converted; None keeps theirs.
        image_size: (H, W) in pixels; images are cut to that shape about their centre
            and resized.

    Raises:
        UserError: the dataset does not exist or cannot be read.
    """
    kind, _, place = name.partition(":")
    if kind in READERS:
        return READERS[kind](place, channels, image_size)
    if name not in BUILT_IN:
        return from_tfds(name, data_dir, channels, image_size)
    dataset, form = BUILT_IN[name](), Form(channels, image_size).checked()
    images = fit_arrays(name, dataset.images, form)
    test_images = fit_arrays(name, dataset.test_images, form)
    return replace(dataset, images=images, test_images=test_images)
