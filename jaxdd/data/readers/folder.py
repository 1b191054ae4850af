"""Datasets in folders: one sub-folder of pictures per class."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxdd.data.dataset import Dataset, from_arrays
from jaxdd.data.readers.decoding import images_of
from jaxdd.data.readers.listing import Listing, many
from jaxdd.data.readers.pictures import SUFFIXES, Size, form_of
from jaxdd.data.readers.tiny_imagenet import is_unpacked, read_unpacked
from jaxdd.data.splits import held_out_remark, with_test_split
from jaxdd.data.streaming.rows import pick
from jaxdd.errors import UserError, quoted
from jaxdd.storage.paths import existing_folder, shown

# The preferred names come first.
_TRAIN_FOLDERS = ("train", "training")
_TEST_FOLDERS = ("test", "testing", "val", "valid", "validation")


def from_folder(
    path: str | Path,
    channels: int | None = None,
    image_size: Size = None,
    stream: str = "never",
) -> Dataset:
    """Images in one sub-folder per class, the classes in the order of their names.

    PNG, JPEG, BMP, WebP, TIFF, GIF and PPM are read: the first frame of each, turned as
    its EXIF data say.

    Args:
        path: a folder with the class folders, or with `train` that has the class
            folders and, for testing, the first of `test`, `testing`, `val`, `valid` and
            `validation` that exists. Without a test split a fixed stratified fifth is
            held out. Images may lie deeper inside the folder of their class. A folder
            laid out as the archive of Tiny ImageNet is read as `readers.tiny_imagenet`
            says.
        channels: 1 or 3, to which images are converted; by default grey and RGB are
            kept and have to be the same in all files.
        image_size: in pixels, a side or (H, W); images are cut to that shape about
            their centre and resized.
        stream: whether decoded images stay on disk, one of `streaming.choice.STREAM`.

    Returns:
        Images are [M, H, W, C] uint8, C = 1 for grey and 3 for RGB. `remarks` lists the
        files that were left out.

    Raises:
        UserError: the folder is missing, empty or unreadable, a file cannot be decoded,
            or images differ in size or mode and no conversion was chosen.

    Example:
        >>> from_folder("no/such/folder")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        jaxdd.errors.UserError: ...
    """
    form = form_of(channels, image_size)
    root = existing_folder(path, "the image folder", "check the path")
    if is_unpacked(root):
        return read_unpacked(root, form, stream)
    name = f"folder:{shown(root.resolve().name)}"
    listing = Listing(root)
    classes, test = _layout(listing)
    of_classes = [d.parent for d in (*classes.values(), *(test or {}).values())]
    for folder in dict.fromkeys((root, *of_classes)):
        listing.loose(folder)
    names = list(classes)
    if len(names) < 2:
        raise UserError(_no_classes(root, names))
    files, labels = _labelled(listing, classes, names)
    count = len(files)
    if test is not None:
        more, more_labels = _labelled(listing, test, names)
        files, labels = files + more, labels + more_labels
    images, moving = images_of(files, labels, form, root, name, stream)
    remarks = listing.remarks(len(files))
    if moving:
        remarks.append(
            f"the reader took the first of several frames of {many(moving, 'image')}"
        )
    # Names are only for messages and pictures; the label alone is the class.
    readable = [shown(n) for n in names]
    array = np.array(labels, np.int32)
    if test is None:
        remarks.append(held_out_remark(name, count))
        return with_test_split(name, images, array, readable, remarks)
    train, tested = slice(count), slice(count, None)
    return from_arrays(
        pick(images, train), array[train], pick(images, tested), array[tested],
        readable, name, remarks,
    )  # fmt: skip


def _layout(listing: Listing) -> tuple[dict[str, Path], dict[str, Path] | None]:
    """{class: folder} for training, and for testing if there is a test split."""
    root = listing.root
    top = listing.subfolders(root)
    train = next(
        (d for d in _named(top, _TRAIN_FOLDERS) if listing.subfolders(d)), None
    )
    if train is None:
        return _classes_on_top(listing, top)
    classes, test = listing.subfolders(train), None
    for folder in _named(top, _TEST_FOLDERS):
        inside = listing.subfolders(folder)
        if test is not None:
            listing.leave_out(folder, f"{shown(test.name)} is the test split")
        elif not inside:
            listing.leave_out(folder, "it has no folder for each class")
        else:
            test, test_classes = folder, inside
    for folder in top.values():
        if folder not in (train, test) and folder.name not in listing.folders:
            listing.leave_out(folder, f"it is beside {shown(train.name)}")
    if test is None:
        return classes, None
    strange = sorted(set(test_classes) - set(classes))
    if strange:
        raise UserError(
            f"class {quoted(strange[0])} is in {shown(test)} but not in "
            f"{shown(train)}; make them agree"
        )
    return classes, test_classes


def _classes_on_top(
    listing: Listing, top: dict[str, Path]
) -> tuple[dict[str, Path], dict[str, Path] | None]:
    """`_layout` of a root that holds the class folders, perhaps with a test split."""
    special = (*_TRAIN_FOLDERS, *_TEST_FOLDERS)
    if top and all(name.lower() in special for name in top):
        raise UserError(
            f"the image folder {shown(listing.root)} has the splits "
            f"{', '.join(map(shown, top))}, but no folder for each class inside them: "
            "make these"
        )
    others = {n for n in top if n.lower() not in _TEST_FOLDERS}
    classes, test = dict(top), None
    for folder in _named(top, _TEST_FOLDERS):
        inside = listing.subfolders(folder)
        if not inside or set(inside) - others:
            listing.notes.append(
                f"the folder {shown(folder)} is read as a class: it is beside other "
                "classes and does not have their folders"
            )
            continue
        del classes[folder.name]
        if test is None:
            test, test_folder = inside, folder
        else:
            listing.leave_out(folder, f"{shown(test_folder.name)} is the test split")
    return classes, test


def _named(folders: dict[str, Path], names: Sequence[str]) -> list[Path]:
    """The folders with one of the names, in the order of the names."""
    return [d for n in names for d in folders.values() if d.name.lower() == n]


def _no_classes(root: Path, names: list[str]) -> str:
    if not names:
        return (
            f"the image folder {shown(root)} has no sub-folders; make one for each "
            "class"
        )
    return (
        f"the image folder {shown(root)} has one class only, {quoted(names[0])}, which "
        "any network gets right: at least 2 sub-folders are needed, or give "
        f"folder:{shown(root / names[0])} if the classes are in there"
    )


def _labelled(
    listing: Listing, classes: dict[str, Path], names: list[str]
) -> tuple[list[Path], list[int]]:
    """The files of all classes, and their indices in `names`."""
    files: list[Path] = []
    labels: list[int] = []
    for name, folder in classes.items():
        members = listing.images(folder)
        if not members:
            raise UserError(
                f"the class folder {shown(folder)} holds no image file "
                f"({', '.join(s[1:] for s in SUFFIXES)}); add images or remove it"
            )
        files += members
        labels += [names.index(name)] * len(members)
    return files, labels
