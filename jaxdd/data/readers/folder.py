"""Datasets that lie in folders: one sub-folder of pictures per class."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from jaxdd.data.dataset import Dataset, from_arrays
from jaxdd.data.readers.pictures import (
    FORMATS,
    SUFFIXES,
    Form,
    Kind,
    look_at,
    read_file,
)
from jaxdd.data.splits import held_out_remark, with_test_split
from jaxdd.errors import UserError, quoted
from jaxdd.storage.paths import existing_folder, reason, shown

# In the order in which they are preferred.
_TRAIN_FOLDERS = ("train", "training")
_TEST_FOLDERS = ("test", "testing", "val", "valid", "validation")
# What operating systems, archives and network drives leave beside images.
_SYSTEM_FOLDERS = (
    "__macosx", "@eadir", "#recycle", "$recycle.bin", "lost+found",
    "system volume information",
)  # fmt: skip
_DEEPEST = 16  # levels of folders inside a class
_LISTED = 5  # names or numbers in a sentence


def from_folder(
    path: str | Path,
    channels: int | None = None,
    image_size: tuple[int, int] | None = None,
) -> Dataset:
    """Images in one sub-folder per class, the classes in the order of their names.

    path: holds the class folders, or `train` with the class folders and, for testing,
        the first there is of `test`, `testing`, `val`, `valid` and `validation`.
        Without a test split a stratified fifth is held out, always the same. Images
        may lie deeper inside the folder of their class. PNG, JPEG, BMP, WebP, TIFF, GIF
        and PPM are read, the first frame each, turned as their EXIF data say. What is
        left out is told in the dataset's `remarks`.
    channels: 1 or 3, what images are converted to; by default grey and RGB stay as they
        are, and have to be the same in all files
    image_size: (H, W); images are cut to that shape about their centre and resized
    Images are [M, H, W, C] uint8, C = 1 for grey and 3 for RGB.

    Raises UserError for a missing, empty or unreadable folder, files that cannot be
    decoded, or images that differ in size or mode where nothing was asked for.

    Example:
        >>> from_folder("no/such/folder")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        jaxdd.errors.UserError: ...
    """
    form = Form(channels, image_size).checked()
    root = existing_folder(path, "the image folder", "check the path")
    name = f"folder:{shown(root.resolve().name)}"
    listing = _Listing(root)
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
    images, moving = _read(files, form, root)
    remarks = listing.remarks(len(files))
    if moving:
        remarks.append(
            f"the reader took the first of several frames of {_many(moving, 'image')}"
        )
    # Sentences have to show any name; a sample's class is its label alone.
    readable = [shown(n) for n in names]
    array = np.array(labels, np.int32)
    if test is None:
        remarks.append(held_out_remark(name, count))
        return with_test_split(name, images, array, readable, remarks)
    return from_arrays(
        images[:count], array[:count], images[count:], array[count:], readable, name,
        remarks,
    )  # fmt: skip


# --- What lies there ------------------------------------------------------------------


@dataclass
class _Listing:
    """What a dataset's folder holds, and what is left out of it."""

    root: Path
    system: list[str] = field(default_factory=list)  # names of folders
    other: Counter = field(default_factory=Counter)  # files by ending
    folders: dict[str, str] = field(default_factory=dict)  # name -> why it is left out
    deeper: int = 0  # images inside a folder of their class's folder
    notes: list[str] = field(default_factory=list)

    def subfolders(self, folder: Path) -> dict[str, Path]:
        """Name -> path, in the order of the names."""
        found = {}
        for entry in _entries(folder):
            if _is_folder(entry) and not self._is_system(entry.name):
                found[entry.name] = Path(entry.path)
        return found

    def images(self, folder: Path) -> list[Path]:
        """All image files of a class, those of the folder itself first."""
        return list(self._images(folder, 0, set()))

    def _images(self, folder: Path, depth: int, above: set) -> Iterator[Path]:
        entries = _entries(folder)
        for entry in entries:
            if _is_folder(entry):
                continue
            ending = os.path.splitext(entry.name)[1].lower()
            if ending in SUFFIXES:
                self.deeper += depth > 0
                yield Path(entry.path)
            else:
                self.other[ending or "without ending"] += 1
        for entry in entries:
            if not _is_folder(entry) or self._is_system(entry.name):
                continue
            status = entry.stat()
            place = status.st_dev, status.st_ino
            # A link may lead back up.
            if depth == _DEEPEST or place in above:
                raise UserError(
                    f"the folder {shown(entry.path)} lies more than {_DEEPEST} levels "
                    "deep in its class or leads back into it: remove it"
                )
            yield from self._images(Path(entry.path), depth + 1, {*above, place})

    def loose(self, folder: Path) -> None:
        """Note the images that lie beside the folders of the classes."""
        count = sum(
            os.path.splitext(e.name)[1].lower() in SUFFIXES and not _is_folder(e)
            for e in _entries(folder)
        )
        if count:
            self.notes.append(
                f"the reader left out {_many(count, 'image')} of {shown(folder)} "
                "beside the folders of the classes"
            )

    def leave_out(self, folder: Path, why: str) -> None:
        count = sum(
            os.path.splitext(name)[1].lower() in SUFFIXES
            for _, _, names in os.walk(folder)
            for name in names
        )
        self.folders[folder.name] = f"{_many(count, 'image')}, {why}"

    def remarks(self, total: int) -> list[str]:
        """What the user has to know, in sentences; `total` images were read."""
        where = shown(self.root)
        found = list(self.notes)
        for name, why in list(self.folders.items())[: 2 * _LISTED]:
            found.append(f"the folder {shown(name)} of {where} was left out: {why}")
        if len(self.folders) > 2 * _LISTED:
            rest = len(self.folders) - 2 * _LISTED
            found.append(f"{rest} more folders of {where} were left out")
        if self.other:
            endings = _most(self.other)
            found.append(
                f"the reader left out {_many(self.other.total(), 'file')} of {where} "
                f"because of the ending: {endings}"
            )
        if self.deeper:
            found.append(
                f"the reader took {_many(self.deeper, 'image')} of {total} from deeper "
                "inside the folder of a class"
            )
        if self.system:
            names = ", ".join(sorted(set(self.system))[:_LISTED])
            found.append(f"the reader left out what systems leave behind: {names}")
        return found

    def _is_system(self, name: str) -> bool:
        if name.lower() in _SYSTEM_FOLDERS:
            self.system.append(name)
            return True
        return False


