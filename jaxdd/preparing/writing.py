"""The form of TFDS: shards whose records come in its order, and its metadata.

TFDS itself counts the shards, sorts the records by the hash of their keys (salted with
the name of the split) and writes the metadata; nothing of that needs TensorFlow as
long as images arrive encoded.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jaxdd.data.readers.tfds_paths import tensorflow_datasets
from jaxdd.errors import UserError
from jaxdd.preparing.content import Content, Part
from jaxdd.progress import Stage
from jaxdd.storage.paths import reason, shown

_TOLD = 500  # records between two events
_TINY_SHAPE = (64, 64, 3)


def write(name: str, version: str, content: Content, folder: Path) -> None:
    """Write a dataset into an empty folder.

    Args:
        name: of the dataset, as TFDS spells it, or "tiny_imagenet".
        version: "1.2.3".
        content: what the archives hold.
        folder: where shards and metadata go.

    Raises:
        UserError: TFDS has another version of the dataset, cannot be imported, or
            refuses a record; or the disk refuses.
    """
    info = _info(name, version, content, folder)
    try:
        with _quiet():
            splits = [
                _split(info, split, part, folder)
                for split, part in content.parts.items()
            ]
            _finish(info, splits, folder)
    except UserError:
        raise
    except Exception as error:  # array_record and protobuf raise many types
        raise UserError(
            f"{name} cannot be written to {shown(folder.parent)} ({reason(error)}): "
            "free the disk or choose another --data_dir"
        ) from error


def _info(name: str, version: str, content: Content, folder: Path) -> Any:
    """TFDS's description of the dataset, with the names of the archives' classes."""
    tfds = tensorflow_datasets()
    if name == "tiny_imagenet":
        return _tiny_info(tfds, version, content, folder)
    builder = tfds.builder(name, data_dir=str(folder))
    if str(builder.version) != version:
        raise UserError(
            f"the installed tensorflow_datasets writes {name} in version "
            f"{builder.version}, but its archives here are those of {version}: install "
            "requirements.txt again"
        )
    for feature, names in content.names.items():
        expected = builder.info.features[feature].num_classes
        if len(names) != expected:
            raise UserError(
                f"the archive of {name} names {len(names)} classes of {feature!r}, not "
                f"{expected}: fetch it again"
            )
        builder.info.features[feature].names = names
    return builder.info


def _tiny_info(tfds: Any, version: str, content: Content, folder: Path) -> Any:
    from tensorflow_datasets.core import dataset_info

    identity = dataset_info.DatasetIdentity(
        name="tiny_imagenet",
        version=tfds.core.Version(version),
        data_dir=str(folder),
        module_name="jaxdd.preparing.writing",
    )
    features = tfds.features.FeaturesDict(
        {
            "id": tfds.features.Text(),
            "image": tfds.features.Image(shape=_TINY_SHAPE, encoding_format="jpeg"),
            "label": tfds.features.ClassLabel(names=content.names["label"]),
        }
    )
    return tfds.core.DatasetInfo(
        builder=identity,
        description="Tiny ImageNet: 64x64 images of 200 classes, 500 per class.",
        features=features,
        supervised_keys=("image", "label"),
        homepage="http://cs231n.stanford.edu",
    )


def _split(info: Any, split: str, part: Part, folder: Path) -> Any:
    """Write the shards of a split and return TFDS's description of it."""
    from tensorflow_datasets.core import example_serializer, file_adapters, naming
    from tensorflow_datasets.core import splits as descriptions
    from tensorflow_datasets.core import writer as writing

    template = naming.ShardedFileTemplate(
        data_dir=str(folder),
        dataset_name=info.name,
        split=split,
        filetype_suffix="array_record",
    )
    record = file_adapters.FileFormat.ARRAY_RECORD
    writer = writing.Writer(
        serializer=example_serializer.ExampleSerializer(
            info.features.get_serialized_info()
        ),
        filename_template=template,
        hash_salt=split,  # as TFDS's own builders do
        disable_shuffling=False,
        example_writer=writing.ExampleWriter(record),
    )
    began = time.monotonic()
    with Stage(f"reading {info.name} {split}", part.records, unit="record") as stage:
        for done, (key, example) in enumerate(part.examples, 1):
            writer.write(key, info.features.encode_example(example))
            if done % _TOLD == 0 or done == part.records:
                seconds = (time.monotonic() - began) / done
                stage.count(done, part.records, seconds)
    lengths, size = writer.finalize()
    return descriptions.SplitInfo(
        name=split,
        shard_lengths=lengths,
        num_bytes=size,
        filename_template=template,
    )


def _finish(info: Any, splits: list[Any], folder: Path) -> None:
    """Write the metadata, which make the folder a dataset."""
    from tensorflow_datasets.core import file_adapters
    from tensorflow_datasets.core import splits as descriptions

    info.set_file_format(file_adapters.FileFormat.ARRAY_RECORD, override=True)
    info.set_splits(descriptions.SplitDict(splits))
    info.write_to_directory(str(folder))


@contextmanager
def _quiet() -> Iterator[None]:
    """No bars of TFDS; progress goes to whoever listens."""
    from tensorflow_datasets.core.utils import tqdm_utils

    tqdm_utils.disable_progress_bar()
    try:
        yield
    finally:
        tqdm_utils.enable_progress_bar()
