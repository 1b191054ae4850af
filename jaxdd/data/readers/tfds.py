"""TFDS datasets in array_record form, read without TensorFlow.

`tfds.data_source` decodes one record at a time and trusts the files; here records are
read in blocks, checked against the metadata, and every failure names its shard.
"""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxdd.data.dataset import Dataset, from_arrays
from jaxdd.data.readers.ahead import in_order
from jaxdd.data.readers.cache import cache_file, digest_of, read_cache, write_cache
from jaxdd.data.readers.pictures import (
    MODES,
    Form,
    Size,
    decode,
    form_of,
    open_picture,
    quietly,
)
from jaxdd.data.readers.tfds_info import Fields, Shard, read_fields, read_info, shards
from jaxdd.data.readers.tfds_paths import (
    default_data_dir,
    entries,
    find_prepared,
    tensorflow_datasets,
)
from jaxdd.data.streaming.building import Part
from jaxdd.data.streaming.choice import streams
from jaxdd.data.streaming.places import store_folder
from jaxdd.data.streaming.store import stored
from jaxdd.errors import UserError
from jaxdd.storage.paths import local_path, reason, shown

_BLOCK = 1000  # records in memory at once


def from_tfds(
    name: str,
    data_dir: str | Path | None = None,
    channels: int | None = None,
    image_size: Size = None,
    stream: str = "never",
) -> Dataset:
    """A prepared TFDS dataset; the test split is `test`, else `validation`.

    Images are uint8. The decoded arrays are cached, see `readers.cache`. No class that
    the directory names is imported.

    Args:
        name: "base", "base/config", each with or without ":1.2.3" (newest by default).
        data_dir: as in TFDS (default: TFDS_DATA_DIR or ~/tensorflow_datasets), or the
            directory of the dataset itself.
        channels, image_size: form to which images are converted, as for `from_folder`.
        stream: as for `from_folder`.

    Raises:
        UserError: the dataset is not found, not prepared or not readable (see
            `find_prepared`), does not have exactly one image and one label, has no test
            split, or a shard is missing, incomplete or corrupted.

    Example:
        >>> from_tfds("mnist", "no/such/folder")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        jaxdd.errors.UserError: ...
    """
    form = form_of(channels, image_size)
    if data_dir is None:
        root = default_data_dir()
    else:
        root = local_path(data_dir, "the data_dir")
    directory = find_prepared(name, root.absolute())
    info = read_info(directory)
    files = entries(directory)
    train = shards(info, "train", directory, len(files))
    fields = read_fields(directory, sum(shard.length for shard in train))
    test_name = "test" if "test" in info.splits else "validation"
    test = shards(info, test_name, directory, len(files))
    metadata = [p for p in sorted(files) if p.suffix in (".json", ".txt")]
    sources = [*metadata, *(s.path for s in train + test)]
    digest = digest_of(sources, repr(tuple(form)))
    target = _target(directory, fields, form)
    with quietly():
        counts = [sum(shard.length for shard in split) for split in (train, test)]
        if stream != "never":
            shape = _settled(target, train, fields)
            if streams(stream, sum(counts), shape):
                return _streamed(info.name, digest, train, test, fields, shape, target)
        cache = cache_file(info.name, digest)
        dataset = read_cache(cache, info.name)
        if dataset is not None:
            return dataset
        images, labels = _read_split(train, fields, target)
        # The training split determines an image size that the metadata leave open.
        target = target.settled(images.shape[1:])
        test_images, test_labels = _read_split(test, fields, target)
    dataset = from_arrays(
        images, labels, test_images, test_labels, fields.class_names, info.name
    )
    write_cache(cache, dataset)
    return dataset


def _target(directory: Path, fields: Fields, form: Form) -> "_Target":
    height, width, own = fields.shape
    channels = form.channels or own
    if channels not in MODES:
        raise UserError(
            f"the images in {shown(directory)} have {own} channels: give --channels=3 "
            "(their transparency is dropped) or 1"
        )
    return _Target(*(form.size or (height, width)), channels, form.size is not None)


def _settled(
    target: "_Target", train: list[Shard], fields: Fields
) -> tuple[int, int, int]:
    """The shape of every image, by the first one where the metadata leave it open."""
    if target.height is not None and target.width is not None:
        return target.height, target.width, target.channels
    image, _ = next(_samples(train, fields, target))
    height, width, channels = image.shape
    return height, width, channels


def _streamed(
    name: str,
    digest: str,
    train: list[Shard],
    test: list[Shard],
    fields: Fields,
    shape: tuple[int, int, int],
    target: "_Target",
) -> Dataset:
    """The dataset with its images in a store on disk."""
    target = target.settled(shape)

    def part(split: str, shards: list[Shard]) -> Part:
        count = sum(shard.length for shard in shards)
        samples = lambda first: _samples(shards, fields, target, first)
        return Part(split, count, samples, len(fields.class_names))

    parts = [part("train", train), part("test", test)]
    there = stored(store_folder(name, digest), shown(name), parts, shape)
    return from_arrays(*there["train"], *there["test"], fields.class_names, name)


