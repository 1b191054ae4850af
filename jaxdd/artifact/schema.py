"""The fields and arrays of an artifact's file: types, shapes and sizes, no values."""

import math
from typing import Any

import numpy as np

from jaxdd.data.readers.table import MISSING
from jaxdd.data.subsets import subset_record
from jaxdd.devices.precision import PRECISIONS
from jaxdd.errors import LARGEST_INTEGER
from jaxdd.modality import MODALITIES, modality_of
from jaxdd.nets import NETS
from jaxdd.primitives.losses import LOSSES
from jaxdd.storage.arrays import Member, Shapes
from jaxdd.storage.records import (
    Schema,
    fields_of,
    integer,
    list_of,
    mapping,
    name_in,
    number,
    one_of,
    parse,
    text,
)
from jaxdd.synthetic.formation import KINDS
from jaxdd.training.fit import OPTIMIZERS, Training

# 1 had no decoder; 2 only SGD, cross-entropy and probabilities; 4 are slim sets.
WHOLE, SLIM = 3, 4
_SEED = integer(0, 2**32 - 1)
# Statistics of accuracies in percent.
STATISTICS = mapping(mean=number(0, 100), std=number(0, 100), n=integer(1))
# Fields of the header. Unknown fields, which a later version may add, are ignored, but
# unknown options of the network, the training or the decoder are refused.
_CONFIG = mapping(optional={"precision": one_of(*PRECISIONS)})

# A column of a table, as `data.columns.Column`.
_column = mapping(name=text(), levels=list_of(text()))


def _config(value: Any, where: str) -> None:
    """Whatever other code has written, but no precision that there is not."""
    if isinstance(value, dict):
        _CONFIG(value, where)


FIELDS: dict[str, Schema] = {
    "class_names": list_of(text(), shortest=1),
    "dataset": mapping(
        name=text(),
        fingerprint=text(),
        validation=number(0, 1),
        split_seed=_SEED,
        optional={
            "channels": one_of(1, 3),
            "image_size": text(20),
            "modality": one_of(*MODALITIES),
            "label": text(),
            "id_column": text(),
            "missing": one_of(*MISSING),
            "columns": list_of(_column, shortest=1),
            "subset": subset_record,
        },
    ),
    "labels": one_of("hard", "soft", "targets", "weights"),
    "network": mapping(
        name=name_in(NETS, "jaxdd.NETS, where a network of one's own has to be added"),
        optional={
            "width": integer(1, 2**16),
            "depth": integer(1, 2**10),
            **dict.fromkeys(("norm", "activation", "pooling"), text(100)),
        },
        others=None,
    ),
    "augmentation": text(200),
    "training": mapping(
        epochs=integer(1),
        optional=fields_of(
            Training,
            epochs=integer(1),
            batch_size=integer(1),
            optimizer=one_of(*OPTIMIZERS),
            loss=one_of(*LOSSES),
        ),
        others=None,
    ),
    "measured": mapping(optional={"distilled": STATISTICS, "random": STATISTICS}),
    "provenance": mapping(seed=_SEED, optional={"config": _config}),
}
# Decoder fields, with the defaults for files written before they existed.
DECODER: dict[str, Any] = {"factor": 1, "formation": "single", "space": "input"}
OPTIONAL: dict[str, Schema] = {
    "decoder": mapping(
        optional={
            "factor": integer(1),
            "formation": one_of(*KINDS),
            "space": one_of("input", "pixels"),
        },
        others=None,
    )
}
# The arrays. A header with 10,000 classes takes 4 MB.
HEADER = {"header": Member("U", 0, largest=16 * 2**20)}
ARRAYS = {
    "images": Member("f", None),
    "labels": Member("f", 3, repetitive=True),  # one-hot
    "step_size": Member("f", 0),
    "preprocess/kind": Member("U", 0, largest=1000),
    "preprocess/mean": Member("f", 1),
    "preprocess/std": Member("f", 1, required=False),
    "preprocess/matrix": Member("f", 2, required=False),
    "preprocess/inverse": Member("f", 2, required=False),
    # Of a slim set, in place of the matrices.
    "preprocess/eps": Member("f", 0, required=False),
    "preprocess/products": Member("f", 2, required=False),
    "levels": Member("u", None, required=False),
}
# Up to this size a decoded set, or its labels, may be larger than the stored images by
# any factor; IDC's largest published factor makes 25 images of one.
UNSUSPICIOUS, LARGEST_GROWTH = 256 * 2**20, 32  # bytes, decoded by stored


def header_fields(header: np.ndarray) -> dict[str, Any]:
    """The checked fields of a header; of a newer format only `format` is checked.

    Raises:
        ValueError: the header does not fit.
    """
    # The format is read first, because a newer one may have other fields.
    fields = parse(str(header.item()), mapping(format=integer(1, LARGEST_INTEGER)))
    if fields["format"] <= SLIM:
        mapping(optional=OPTIONAL, **FIELDS)(fields, "")
    return fields


def agree(shapes: Shapes, classes: int) -> None:
    """Check that declared shapes fit each other and the number of classes.

    Raises:
        ValueError: they do not.
    """
    images = shapes["images"]
    if not 3 <= len(images) <= 5:
        raise ValueError(
            f"images have shape {images}; expected ({classes}, ipc, H, W, C), "
            f"({classes}, ipc, L, C) or ({classes}, ipc, F)"
        )
    if images[0] != classes or 0 in images:
        axes = ", ".join(modality_of(images[2:]).axes)
        raise ValueError(
            f"images have shape {images}; expected ({classes}, ipc, {axes})"
        )
    ipc, channels = images[1], images[-1]
    values = math.prod(images[2:])
    # Whitened whole, or in square blocks.
    sizes = {values}
    if len(images) == 5:
        common = math.gcd(*images[2:4])
        sides = (n for n in range(1, common + 1) if common % n == 0)
        sizes |= {n * n * channels for n in sides}
    matrices: list[tuple[int, ...]] = [(n, n) for n in sorted(sizes, reverse=True)]
    expected: dict[str, list[tuple[int, ...]]] = {
        "labels": [(classes, ipc, classes)],
        # With whitening the mean has one entry per value of an image.
        "preprocess/mean": [(channels,), (values,)],
        "preprocess/std": [(channels,)],
        "preprocess/matrix": matrices,
        "preprocess/inverse": matrices,
        "preprocess/products": [(2, n) for n, _ in matrices],
        "levels": [images],
    }
    for name, fitting in expected.items():
        if name in shapes and shapes[name] not in fitting:
            raise ValueError(
                f"{name} has shape {shapes[name]}; expected "
                + " or ".join(map(str, fitting))
            )
    if classes > values and 4 * ipc * classes**2 > UNSUSPICIOUS:
        raise ValueError(f"its labels for {classes} classes are larger than its images")
