"""What every container of ours holds: the set as others read it, and our own file.

For others: `inputs`, `pixels`, `labels` and `targets`, one entry for each image that a
network is trained on, in the order of PyTorch. For us: the arrays of our file that
these are not, and its header, so that reading it back gives the very same set.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from jaxdd.artifact.artifact import Artifact
from jaxdd.artifact.description import description, training_pixels
from jaxdd.artifact.file import contents, from_contents
from jaxdd.errors import UserError
from jaxdd.storage.paths import reason, shown
from jaxdd.synthetic.sets import flatten

KIND = "jaxdd set"
# The entries of `Content.texts`.
MARK, HEADER, ABOUT = "jaxdd", "jaxdd_header", "jaxdd_about"
# The names of our own arrays in other containers.
_OURS = "stored/"
_KIND = "preprocess/kind"


class Content:
    """A set as it is written into any container.

    Args:
        artifact: the set.

    Attributes:
        arrays: by name. "inputs" [N, C, H, W] float32, what a network is trained on;
            "pixels" [N, C, H, W] float32 in [0, 1], the same before the preprocessing,
            or "values" [N, C, L] or [N, F] in the units of the data;
            "labels" [N, K] float32; "targets" [N] int64, the class of each image; and
            arrays of our file under "stored/".
        texts: by name. "jaxdd_header" is that of our file, "jaxdd_about" a JSON text
            with class names, preprocessing, rate and protocol.
        about: the same as a dict.

    Raises:
        UserError: the set cannot be saved, or is slim.
    """

    def __init__(self, artifact: Artifact):
        _ = artifact.fitted  # of a slim set others could not use what is written
        held = contents(artifact)
        pixels, labels = training_pixels(artifact)
        batch = flatten(artifact.synthetic())
        classes, per_class = labels.shape[:2]
        self.about = _about(artifact, pixels)
        drawn = artifact.modality.pixels
        pixels = np.clip(pixels, 0, 1) if drawn else pixels
        self.arrays: dict[str, np.ndarray] = {
            "inputs": _channels_first(np.asarray(batch.images, np.float32)),
            "pixels" if drawn else "values": _channels_first(
                pixels.reshape(-1, *pixels.shape[2:])
            ),
            "labels": np.asarray(labels, np.float32).reshape(-1, classes),
            "targets": np.repeat(np.arange(classes, dtype=np.int64), per_class),
            **{
                _OURS + name: array
                for name, array in held.items()
                if array.dtype.kind != "U"
            },
        }
        self.texts = {
            MARK: KIND,
            HEADER: str(held["header"].item()),
            ABOUT: json.dumps(self.about),
            _KIND: str(held[_KIND].item()),
        }


def _channels_first(images: np.ndarray) -> np.ndarray:
    """[N, C, H, W] of [N, H, W, C]."""
    return np.ascontiguousarray(np.moveaxis(images, -1, 1), np.float32)


def _about(artifact: Artifact, pixels: np.ndarray) -> dict[str, Any]:
    """What has to be known to use the arrays, as far as JSON can hold it."""
    about = description(artifact, pixels, [], [])
    for name in ("kind", "notes", "folders", "images"):
        about.pop(name)
    about["preprocessing"].pop("arrays")
    if artifact.preprocess.kind != "affine":
        about["preprocessing"]["flattened"] = "(height, width, channels)"
        about["preprocessing"]["arrays"] = [
            f"{_OURS}preprocess/{name}" for name in ("mean", "matrix", "inverse")
        ]
    return about


def artifact_in(content: Any, place: Path) -> Artifact | None:
    """The set in the content of a container that `Content` filled; None for others.

    Args:
        content: what `containers.open_container` returns.
        place: the file.

    Raises:
        UserError: the file is ours and damaged.

    Example:
        >>> artifact_in({"images": np.zeros(3)}, Path("x.npz")) is None
        True
    """
    if not isinstance(content, dict):
        return None
    texts = content.get("__metadata__", content)
    if not isinstance(texts, dict) or not isinstance(texts.get(MARK), str):
        return None
    try:
        arrays = {
            name.removeprefix(_OURS): array
            for name, array in content.items()
            if isinstance(name, str) and name.startswith(_OURS)
        }
        if not all(isinstance(x, np.ndarray) for x in arrays.values()):
            raise ValueError("an array is none")
        arrays["header"] = np.array(str(texts.get(HEADER)))
        arrays[_KIND] = np.array(str(texts.get(_KIND)))
        return from_contents(arrays)
    except ValueError as error:  # also UserError
        raise UserError(
            f"the set {shown(place)} cannot be used ({reason(error)}): it may be cut "
            "off or damaged; copy it again"
        ) from error
