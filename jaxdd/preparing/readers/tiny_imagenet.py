"""Tiny ImageNet: pictures in a zip archive, kept as the JPEG files that they are.

TFDS has no builder of it. The splits are the archive's `train` and `val`; its test
pictures have no public labels. Classes come in the order of their WordNet numbers.
"""

import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from jaxdd.data.readers.tiny_imagenet import (
    LARGEST_TEXT,
    annotations,
    class_numbers,
    readable,
)
from jaxdd.errors import UserError
from jaxdd.preparing.content import Content, Example, Part
from jaxdd.storage.paths import reason, shown

_ROOT = "tiny-imagenet-200"
_TRAIN = re.compile(rf"{_ROOT}/train/(n\d+)/images/(n\d+_\d+\.JPEG)")


def read(paths: Sequence[Path]) -> Content:
    """The splits `train` and `validation`.

    Args:
        paths: the one archive.

    Raises:
        UserError: the archive is damaged, or lacks pictures or names.
    """
    (path,) = paths
    try:
        archive = zipfile.ZipFile(path)
        classes = class_numbers(_text(archive, "wnids.txt"))
        numbers = {name: i for i, name in enumerate(classes)}
        train = [
            (match[0], match[2], numbers[match[1]])
            for name in archive.namelist()
            if (match := _TRAIN.fullmatch(name)) and match[1] in numbers
        ]
        validation = []
        listed = _text(archive, "val/val_annotations.txt")
        for file, label in annotations(listed, numbers):
            place = f"{_ROOT}/val/images/{file}"
            archive.getinfo(place)
            validation.append((place, file, numbers[label]))
        if not train or not validation:
            raise ValueError("it has no pictures")
        names = readable(classes, _text(archive, "words.txt"))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(
            f"{shown(path)} cannot be read ({reason(error)}): fetch it again"
        ) from error
    parts = {
        "train": Part(len(train), _examples(path, archive, train)),
        "validation": Part(len(validation), _examples(path, archive, validation)),
    }
    return Content(parts, {"label": names})


def _examples(
    path: Path, archive: zipfile.ZipFile, pictures: list[tuple[str, str, int]]
) -> Iterator[Example]:
    for place, file, label in pictures:
        try:
            image = _bytes(archive, place)
        except (OSError, ValueError, zipfile.BadZipFile, zlib.error) as error:
            raise UserError(
                f"{shown(place)} in {shown(path)} cannot be read ({reason(error)}): "
                "fetch the archive again"
            ) from error
        yield file, {"id": file, "image": image, "label": label}


def _bytes(archive: zipfile.ZipFile, place: str) -> bytes:
    if archive.getinfo(place).file_size > LARGEST_TEXT:
        raise ValueError(f"{place} declares {archive.getinfo(place).file_size} bytes")
    return archive.read(place)


def _text(archive: zipfile.ZipFile, name: str) -> str:
    return _bytes(archive, f"{_ROOT}/{name}").decode("utf-8", "replace")
