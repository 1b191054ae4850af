"""Tiny ImageNet in the folders that its archive unpacks to, and its text files.

Training images are in `train/CLASS/images`, beside boxes that nothing here needs; those
of `val` are in one folder, with a file of annotations that has their classes; those of
`test` have no public labels. Classes are WordNet numbers, in their order.
"""

import os
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from jaxdd.data.dataset import Dataset, from_arrays
from jaxdd.data.readers.decoding import images_of
from jaxdd.data.readers.listing import Listing, many
from jaxdd.data.readers.pictures import SUFFIXES, Form
from jaxdd.data.streaming.rows import pick
from jaxdd.errors import UserError, quoted
from jaxdd.storage.paths import existing_file, reason, shown

NAME, CLASSES = "tiny_imagenet", 200
LARGEST_TEXT = 2**24  # bytes; the largest text file of the archive has 2.6 million
_LONGEST_LINE = 1000  # characters of an annotation; the archive's have about 30
_ANNOTATIONS = "val/val_annotations.txt"
_REMEDY = "copy it from the archive again"


def class_numbers(text: str) -> list[str]:
    """The classes that `wnids.txt` names, in the order of their numbers.

    Raises:
        ValueError: there are fewer than two, or one is named twice.

    Example:
        >>> class_numbers("n02\\nn01\\n")
        ['n01', 'n02']
    """
    classes = sorted(text.split())
    if len(set(classes)) < 2 or len(set(classes)) != len(classes):
        raise ValueError("wnids.txt does not name each class once")
    return classes


def annotations(text: str, classes: Collection[str]) -> list[tuple[str, str]]:
    """The images of `val` and their classes, as `val_annotations.txt` lists them.

    Args:
        text: a line per image: its file, its class, and a box, with tabs between them.
        classes: those that there are.

    Raises:
        ValueError: a line is none of these, names no file of that folder, an image for
            the second time or an unknown class; the message is a phrase.

    Example:
        >>> annotations("val_0.JPEG\\tn01\\t0\\t0\\t62\\t62\\n", ["n01"])
        [('val_0.JPEG', 'n01')]
    """
    listed: dict[str, str] = {}
    for count, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        file, _, rest = line.partition("\t")
        label = rest.partition("\t")[0].strip()
        if len(line) > _LONGEST_LINE or not file or not label:
            raise ValueError(f"line {count} is no file and its class with a tab")
        if file.startswith(".") or any(c in file for c in "/\\\0"):
            raise ValueError(f"line {count} has {quoted(file)}, which is no file name")
        if file in listed:
            raise ValueError(f"line {count} names {quoted(file)} a second time")
        if label not in classes:
            raise ValueError(f"line {count} has the unknown class {quoted(label)}")
        listed[file] = label
    if not listed:
        raise ValueError("it lists no image")
    return list(listed.items())


def readable(classes: Sequence[str], words: str) -> list[str]:
    """The first word of each class, with its WordNet number where two share a word.

    Args:
        classes: WordNet numbers.
        words: what `words.txt` says: lines of a number, a tab, and words with commas.

    Example:
        >>> readable(["n01", "n02"], "n01\\tgoldfish, Carassius auratus\\n")
        ['goldfish', 'n02']
    """
    lines = (line.split("\t") for line in words.splitlines() if "\t" in line)
    spoken = {number: text.split(",")[0].strip() for number, text, *_ in lines}
    firsts = [spoken.get(name) or name for name in classes]
    counts = Counter(firsts)
    return [
        first if counts[first] == 1 else f"{first} ({name})"
        for first, name in zip(firsts, classes, strict=True)
    ]


def is_unpacked(root: Path) -> bool:
    """Whether a folder is laid out as the archive, to judge by its files."""
    texts = (root / "wnids.txt", root / _ANNOTATIONS)
    folders = (root / "train", root / "val" / "images")
    # False, too, where nobody may look: the usual reader says so then.
    return all(map(os.path.isdir, folders)) and any(map(os.path.isfile, texts))


