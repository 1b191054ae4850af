"""Data for tests to read: tiny TFDS datasets, written without TensorFlow; pictures."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jaxdd.data import load
from tests.data.folders import save
from tests.helpers import refused

TRAIN_1 = "toy/1.0.0/toy-train.array_record-00001-of-00002"


@pytest.fixture(autouse=True)
def cache_dir(tmp_path, monkeypatch) -> Path:
    """No test may read or write the user's own cache."""
    monkeypatch.setenv("JAXDD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image.squeeze()).save(buffer, "PNG")
    return buffer.getvalue()


def write_shard(path: Path, records: list[bytes]) -> None:
    from array_record.python.array_record_module import ArrayRecordWriter

    writer = ArrayRecordWriter(str(path), "group_size:1")
    for record in records:
        writer.write(record)
    writer.close()


def write_tfds(
    directory: Path,
    splits: dict[str, list[list[tuple[Any, int]]]],
    shape: tuple[int | None, ...] = (8, 8, 3),
    keys: tuple[str, str] = ("image", "label"),
    file_format: str = "array_record",
) -> Path:
    """Write .../name/version. A split is a list of shards of (image or bytes, label).

    The records are written as TFDS writes them: its own features serialise encoded
    images without TensorFlow.
    """
    import tensorflow_datasets as tfds

    directory.mkdir(parents=True)
    features = tfds.features.FeaturesDict(
        {
            keys[0]: tfds.features.Image(shape=shape, encoding_format="png"),
            keys[1]: tfds.features.ClassLabel(names=["cat", "dog", "eel"]),
            "id": tfds.features.Text(),
        }
    )
    features.save_config(str(directory))
    infos = []
    name = directory.parent.name
    for split, shards in splits.items():
        for i, samples in enumerate(shards):
            records = [
                features.serialize_example(
                    {
                        keys[0]: png(x) if isinstance(x, np.ndarray) else x,
                        keys[1]: y,
                        "id": b"x",
                    }
                )
                for x, y in samples
            ]
            file = f"{name}-{split}.{file_format}-{i:05d}-of-{len(shards):05d}"
            write_shard(directory / file, records)
        infos.append(
            {
                "name": split,
                "shardLengths": [str(len(s)) for s in shards],
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
            }
        )
    info = {
        "name": name,
        "version": directory.name,
        "fileFormat": file_format,
        "splits": infos,
    }
    (directory / "dataset_info.json").write_text(json.dumps(info))
    return directory


def samples(num: int, seed: int = 0, shape=(8, 8, 3)) -> list[tuple[np.ndarray, int]]:
    rng = np.random.default_rng(seed)
    return [(rng.integers(0, 256, shape, np.uint8), i % 3) for i in range(num)]


@pytest.fixture
def toy(tmp_path) -> Path:
    """data_dir with toy/1.0.0: two training shards of 6 and 4 samples, a test shard."""
    train = samples(10)
    write_tfds(
        tmp_path / "tfds" / "toy" / "1.0.0",
        {"train": [train[:6], train[6:]], "test": [samples(5, seed=1)]},
    )
    return tmp_path / "tfds"


@pytest.fixture
def folder(tmp_path):
    """bird: 5 images of grey level 0..4; Ant: 10 of 100..109 (capitals sort first)."""
    root = tmp_path / "zoo"
    for i in range(5):
        save(root / "bird" / f"{i}.png", (i, i, i))
    for i in range(10):
        save(root / "Ant" / f"{i}.PNG", (100 + i,) * 3)
    return root


def failure(name, folder, *words) -> str:
    """The refusal of a prepared dataset, which has these words."""
    with refused(None, *words) as error:
        load(name, folder)
    assert len(str(error.value)) < 700
    return str(error.value)