class _Target(NamedTuple):
    """The shape of every image, [H, W, C]; None is unknown until the first image."""

    height: int | None
    width: int | None
    channels: int
    resized: bool  # whether images are resized to it

    @property
    def shape(self) -> tuple[int | None, int | None, int]:
        return self.height, self.width, self.channels

    def settled(self, shape: tuple[int, ...]) -> "_Target":
        """The target once the shape of the images is known."""
        height, width, channels = shape
        return _Target(height, width, channels, self.resized)

    @property
    def size(self) -> tuple[int, int] | None:
        """The size to which images are resized, None to keep theirs."""
        if not self.resized or self.height is None or self.width is None:
            return None
        return self.height, self.width


def _read_split(
    shards: list[Shard], fields: Fields, target: _Target
) -> tuple[np.ndarray, np.ndarray]:
    """Images [M, H, W, C] uint8 and labels [M] int32 of all shards, M > 0."""
    for shard in shards:  # before memory is taken for the records that they declare
        _read_records(shard, 0, 0)
    total = sum(s.length for s in shards)
    labels = np.empty(total, np.int32)
    samples = enumerate(_samples(shards, fields, target))
    _, (image, labels[0]) = next(samples)
    images = np.empty((total, *image.shape), np.uint8)
    images[0] = image
    for i, (image, label) in samples:
        images[i], labels[i] = image, label
    return images, labels


def _samples(
    shards: list[Shard], fields: Fields, target: _Target, first: int = 0
) -> Iterator[tuple[np.ndarray, int]]:
    """Checked images [H, W, C] uint8 and labels, one by one, all of the same shape.

    Args:
        first: of all samples of the shards, the one to begin with.
    """
    tfds = tensorflow_datasets()
    num_classes = len(fields.class_names)
    parser = tfds.features.FeaturesDict(
        {
            fields.image_key: tfds.features.Image(shape=fields.shape),
            fields.label_key: tfds.features.ClassLabel(num_classes=num_classes),
        }
    )
    raw = {fields.image_key: tfds.decode.SkipDecoding()}
    shape: tuple[int | None, ...] = target.shape
    size = target.size

    def parse(place: tuple[Shard, int, bytes]) -> tuple[Shard, int, np.ndarray, int]:
        shard, i, record = place
        try:
            example = parser.deserialize_example_np(record, decoders=raw)
            image = _decode(example[fields.image_key], target.channels, size)
            return shard, i, image, int(example[fields.label_key])
        except Exception as error:  # Pillow and protobuf raise many types
            raise UserError(
                f"record {i} of the shard {shown(shard.path)} cannot be decoded "
                f"({reason(error)}); copy or prepare the dataset again"
            ) from error

    for shard, i, image, label in in_order(parse, _records(shards, first)):
        # Inline, once per record: function calls would cost seconds.
        if image.shape != shape:
            shape = _settle_shape(shard, i, image.shape, shape)
        if not 0 <= label < num_classes:
            raise UserError(
                f"the label in record {i} of the shard {shown(shard.path)} is "
                f"{label}, outside [0, {num_classes}); the dataset is wrong, "
                "or its labels are not public"
            )
        yield image, label


def _records(shards: list[Shard], first: int) -> Iterator[tuple[Shard, int, bytes]]:
    """All records from one on, with their shards and their indices in these."""
    for shard in shards:
        for start in range(first, shard.length, _BLOCK):
            stop = min(start + _BLOCK, shard.length)
            for i, record in enumerate(_read_records(shard, start, stop), start):
                yield shard, i, record
        first = max(first - shard.length, 0)


def _read_records(shard: Shard, start: int, stop: int) -> list[bytes]:
    """Serialised records start ... stop - 1 of a shard."""
    from array_record.python import array_record_module

    try:
        # No read-ahead: it would read unneeded records in the background.
        reader = array_record_module.ArrayRecordReader(
            str(shard.path), options="readahead_buffer_size:0"
        )
        # A reader that failed to open reports 0 records and does not raise, so that
        # this comparison must come before any record is read.
        count = reader.num_records()
        records = reader.read(list(range(start, stop))) if count == shard.length else []
        reader.close()
    except Exception as error:
        raise UserError(
            f"the shard {shown(shard.path)} is incomplete or corrupted "
            f"({reason(error)}); copy or prepare the dataset again"
        ) from error
    if len(records) != stop - start:
        raise UserError(
            f"the shard {shown(shard.path)} holds {count} records but the metadata "
            f"declare {shard.length}; copy or prepare the dataset again"
        )
    return records


def _decode(encoded: bytes, channels: int, size: tuple[int, int] | None) -> np.ndarray:
    """[H, W, C] uint8; a greyscale file in a colour set becomes grey colour."""
    return decode(open_picture(io.BytesIO(encoded)), channels, size)


def _settle_shape(
    shard: Shard, i: int, shape: tuple[int, ...], expected: tuple[int | None, ...]
) -> tuple[int, ...]:
    """The shape, if it agrees with the expected one, in which None is unknown."""
    if any(e not in (None, n) for e, n in zip(expected, shape, strict=True)):
        raise UserError(
            f"the image in record {i} of the shard {shown(shard.path)} has shape "
            f"{shape}, but {tuple(expected)} is expected; all images must be "
            "equally large"
        )
    return shape
