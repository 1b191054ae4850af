"""TFDS datasets in array_record form, read without TensorFlow.

`tfds.data_source` decodes one record at a time and trusts the files; here records are
read in blocks, checked against the metadata, and every failure names its shard.
"""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from jaxdd.data.cache import cache_file, read_cache, write_cache
from jaxdd.data.dataset import Dataset, from_arrays
from jaxdd.data.tfds_paths import default_data_dir, find_prepared
from jaxdd.errors import UserError

_BLOCK = 1000  # records in memory at once
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


class _Shard(NamedTuple):
    path: Path
    length: int  # records, according to the metadata


class _Fields(NamedTuple):
    """The two features of interest."""

    image_key: str
    label_key: str
    parser: Any  # tfds FeaturesDict of just these
    shape: tuple[int | None, int | None, int]
    class_names: tuple[str, ...]


def from_tfds(name: str, data_dir: str | Path | None = None) -> Dataset:
    """A prepared TFDS dataset; the test split is `test`, else `validation`.

    name: "base", "base/config", each with or without ":1.2.3" (newest by default)
    data_dir: as in TFDS (default: TFDS_DATA_DIR or ~/tensorflow_datasets), or the
        dataset's own directory
    Images are uint8. The decoded arrays are cached, see `jaxdd.data.cache`.

    Raises UserError if the dataset is not found, not prepared or not readable (see
    `find_prepared`), has no single image and label, misses a split, or if a shard is
    missing, incomplete or corrupted.

    Example:
        >>> from_tfds("mnist", "no/such/folder")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        jaxdd.errors.UserError: ...
    """
    root = default_data_dir() if data_dir is None else Path(data_dir).expanduser()
    directory = find_prepared(name, root.absolute())
    info = _read_info(directory)
    fields = _find_fields(info.features, directory)
    train = _shards(info, "train", directory)
    test_name = "test" if "test" in info.splits else "validation"
    test = _shards(info, test_name, directory)
    metadata = [p for p in sorted(directory.iterdir()) if p.suffix in (".json", ".txt")]
    cache = cache_file(info.name, [*metadata, *(s.path for s in train + test)])
    dataset = read_cache(cache, info.name)
    if dataset is not None:
        return dataset
    images, labels = _read_split(train, fields)
    # A free image size is settled by the training split.
    fields = fields._replace(shape=images.shape[1:])
    test_images, test_labels = _read_split(test, fields)
    dataset = from_arrays(
        images, labels, test_images, test_labels, fields.class_names, info.name
    )
    write_cache(cache, dataset)
    return dataset


def _read_info(directory: Path) -> Any:
    """The tfds DatasetInfo."""
    import tensorflow_datasets as tfds  # slow to import

    try:
        info = tfds.builder_from_directory(str(directory)).info
        _ = info.features, list(info.splits)  # both are parsed late
        return info
    except Exception as error:  # whatever the metadata's parsers raise
        raise UserError(
            f"the metadata in {directory} cannot be read ({_reason(error)}); prepare "
            "the dataset again"
        ) from error


def _find_fields(features: Any, directory: Path) -> _Fields:
    import tensorflow_datasets as tfds

    def single(kind: type, preferred: str) -> str:
        found = [k for k, f in features.items() if isinstance(f, kind)]
        if preferred in found:
            return preferred
        if len(found) == 1:
            return found[0]
        raise UserError(
            f"the dataset in {directory} has {len(found)} features of type "
            f"{kind.__name__}, but exactly one is needed; its features are "
            f"{', '.join(sorted(features))}"
        )

    image_key = single(tfds.features.Image, "image")
    label_key = single(tfds.features.ClassLabel, "label")
    image, label = features[image_key], features[label_key]
    if np.dtype(image.np_dtype) != np.uint8 or image.shape[-1] not in _MODES:
        raise UserError(
            f"the images in {directory} are {np.dtype(image.np_dtype)} of shape "
            f"{image.shape}, but only uint8 with 1, 3 or 4 channels can be read"
        )
    if not label.num_classes:
        raise UserError(
            f"the label feature in {directory} does not say how many classes"
        )
    parser = tfds.features.FeaturesDict({image_key: image, label_key: label})
    names = tuple(label.int2str(k) for k in range(label.num_classes))
    return _Fields(image_key, label_key, parser, image.shape, names)


