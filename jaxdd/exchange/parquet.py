"""Parquet in the form of the Hugging Face hub: one row per training image.

Columns: `image` (a PNG, 8 bits), `label` (the class), `soft_label` [K] and `input`
[C * H * W], the network input. Needs pyarrow, which is in the extra `hub`.
"""

import dataclasses
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jaxdd.artifact.description import training_pixels
from jaxdd.artifact.file import Artifact
from jaxdd.errors import UserError
from jaxdd.exchange.content import Content
from jaxdd.storage.arrow import pyarrow
from jaxdd.storage.files import atomic_file
from jaxdd.storage.paths import reason, shown

_CHANNELS = (1, 3)  # of PNGs in a dataset of the hub
_LARGEST = 8 * 2**30  # bytes of all columns
_SHAPE, _PARTS = "jaxdd_shape", "jaxdd_preprocess"
_REMEDY = "give a .parquet file that experiments.convert wrote"


def decoded(artifact: Artifact) -> Artifact:
    """The same set with its training images stored one by one, as network inputs."""
    synthetic = artifact.synthetic()
    return dataclasses.replace(
        artifact,
        images=np.asarray(synthetic.images, np.float32),
        labels=np.asarray(synthetic.labels, np.float32),
        factor=1,
        formation="single",
        space="input",
    )


def features(class_names: tuple[str, ...]) -> dict[str, Any]:
    """The columns in the words of the hub's `datasets`."""
    numbers = {"feature": {"dtype": "float32", "_type": "Value"}, "_type": "Sequence"}
    return {
        "image": {"_type": "Image"},
        "label": {"names": list(class_names), "_type": "ClassLabel"},
        "soft_label": numbers,
        "input": numbers,
    }


def write_parquet(artifact: Artifact, path: Path, alone: bool = True) -> Path:
    """Write a set as one Parquet file, its training images one by one.

    Args:
        artifact: the set.
        path: the file.
        alone: whether there is no other file with the preprocessing beside it; then a
            whitened set is refused, whose matrix no column can hold.

    Raises:
        UserError: pyarrow is missing, images have no 1 or 3 channels, the set is
            whitened and alone, or the disk refuses.
    """
    arrow, parquet = pyarrow()
    if not artifact.modality.pixels:
        raise UserError(
            "a Parquet file of a set holds pictures, and this set has "
            f"{artifact.modality.name}: use --to=csv or --to=safetensors"
        )
    if artifact.images.shape[-1] not in _CHANNELS:
        raise UserError(
            f"images of {artifact.images.shape[-1]} channels cannot be pictures in a "
            "Parquet file: use --to=safetensors"
        )
    if alone and artifact.preprocess.kind != "affine":
        raise UserError(
            "a Parquet file has no room for the matrix of ZCA whitening: use --to=hub, "
            "which puts it beside, or --to=safetensors"
        )
    content = Content(decoded(artifact))
    pixels, _ = training_pixels(artifact)
    inputs = content.arrays["inputs"]
    pictures = [_png(image) for image in pixels.reshape(-1, *pixels.shape[2:])]
    targets = content.arrays["targets"]
    columns = {
        "image": arrow.array(
            [
                {"bytes": data, "path": f"{i:06d}.png"}
                for i, data in enumerate(pictures)
            ],
            arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())]),
        ),
        "label": arrow.array(targets),
        "soft_label": _rows(arrow, content.arrays["labels"]),
        "input": _rows(arrow, inputs.reshape(len(inputs), -1)),
    }
    parts = {
        name: np.asarray(array, np.float64).tolist()
        for name, array in artifact.preprocess.to_arrays().items()
        if array.ndim == 1
    }
    rate = artifact.step_size
    texts = {
        **content.texts,
        _SHAPE: json.dumps(inputs.shape[1:]),
        _PARTS: json.dumps({**parts, "step_size": rate}),
        "huggingface": json.dumps(
            {"info": {"features": features(artifact.class_names)}}
        ),
    }
    table = arrow.table(columns).replace_schema_metadata(texts)
    with atomic_file(path, "wb") as file:
        parquet.write_table(table, file)
    return path


def _rows(arrow: Any, array: np.ndarray) -> Any:
    """A column of lists of float32."""
    flat = arrow.array(np.ascontiguousarray(array, np.float32).ravel())
    starts = np.arange(len(array) + 1, dtype=np.int32) * array.shape[1]
    return arrow.ListArray.from_arrays(arrow.array(starts), flat)


def _png(image: np.ndarray) -> bytes:
    """The bytes of a PNG of pixels [H, W, C]."""
    levels = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(levels[..., 0] if levels.shape[-1] == 1 else levels).save(
        file, "PNG"
    )
    return file.getvalue()


def read_parquet(place: Path, what: str = "the file") -> dict[str, Any]:
    """The content of a Parquet file that `write_parquet` wrote, see `content`.

    Args:
        place: the file.
        what: its name in messages.

    Raises:
        UserError: pyarrow is missing, or the file is none of ours or damaged.
    """
    _, parquet = pyarrow()
    try:
        file = parquet.ParquetFile(place)
        held = file.schema_arrow.metadata or {}
        texts = {key.decode(): value.decode() for key, value in held.items()}
        if _SHAPE not in texts or _PARTS not in texts:
            raise ValueError("it lacks what jaxdd writes beside the columns")
        groups = [file.metadata.row_group(i) for i in range(file.num_row_groups)]
        if sum(group.total_byte_size for group in groups) > _LARGEST:
            raise ValueError(f"it takes more than {_LARGEST} bytes")
        table = file.read(columns=["input", "soft_label"])
        shape, parts = json.loads(texts[_SHAPE]), json.loads(texts[_PARTS])
        rows, rate = table.num_rows, parts.pop("step_size")
        inputs = _numbers(table["input"], (rows, *shape))
        labels = _numbers(table["soft_label"], (rows, -1))
        classes = labels.shape[1]
        images = np.moveaxis(inputs, 1, -1)
        arrays = {
            "stored/images": images.reshape(classes, -1, *images.shape[1:]),
            "stored/labels": labels.reshape(classes, -1, classes),
            "stored/step_size": np.array(np.nan if rate is None else rate, np.float32),
            **{
                f"stored/preprocess/{name}": np.array(values, np.float32)
                for name, values in parts.items()
            },
        }
    except Exception as error:  # columns and texts can be of any form
        raise UserError(
            f"{what} {shown(place)} cannot be read ({reason(error)}): {_REMEDY}"
        ) from error
    return {**arrays, "__metadata__": texts}


def _numbers(column: Any, shape: tuple[int, ...]) -> np.ndarray:
    """A column of lists as one array of this shape.

    Raises:
        ValueError: the lists do not have that many numbers.
    """
    flat = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    known = math.prod(n for n in shape if n >= 0)
    if not all(isinstance(n, int) for n in shape) or known < 1:
        raise ValueError("it declares no shape of its images")
    return np.asarray(flat, np.float32).reshape(shape)
