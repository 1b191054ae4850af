"""The metadata of a prepared TFDS dataset, read without TFDS.

TFDS imports any class that a dataset's `features.json` names, which runs code from
wherever Python looks for modules. Here the names are only compared: one image and one
label of the features are used, and only these two, rebuilt from their checked numbers,
reach TFDS.
"""

import os
from pathlib import Path
from typing import Any, NamedTuple

from jaxdd.errors import LARGEST_INTEGER, UserError, quoted
from jaxdd.storage.paths import existing_file, is_there, reason, shown
from jaxdd.storage.records import list_of, mapping, one_of, read_json, text

INFO_FILE = "dataset_info.json"  # written last: a directory with it is complete
_FEATURES_FILE = "features.json"
_REMEDY = "prepare the dataset again"
_CLASSES = "tensorflow_datasets.core.features."
_DICT = f"{_CLASSES}features_dict.FeaturesDict"
_IMAGE = f"{_CLASSES}image_feature.Image"
_LABEL = f"{_CLASSES}class_label_feature.ClassLabel"
_TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
_LARGEST_NAMES = 2**24  # bytes of a file of class names
_MOST_SHARDS = 10_000  # of a split; ImageNet has 1024


class Info(NamedTuple):
    """The content of `dataset_info.json`."""

    name: str
    file_format: str
    splits: dict[str, "SplitInfo"]


class SplitInfo(NamedTuple):
    """The records of one split."""

    name: str
    lengths: tuple[int, ...]  # records per shard
    template: str  # of the shards' file names


class Shard(NamedTuple):
    path: Path
    length: int  # records, according to the metadata


class Fields(NamedTuple):
    """The two features of interest."""

    image_key: str
    label_key: str
    shape: tuple[int | None, int | None, int]  # (H, W, C), None if unknown
    class_names: tuple[str, ...]


def _count(low: int = 0):
    """A count of at least `low`; protocol buffers write counts as text in JSON."""

    def check(value: Any, where: str) -> None:
        if _number(value) is None or not low <= _number(value) <= LARGEST_INTEGER:
            raise ValueError(f"{where!r} is {quoted(value)}, not a count from {low} on")

    return check


def _number(value: Any) -> Any:
    if isinstance(value, str) and len(value) <= 12:
        try:
            return int(value)
        except ValueError:
            return None
    return value if type(value) is int else None


_INFO_SCHEMA = mapping(
    name=text(255),
    optional={
        "fileFormat": text(64),
        "splits": list_of(
            mapping(
                name=text(255),
                shardLengths=list_of(_count(), longest=_MOST_SHARDS),
                optional={"filepathTemplate": text(255)},
            ),
            longest=1000,
        ),
    },
)
_FEATURES_SCHEMA = mapping(
    pythonClassName=one_of(_DICT),
    featuresDict=mapping(
        features=mapping(others=mapping(pythonClassName=text(1000))),
    ),
)
_IMAGE_SCHEMA = mapping(
    image=mapping(
        shape=mapping(dimensions=list_of(_count(-1), 3, 3)),
        optional={"dtype": text(64), "encodingFormat": text(64)},
    )
)
_LABEL_SCHEMA = mapping(classLabel=mapping(optional={"numClasses": _count()}))


def read_info(directory: Path) -> Info:
    """Read and check `dataset_info.json`.

    Raises:
        UserError: the file is missing or does not fit its schema.
    """
    content = read_json(directory / INFO_FILE, _INFO_SCHEMA, _REMEDY)
    splits = {
        s["name"]: SplitInfo(
            s["name"],
            tuple(map(_number, s["shardLengths"])),
            s.get("filepathTemplate") or _TEMPLATE,
        )
        for s in content.get("splits", [])
    }
    return Info(content["name"], content.get("fileFormat", "tfrecord"), splits)


