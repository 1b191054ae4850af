"""Datasets by name: the built-in digits, folders of images, and prepared TFDS sets."""

from pathlib import Path

import numpy as np
from PIL import Image

from jaxdd.data.dataset import Dataset, from_arrays
from jaxdd.data.splits import hold_out
from jaxdd.data.tfds_reader import from_tfds
from jaxdd.errors import UserError

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
_TEST_FOLDERS = ("test", "val", "validation")
_TEST_FRACTION = 0.2  # where a source brings no test split
_TEST_SEED = 0  # fixed: the test split is part of the dataset, not of an experiment


def load(name: str, data_dir: str | Path | None = None) -> Dataset:
    """The dataset called "digits", "folder:PATH", or by its TFDS name.

    data_dir: for TFDS names only, see `from_tfds`

    Raises UserError if there is no such dataset or it cannot be read.
    """
    if name == "digits":
        return digits()
    if name.startswith("folder:"):
        return from_folder(name.removeprefix("folder:"))
    return from_tfds(name, data_dir)


def digits() -> Dataset:
    """scikit-learn's handwritten digits: 1437 training and 360 test images.

    Images are [M, 8, 8, 1] float32 in [0, 1]. Needs no file and no network.
    """
    from sklearn.datasets import load_digits  # slow to import

    bunch = load_digits()
    images = (bunch.images / 16).astype(np.float32)[..., None]
    return _with_held_out_test("digits", images, bunch.target, list("0123456789"))


def from_folder(path: str | Path) -> Dataset:
    """Images in one sub-folder per class, the classes in the order of their names.

    If `path` has sub-folders `train` and `test`, `val` or `validation`, each with one
    folder per class, they are the splits; otherwise a stratified fifth is held out for
    testing, always the same. Files that are not png, jpg, jpeg or bmp are ignored.
    Images are [M, H, W, C] uint8, C = 1 for greyscale and 3 for RGB.

    Raises UserError for a missing or empty folder, a file that cannot be decoded, or
    images that differ in size or mode.

    Example:
        >>> from_folder("no/such/folder")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        jaxdd.errors.UserError: ...
    """
    root = Path(path).expanduser()
    if not str(path) or not root.is_dir():
        raise UserError(
            f"the image folder {str(path)!r} does not exist; check the path"
        )
    train = root / "train"
    if not (train.is_dir() and _subfolders(train)):  # `train` may be a class, too
        train = root
    test = next((root / n for n in _TEST_FOLDERS if (root / n).is_dir()), None)
    names = [d.name for d in _subfolders(train)]
    if not names:
        raise UserError(
            f"the image folder {root} has no sub-folders; make one for each class"
        )
    images, labels = _read_classes(train, names, None)
    name = f"folder:{root.resolve().name}"
    if train is root or test is None:
        return _with_held_out_test(name, images, labels, names)
    strange = sorted({d.name for d in _subfolders(test)} - set(names))
    if strange:
        raise UserError(
            f"class {strange[0]!r} is in {test} but not in {train}; make them agree"
        )
    test_names = [n for n in names if (test / n).is_dir()]
    if not test_names:
        raise UserError(
            f"the test folder {test} has no sub-folders; make one for each class"
        )
    test_images, test_labels = _read_classes(test, test_names, images.shape[1:])
    test_labels = np.array([names.index(n) for n in test_names])[test_labels]
    return from_arrays(images, labels, test_images, test_labels, names, name)


def _with_held_out_test(
    name: str, images: np.ndarray, labels: np.ndarray, class_names: list[str]
) -> Dataset:
    kept, held = hold_out(labels, _TEST_FRACTION, _TEST_SEED)
    return from_arrays(
        images[kept], labels[kept], images[held], labels[held], class_names, name
    )


def _subfolders(folder: Path) -> list[Path]:
    return sorted(
        (d for d in folder.iterdir() if d.is_dir() and not d.name.startswith(".")),
        key=lambda d: d.name,
    )


def _read_classes(
    root: Path, names: list[str], shape: tuple[int, ...] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Images [M, H, W, C] uint8 and labels [M] of the given class folders.

    shape: (H, W, C) that all images must have; None for that of the first
    """
    images, labels = [], []
    for k, name in enumerate(names):
        files = sorted(
            f
            for f in (root / name).iterdir()
            if f.suffix.lower() in _SUFFIXES and not f.name.startswith(".")
        )
        if not files:
            raise UserError(
                f"the class folder {root / name} holds no "
                f"{', '.join(s[1:] for s in _SUFFIXES)} file; add images or remove it"
            )
        for file in files:
            image = _read_image(file)
            shape = shape or image.shape
            if image.shape != shape:
                raise UserError(
                    f"the image {file} has shape {image.shape} (height, width, "
                    f"channels), but those before it {tuple(shape)}; make all images "
                    "the same size and mode"
                )
            images.append(image)
            labels.append(k)
    return np.stack(images), np.array(labels)


def _read_image(file: Path) -> np.ndarray:
    """[H, W, C] uint8 of a greyscale or RGB file."""
    try:
        with Image.open(file) as image:
            mode, array = image.mode, np.asarray(image)
    except Exception as error:  # Pillow raises all sorts for broken files
        raise UserError(
            f"the image {file} cannot be decoded; replace or remove it"
        ) from error
    if mode not in ("L", "RGB"):
        raise UserError(
            f"the image {file} has mode {mode!r}; convert it to 'L' (grey) or 'RGB'"
        )
    return array[..., None] if mode == "L" else array
