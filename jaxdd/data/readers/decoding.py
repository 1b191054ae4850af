"""The images of a dataset's files as one array, or one sentence about all that fail."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from jaxdd.data.readers.ahead import in_order
from jaxdd.data.readers.cache import digest_of
from jaxdd.data.readers.listing import LISTED
from jaxdd.data.readers.pictures import (
    FORMATS,
    Form,
    Kind,
    look_at,
    quietly,
    read_file,
    read_quietly,
)
from jaxdd.data.streaming.building import Part
from jaxdd.data.streaming.choice import streams
from jaxdd.data.streaming.places import store_folder
from jaxdd.data.streaming.rows import HostArray
from jaxdd.data.streaming.store import stored
from jaxdd.errors import UserError
from jaxdd.storage.paths import shown


def read(files: Sequence[Path], form: Form, root: Path) -> tuple[np.ndarray, int]:
    """All files as [M, H, W, C] uint8, and how many have more than one frame."""
    images, moving = None, 0
    for i, (image, kind) in enumerate(decoded(files, form, root)):
        if images is None:
            images = _empty(len(files), image.shape, root)
        images[i] = image
        moving += kind.moving
    assert images is not None  # every class has a file
    return images, moving


def images_of(
    files: list[Path],
    labels: list[int],
    form: Form,
    root: Path,
    name: str,
    stream: str,
) -> tuple[HostArray, int]:
    """All images, on disk where they are streamed, and how many have several frames.

    Of images on disk the frames are not counted.

    Args:
        files, labels: of all splits, one after another.
        form: the form to which images are converted.
        root: the folder of the dataset.
        name: of the dataset.
        stream: one of `streaming.choice.STREAM`.

    Raises:
        UserError: an image cannot be decoded, images differ, or the disk refuses.
    """
    if stream != "never":
        shape = _first_shape(files, form, root)
        if streams(stream, len(files), shape):
            folder = store_folder(name, digest_of(files, repr(tuple(form))))

            def samples(first: int) -> Iterator[tuple[np.ndarray, int]]:
                rest = decoded(files, form, root, first)
                return ((x, k) for (x, _), k in zip(rest, labels[first:], strict=True))

            part = Part("images", len(files), samples)
            return stored(folder, name, [part], shape)["images"].rows, 0
    return read(files, form, root)


def _first_shape(files: Sequence[Path], form: Form, root: Path) -> tuple[int, ...]:
    """The shape of the first image, which all others have to have."""
    try:
        return read_file(files[0], form)[0].shape
    except ValueError as error:
        raise refusal(files, form, root, files[0], str(error)) from error


def decoded(
    files: Sequence[Path], form: Form, root: Path, first: int = 0
) -> Iterator[tuple[np.ndarray, Kind]]:
    """The images of all files from one on, of equal shape, and their properties.

    Raises:
        UserError: a file cannot be decoded, or has another size than the first of all.
    """

    def opened(file: Path) -> tuple[Path, np.ndarray, Kind]:
        try:
            return file, *read_quietly(file, form)
        except ValueError as error:
            raise _Undecodable(file, str(error)) from error

    with quietly():
        shape = None if first == 0 else opened(files[0])[1].shape
        try:
            for _, image, kind in in_order(opened, files[first:], block=8):
                shape = shape or image.shape
                if image.shape != shape:
                    raise refusal(files, form, root)
                yield image, kind
        except _Undecodable as error:
            raise refusal(files, form, root, error.file, error.why) from error


class _Undecodable(Exception):
    """A file that is no image that could be used."""

    def __init__(self, file: Path, why: str):
        super().__init__(why)
        self.file, self.why = file, why


def _empty(count: int, shape: tuple[int, ...], root: Path) -> np.ndarray:
    try:
        return np.empty((count, *shape), np.uint8)
    except MemoryError:
        height, width, _ = shape
        raise UserError(
            f"the {count} images of {height}x{width} pixels in {shown(root)} do not "
            "fit into memory: give a smaller --image_size"
        ) from None


def refusal(
    files: Sequence[Path],
    form: Form,
    root: Path,
    failed: Path | None = None,
    why: str = "",
) -> UserError:
    """One message about all unusable files, and the flags that would help."""
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
        which = "several modes" if len(modes) > 1 else "a mode that is converted"
        wrong.append(f"of {which} ({_kinds(modes)})")
        flags.append(f"--channels={1 if _usual(modes) == 'grey' else 3}")
    if not wrong:  # the headers of files and their content may differ
        wrong.append("of several sizes or modes once they are decoded")
        flags.append("--image_size=N (such as 32) and --channels=3")
    return UserError(
        f"the {len(files)} images in {shown(root)} are {' and '.join(wrong)}: give "
        f"{' and '.join(flags)} to convert them, or make them the same"
    )


def _mode(kind: Kind) -> str:
    return {1: "grey", 3: "RGB", None: kind.mode}[kind.channels]


def _kinds(groups: dict[str, list[Path]]) -> str:
    """The number of files of each kind, with an example of all but the commonest."""
    ordered = sorted(groups.items(), key=lambda item: -len(item[1]))
    parts = [
        f"{len(files)} {name}" + (f" such as {shown(files[0])}" if i else "")
        for i, (name, files) in enumerate(ordered[:LISTED])
    ]
    return ", ".join(parts) + (", ..." if len(ordered) > LISTED else "")


def _usual(groups: dict[str, list[Path]]) -> str | None:
    """The kind of more than half of the files, None if no kind is."""
    total = sum(map(len, groups.values()))
    return next((name for name, f in groups.items() if 2 * len(f) > total), None)