def read_fields(directory: Path, samples: int) -> Fields:
    """The image and the label among the features of `features.json`.

    Args:
        directory: the directory of the dataset.
        samples: number of training samples, a bound of the number of classes.

    Raises:
        UserError: the file is missing or broken, or does not have exactly one uint8
            image and one label with a known number of classes.
    """
    path = directory / _FEATURES_FILE
    content = read_json(path, _FEATURES_SCHEMA, _REMEDY)
    features = content["featuresDict"]["features"]
    image_key = _single(features, _IMAGE, "image", directory)
    label_key = _single(features, _LABEL, "label", directory)
    image, label = features[image_key], features[label_key]
    try:
        _IMAGE_SCHEMA(image, image_key)
        _LABEL_SCHEMA(label, label_key)
    except ValueError as error:
        raise UserError(
            f"cannot use {shown(path)} ({reason(error)}): {_REMEDY}"
        ) from None
    dimensions = [_number(d) for d in image["image"]["shape"]["dimensions"]]
    height, width, channels = (None if d < 0 else d for d in dimensions)
    dtype = image["image"].get("dtype", "uint8")
    if dtype != "uint8" or channels not in (1, 3, 4):
        raise UserError(
            f"the images in {shown(directory)} are {shown(dtype)} of shape "
            f"{(height, width, channels)}, but only uint8 with 1, 3 or 4 channels can "
            "be read"
        )
    num_classes = _number(label["classLabel"].get("numClasses", 0))
    if not num_classes:
        raise UserError(
            f"the label feature in {shown(directory)} does not declare the number of "
            "classes; "
            f"{_REMEDY}"
        )
    if num_classes > samples:
        raise UserError(
            f"the label feature in {shown(directory)} declares {num_classes} classes, "
            f"more than the {samples} training samples; {_REMEDY}"
        )
    names = _class_names(directory, label_key, num_classes)
    return Fields(image_key, label_key, (height, width, channels), names)


def shards(info: Info, split: str, directory: Path, files: int) -> list[Shard]:
    """The shards of a split; all of them exist.

    Args:
        info: the metadata.
        split: name of the split.
        directory: the directory of the dataset.
        files: number of files in it.

    Raises:
        UserError: the split is missing or empty, or a shard is missing.
    """
    if split not in info.splits:
        raise UserError(
            f"the dataset in {shown(directory)} has no {split!r} split, only "
            f"{', '.join(shown(name) for name in info.splits)}; a 'train' and a 'test' "
            "or 'validation' split are needed"
        )
    _, lengths, template = info.splits[split]
    if not sum(lengths):
        raise UserError(
            f"the split {split!r} in {shown(directory)} is empty; {_REMEDY}"
        )
    if len(lengths) > files:
        raise UserError(
            f"the metadata in {shown(directory)} declare {len(lengths)} shards, but "
            f"there are {files} files; copy them there or prepare the dataset again"
        )
    existing = []
    for i, length in enumerate(lengths):
        name = _shard_name(info, split, template, i, len(lengths))
        path = directory / name
        if Path(name).name != name or not os.path.isfile(path):
            raise UserError(
                f"the shard {shown(path)} is missing; copy it there or prepare the "
                "dataset again"
            )
        if length > path.stat().st_size:  # a record takes a byte at least
            raise UserError(
                f"the shard {shown(path)} is incomplete: the metadata declare {length} "
                "records; copy or prepare the dataset again"
            )
        existing.append(Shard(path, length))
    return existing


def _shard_name(info: Info, split: str, template: str, index: int, count: int) -> str:
    digits = max(5, len(str(count)))
    parts = {
        "DATASET": info.name,
        "SPLIT": split,
        "FILEFORMAT": info.file_format,
        "SHARD_INDEX": f"{index:0{digits}d}",
        "NUM_SHARDS": f"{count:0{digits}d}",
        "SHARD_X_OF_Y": f"{index:0{digits}d}-of-{count:0{digits}d}",
    }
    # Not `format`, with which a template could read attributes of objects.
    for name, value in parts.items():
        template = template.replace(f"{{{name}}}", value)
    return template


def _single(features: dict[str, Any], kind: str, usual: str, directory: Path) -> str:
    keys = [k for k, f in features.items() if f["pythonClassName"] == kind]
    if usual in keys:
        return usual
    if len(keys) == 1:
        return keys[0]
    raise UserError(
        f"the dataset in {shown(directory)} has {len(keys)} features of type "
        f"{kind.rpartition('.')[2]}, but exactly one is needed; its features are "
        f"{shown(', '.join(sorted(features)))}"
    )


def _class_names(directory: Path, key: str, num_classes: int) -> tuple[str, ...]:
    """The names in the file beside the features, or numbers without such a file."""
    name = f"{key.replace('/', '.')}.labels.txt"
    path = directory / name
    if not is_there(path):
        return tuple(str(k) for k in range(num_classes))
    place = existing_file(path, "the file of class names", _REMEDY)
    lines: list[str] = []
    if place.stat().st_size <= _LARGEST_NAMES:
        content = place.read_bytes().decode("utf-8", "backslashreplace")
        lines = [line.strip() for line in content.split("\n") if line.strip()]
    if len(lines) != num_classes:
        raise UserError(
            f"{shown(place)} does not have the names of the {num_classes} classes "
            f"that the label declares; {_REMEDY}"
        )
    return tuple(lines)
