"""Images of an .npz archive in a store on disk, without all of them in memory."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxdd.data.checks import check_values
from jaxdd.data.readers.cache import digest_of
from jaxdd.data.streaming.building import Part
from jaxdd.data.streaming.choice import streams
from jaxdd.data.streaming.places import store_folder
from jaxdd.data.streaming.rows import HostArray, Rows
from jaxdd.data.streaming.sources import StandIn
from jaxdd.data.streaming.store import stored
from jaxdd.progress import say
from jaxdd.storage.array_blocks import Damaged, array_blocks
from jaxdd.storage.arrays import Declared, Member
from jaxdd.storage.paths import shown


@dataclass(frozen=True)
class Images:
    """An array of images in an archive.

    Attributes:
        array, member: its name and its schema.
        declared: what the archive says of it.
        convert: (images of the array [m, ...]) -> those of the dataset [m, ...].
    """

    array: str
    member: Member
    declared: Declared
    convert: Callable[[np.ndarray], HostArray]

    def __len__(self) -> int:
        return self.declared.shape[0]

    @cached_property
    def example(self) -> np.ndarray:
        """One image of zeros [1, ...], as the dataset has them.

        Raises:
            UserError: images of this shape and type cannot be converted.
        """
        _, *axes = self.declared.shape
        return self.convert(np.zeros((1, *axes), self.declared.dtype))[:]

    def imagined(self) -> Rows:
        """Images that are not read, of the right shape, type and number."""
        return Rows(StandIn(Path(self.array), len(self), self.example))


def are_streamed(stream: str, splits: Sequence[Images], largest: int) -> bool:
    """Whether images stay on disk; says why they do not where they should.

    Args:
        stream: one of `streaming.choice.STREAM`.
        splits: the images of all splits.
        largest: bytes of an array in memory.

    Raises:
        UserError: images of such a shape or type cannot be converted.
    """
    if stream == "never":
        return False
    example = splits[0].example
    total, shape = sum(map(len, splits)), example.shape[1:]
    sizes = (len(x) * x.example.nbytes for x in splits)
    too_large = stream == "auto" and max(sizes) > largest
    if not (too_large or streams(stream, total, shape, example.itemsize)):
        return False
    jumbled = [x.array for x in splits if not x.declared.in_order]
    if jumbled:
        say(
            f"the rows of {' and '.join(jumbled)} do not follow one another in the "
            "archive (Fortran order, or packed otherwise than NumPy packs): all of it "
            "is read into memory"
        )
    return not jumbled


class Source(NamedTuple):
    """The archive that images are decoded from.

    Attributes:
        place: of the file.
        stamp: `digest_of` the file before any of it was read.
        name: of the dataset, as text that can be shown.
        form: identifies what images are converted to, and the content of the arrays.
        what, remedy: as of `arrays.read_arrays`.
    """

    place: Path
    stamp: str
    name: str
    form: str
    what: str
    remedy: str

    def check(self) -> None:
        """Check that the file is still the same.

        Raises:
            Damaged: it is not.
        """
        if digest_of([self.place]) != self.stamp:
            raise Damaged(
                f"{self.what} {shown(self.place)} changed while it was read: start the "
                "program again"
            )


def stored_images(
    source: Source, splits: Sequence[Images], labels: Sequence[np.ndarray]
) -> list[Rows]:
    """The images of all splits in a store, which is built if it is not there.

    Args:
        source: the archive.
        splits, labels: images, and [M] int32 labels of each split.

    Raises:
        Damaged: the archive does not hold what it declares, or changed meanwhile;
            nothing of it is kept.
        UserError: a value cannot be used, or as `stored`.
    """

    def part(images: Images, labels: np.ndarray) -> Part:
        def samples(first: int) -> Iterator[tuple[np.ndarray, int]]:
            blocks = array_blocks(
                source.place, images.array, images.member,
                source.remedy, source.what, first,
            )  # fmt: skip
            for block in blocks:
                converted = images.convert(block)[:]
                check_values(f"array {images.array!r}", converted)
                last = first + len(block)
                if last == len(images):
                    source.check()
                yield from zip(converted, labels[first:last], strict=True)
                first = last

        return Part(images.array, len(images), samples)

    parts = [part(*pair) for pair in zip(splits, labels, strict=True)]
    example = splits[0].example
    folder = store_folder(source.name, digest_of([source.place], source.form))
    there = stored(folder, source.name, parts, example.shape[1:], example.dtype)
    return [there[x.array].rows for x in splits]