def _shards(info: Any, split: str, directory: Path) -> list[_Shard]:
    if split not in info.splits:
        raise UserError(
            f"the dataset in {directory} has no {split!r} split, only "
            f"{', '.join(info.splits)}; a 'train' and a 'test' or 'validation' split "
            "are needed"
        )
    paths = [Path(p) for p in info.splits[split].filepaths]
    lengths = info.splits[split].shard_lengths
    if not sum(lengths):
        raise UserError(
            f"the split {split!r} in {directory} is empty; prepare the dataset again"
        )
    for path in paths:
        if not path.is_file():
            raise UserError(
                f"the shard {path} is missing; copy it there or prepare the dataset "
                "again"
            )
    return [_Shard(p, n) for p, n in zip(paths, lengths, strict=True)]


def _read_split(shards: list[_Shard], fields: _Fields) -> tuple[np.ndarray, np.ndarray]:
    """Images [M, H, W, C] uint8 and labels [M] int32 of all shards, M > 0."""
    total = sum(s.length for s in shards)
    labels = np.empty(total, np.int32)
    samples = enumerate(_samples(shards, fields))
    _, (image, labels[0]) = next(samples)
    images = np.empty((total, *image.shape), np.uint8)
    images[0] = image
    for i, (image, label) in samples:
        images[i], labels[i] = image, label
    return images, labels


def _samples(shards: list[_Shard], fields: _Fields) -> Iterator[tuple[np.ndarray, int]]:
    """Checked images [H, W, C] uint8 and labels, one by one, all of the same shape."""
    import tensorflow_datasets as tfds

    raw = {fields.image_key: tfds.decode.SkipDecoding()}
    shape: tuple[int | None, ...] = fields.shape
    num_classes, mode = len(fields.class_names), _MODES[fields.shape[-1]]
    for shard in shards:
        for i, record in _records(shard):
            try:
                example = fields.parser.deserialize_example_np(record, decoders=raw)
                image = _decode(example[fields.image_key], mode)
                label = int(example[fields.label_key])
            except Exception as error:  # Pillow and protobuf raise all sorts
                raise UserError(
                    f"record {i} of the shard {shard.path} cannot be decoded "
                    f"({_reason(error)}); copy or prepare the dataset again"
                ) from error
            # Asked here, once per record, since a call each would cost seconds.
            if image.shape != shape:
                shape = _settle_shape(shard, i, image.shape, shape)
            if not 0 <= label < num_classes:
                raise UserError(
                    f"the label in record {i} of the shard {shard.path} is {label}, "
                    f"outside [0, {num_classes}); the dataset is wrong, or its labels "
                    "are not public"
                )
            yield image, label


def _records(shard: _Shard) -> Iterator[tuple[int, bytes]]:
    """All records of a shard with their indices."""
    for start in range(0, shard.length, _BLOCK):
        stop = min(start + _BLOCK, shard.length)
        yield from enumerate(_read_records(shard, start, stop), start)


def _read_records(shard: _Shard, start: int, stop: int) -> list[bytes]:
    """Serialised records start ... stop - 1 of a shard."""
    from array_record.python import array_record_module

    try:
        # No read-ahead: it would read in the background what nobody asks for.
        reader = array_record_module.ArrayRecordReader(
            str(shard.path), options="readahead_buffer_size:0"
        )
        # A reader that failed to open says 0 records and does not raise by itself, so
        # this comparison must come before any record is asked for.
        found = reader.num_records()
        records = reader.read(list(range(start, stop))) if found == shard.length else []
        reader.close()
    except Exception as error:
        raise UserError(
            f"the shard {shard.path} is incomplete or corrupted ({_reason(error)}); "
            "copy or prepare the dataset again"
        ) from error
    if len(records) != stop - start:
        raise UserError(
            f"the shard {shard.path} holds {found} records but the metadata says "
            f"{shard.length}; copy or prepare the dataset again"
        )
    return records


def _decode(encoded: bytes, mode: str) -> np.ndarray:
    """[H, W, C] uint8; a greyscale file in a colour set becomes grey colour."""
    with Image.open(io.BytesIO(encoded)) as image:
        array = np.asarray(image if image.mode == mode else image.convert(mode))
    return array[..., None] if array.ndim == 2 else array


def _settle_shape(
    shard: _Shard, i: int, found: tuple[int, ...], wanted: tuple[int | None, ...]
) -> tuple[int, ...]:
    """`found`, if it agrees with `wanted`, where None is free."""
    if any(w not in (None, f) for w, f in zip(wanted, found, strict=True)):
        raise UserError(
            f"the image in record {i} of the shard {shard.path} has shape {found}, but "
            f"{tuple(wanted)} is expected; all images must be equally large"
        )
    return found


def _reason(error: Exception) -> str:
    """The first line of a foreign message, short enough for one sentence."""
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0][:200]