def _entries(folder: Path) -> list[os.DirEntry]:
    """What is in a folder and not hidden, in the order of the names."""
    try:
        with os.scandir(folder) as entries:
            found = [e for e in entries if not e.name.startswith(".")]
    except OSError as error:
        raise UserError(
            f"the folder {shown(folder)} cannot be read ({reason(error)}): change its "
            "permissions or remove it"
        ) from None
    return sorted(found, key=lambda e: e.name)


def _is_folder(entry: os.DirEntry) -> bool:
    """Whether an entry is a folder; links that lead in a circle are none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _layout(listing: _Listing) -> tuple[dict[str, Path], dict[str, Path] | None]:
    """{class: folder} for training, and for testing where there is such a split."""
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
            test, found = folder, inside
    for folder in top.values():
        if folder not in (train, test) and folder.name not in listing.folders:
            listing.leave_out(folder, f"it is beside {shown(train.name)}")
    if test is None:
        return classes, None
    strange = sorted(set(found) - set(classes))
    if strange:
        raise UserError(
            f"class {quoted(strange[0])} is in {shown(test)} but not in "
            f"{shown(train)}; make them agree"
        )
    return classes, found


def _classes_on_top(
    listing: _Listing, top: dict[str, Path]
) -> tuple[dict[str, Path], dict[str, Path] | None]:
    """The same where the classes' folders are in the root, perhaps beside a split."""
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
                "classes and has not their folders"
            )
            continue
        del classes[folder.name]
        if test is None:
            test, chosen = inside, folder
        else:
            listing.leave_out(folder, f"{shown(chosen.name)} is the test split")
    return classes, test


def _named(folders: dict[str, Path], names: Sequence[str]) -> list[Path]:
    """Those of the folders that bear one of the names, in the order of these."""
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
    listing: _Listing, classes: dict[str, Path], names: list[str]
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


# --- Reading --------------------------------------------------------------------------