def read_unpacked(root: Path, form: Form, stream: str = "never") -> Dataset:
    """Tiny ImageNet, or some of its classes, from a folder for which `is_unpacked`.

    Some of the images are grey; without `form.channels` they become RGB, as they do
    when the archive is prepared.

    Args:
        root: the folder.
        form: the form to which images are converted.
        stream: whether decoded images stay on disk, one of `streaming.choice.STREAM`.

    Returns:
        The dataset, by the name whose published settings apply; `val` is its test
        split, in the order of the annotations.

    Raises:
        UserError: a text file is missing or contradicts the folders, a class has no
            image, or an image is missing or cannot be decoded.
    """
    listing = Listing(root)
    folders = listing.subfolders(root / "train")
    classes = list(folders)
    if len(classes) < 2:
        raise UserError(
            f"{shown(root / 'train')} has {many(len(classes), 'folder')} of classes, "
            "but at least 2 are needed: unpack the archive again"
        )
    known = _known(root, classes)
    files, labels = [], []
    for label, folder in enumerate(folders.values()):
        inside = folder / "images"  # beside the boxes
        members = listing.images(inside if os.path.isdir(inside) else folder)
        if not members:
            raise UserError(
                f"the class folder {shown(folder)} holds no image: unpack the archive "
                "again, or remove the folder"
            )
        files += members
        labels += [label] * len(members)
    count = len(files)
    listed = [x for x in _listed(root, known) if x[1] in folders]
    if not listed:
        raise UserError(
            f"{shown(root / _ANNOTATIONS)} lists no image of the classes in "
            f"{shown(root / 'train')}: {_REMEDY}"
        )
    files += [_place(root, file, label) for file, label in listed]
    labels += [classes.index(label) for _, label in listed]
    wanted = Form(form.channels or 3, form.size)
    name = NAME if len(classes) == CLASSES else f"{NAME}_subset"
    images, _ = images_of(files, labels, wanted, root, name, stream)
    train_ids, test_ids = np.split(np.arange(len(files)), [count])
    array = np.array(labels, np.int32)
    _leave_out(listing, {file for file, _ in listed}, form)
    words = root / "words.txt"
    spoken = _bytes(words).decode("utf-8", "replace") if os.path.isfile(words) else ""
    return from_arrays(
        pick(images, train_ids),
        array[:count],
        pick(images, test_ids),
        array[count:],
        readable(classes, spoken),
        name,
        listing.remarks(len(files)),
    )


def _known(root: Path, classes: list[str]) -> list[str]:
    """The classes that there may be: those of wnids.txt, or else the folders."""
    path = root / "wnids.txt"
    if not os.path.isfile(path):
        return classes
    try:
        known = class_numbers(_text(path))
    except ValueError as error:
        raise _unusable(path, error) from error
    strange = next((name for name in classes if name not in known), None)
    if strange is not None:
        raise UserError(
            f"{shown(root / 'train' / strange)} is no class that {shown(path)} names: "
            "remove the folder, or add a line to the file"
        )
    return known


def _listed(root: Path, known: list[str]) -> list[tuple[str, str]]:
    path = root / _ANNOTATIONS
    existing_file(path, "the annotation file of val", _REMEDY)
    try:
        return annotations(_text(path), set(known))
    except ValueError as error:
        raise _unusable(path, error) from error


def _place(root: Path, file: str, name: str) -> Path:
    """Where an image of val is: in its folder, or sorted into those of classes."""
    images = root / "val" / "images"
    for place in (images / file, images / name / file):
        if os.path.isfile(place):  # false, too, for names that no file can have
            return place
    raise UserError(
        f"{shown(images / file)} is not there, but {shown(root / _ANNOTATIONS)} lists "
        "it: unpack the archive again"
    )


def _leave_out(listing: Listing, used: set[str], form: Form) -> None:
    """Note what is not read, and how the rest is."""
    root = listing.root
    grey = "" if form.channels else ", and grey images become RGB (--channels=3)"
    listing.notes.append(
        f"{shown(root)} is read as Tiny ImageNet: val is the test split{grey}"
    )
    for name, folder in listing.subfolders(root).items():
        if name == "test":
            listing.leave_out(folder, "they have no public labels")
        elif name not in ("train", "val"):
            listing.leave_out(folder, "it is beside train and val")
    others = sum(
        file.suffix.lower() in SUFFIXES and file.name not in used
        for file in (root / "val" / "images").rglob("*")
    )
    if others:
        listing.notes.append(
            f"the reader left out {many(others, 'image')} of "
            f"{shown(root / 'val')}, which the annotations do not give a class"
        )


def _text(path: Path) -> str:
    """A text file of the archive.

    Raises:
        ValueError: it is too large, or not UTF-8; the message is a phrase.
    """
    try:
        return _bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_TEXT + 1)
    except OSError as error:
        raise _unusable(path, error) from error
    if len(content) > LARGEST_TEXT:
        raise _unusable(path, ValueError(f"it is larger than {LARGEST_TEXT} bytes"))
    return content


def _unusable(path: Path, error: Exception) -> UserError:
    if isinstance(error, UserError):
        return error
    return UserError(f"cannot use {shown(path)} ({reason(error)}): {_REMEDY}")