def _read(files: Sequence[Path], form: Form, root: Path) -> tuple[np.ndarray, int]:
    """[M, H, W, C] uint8 of all files, and how many have more than one frame."""
    images, moving = None, 0
    for i, file in enumerate(files):
        try:
            image, kind = read_file(file, form)
        except ValueError as error:
            raise _refusal(files, form, root, file, str(error)) from error
        if images is None:
            images = _empty(len(files), image.shape, root)
        if image.shape != images.shape[1:]:
            raise _refusal(files, form, root)
        images[i] = image
        moving += kind.moving
    assert images is not None  # every class has a file
    return images, moving


def _empty(count: int, shape: tuple[int, ...], root: Path) -> np.ndarray:
    try:
        return np.empty((count, *shape), np.uint8)
    except MemoryError:
        height, width, _ = shape
        raise UserError(
            f"the {count} images of {height}x{width} pixels in {shown(root)} do not "
            "fit into memory: give a smaller --image_size"
        ) from None


def _refusal(
    files: Sequence[Path],
    form: Form,
    root: Path,
    failed: Path | None = None,
    why: str = "",
) -> UserError:
    """All that is wrong with the files at once, and which flags would help."""
    sizes: dict[str, list[Path]] = {}
    modes: dict[str, list[Path]] = {}
    deep: list[Path] = []
    broken: list[tuple[Path, str]] = []
    for file in files:
        try:
            kind = look_at(file)
        except ValueError as error:
            broken.append((file, str(error)))
            continue
        if not kind.convertible:
            deep.append(file)
        elif file == failed and (kind.channels or form.channels):
            broken.append((file, why))
        sizes.setdefault(f"{kind.height}x{kind.width}", []).append(file)
        modes.setdefault(_mode(kind), []).append(file)
    if broken:
        first, why = broken[0]
        more = f", and {len(broken) - 1} more cannot either" if broken[1:] else ""
        return UserError(
            f"the image {shown(first)} cannot be decoded ({why}){more}; replace or "
            f"remove {'them' if more else 'it'} ({', '.join(FORMATS)} are read)"
        )
    if deep:
        return UserError(
            f"{len(deep)} of {len(files)} images in {shown(root)} cannot be converted, "
            f"such as {shown(deep[0])} of mode {look_at(deep[0]).mode!r}; save them as "
            "grey or RGB with 8 bits a channel, in the range that matters"
        )
    wrong, flags = [], []
    if form.size is None and len(sizes) > 1:
        wrong.append(f"of several sizes ({_kinds(sizes)})")
        usual = _usual(sizes)
        flags.append(
            f"--image_size={usual}" if usual else "--image_size=N (such as 32)"
        )
    if form.channels is None and (len(modes) > 1 or not {*modes} <= {"grey", "RGB"}):
        wrong.append(f"of several modes ({_kinds(modes)})")
        flags.append(f"--channels={1 if _usual(modes) == 'grey' else 3}")
    if not wrong:  # what files say of themselves and what they hold are two things
        wrong.append("of several sizes or modes once they are decoded")
        flags.append("--image_size=N (such as 32) and --channels=3")
    return UserError(
        f"the {len(files)} images in {shown(root)} are {' and '.join(wrong)}: give "
        f"{' and '.join(flags)} to convert them, or make them the same"
    )


def _mode(kind: Kind) -> str:
    return {1: "grey", 3: "RGB", None: kind.mode}[kind.channels]


def _kinds(groups: dict[str, list[Path]]) -> str:
    """How many files are of each kind, with an example of all but the commonest."""
    ordered = sorted(groups.items(), key=lambda item: -len(item[1]))
    parts = [
        f"{len(files)} {name}" + (f" such as {shown(files[0])}" if i else "")
        for i, (name, files) in enumerate(ordered[:_LISTED])
    ]
    return ", ".join(parts) + (", ..." if len(ordered) > _LISTED else "")


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _usual(groups: dict[str, list[Path]]) -> str | None:
    """The kind of most of the files, if there is one."""
    total = sum(map(len, groups.values()))
    return next((name for name, f in groups.items() if 2 * len(f) > total), None)


def _most(counts: Counter) -> str:
    parts = [f"{n} {shown(what)}" for what, n in counts.most_common(_LISTED)]
    return ", ".join(parts) + (", ..." if len(counts) > _LISTED else "")
