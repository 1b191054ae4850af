"""The file of an artifact: written, read and checked as a whole.

It is an .npz without pickles: arrays, and one JSON header.
"""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from jaxdd import augment
from jaxdd.artifact.artifact import Artifact, is_finite
from jaxdd.artifact.schema import (
    ARRAYS,
    DECODER,
    HEADER,
    LARGEST_GROWTH,
    SLIM,
    UNSUSPICIOUS,
    WHOLE,
    agree,
    header_fields,
)
from jaxdd.artifact.values import (
    checked,
    checked_labels,
    checked_step_size,
    preprocess_of,
    training_of,
)
from jaxdd.data.unfitted import Unfitted
from jaxdd.errors import UserError
from jaxdd.modality import check_augmentation, check_pixels
from jaxdd.nets import make_network
from jaxdd.storage.arrays import read_arrays
from jaxdd.storage.files import atomic_file, make_folder, output_file
from jaxdd.storage.paths import existing_file, reason, shown
from jaxdd.storage.recognising import Kind, members
from jaxdd.synthetic.formation import Formation
from jaxdd.synthetic.labels import LABEL_SPACES

_REMEDY = "it may be cut off or damaged; copy it again"


def save(artifact: Artifact, path: str | Path) -> Path:
    """Write an artifact atomically, unless `load` would refuse it.

    Args:
        artifact: the set.
        path: the file, usually `distilled.npz`; folders above it are made.

    Returns:
        The path.

    Raises:
        UserError: `load` would refuse the set, the disk refuses, or the file ends like
            one of another kind, or is one.

    Example:
        >>> from jaxdd.artifact.artifact import _example
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(_example(), Path(folder) / "distilled.npz").name
        'distilled.npz'
    """
    path = output_file(path, "the artifact", ".npz", "", kind=SET)
    arrays = contents(artifact)
    make_folder(path.parent, "path for the artifact")
    with atomic_file(path, "wb") as file:
        np.savez_compressed(file, **arrays)
    return path


def is_artifact(path: Path) -> bool:
    """Whether a file is a set of this library, whole or not.

    Example:
        >>> is_artifact(Path("no/such/file"))
        False
    """
    return {"header.npy", "preprocess/kind.npy"} <= members(path)


SET = Kind("a distilled set", is_artifact)


def contents(
    artifact: Artifact, what: str = "this set", remedy: str = "correct it first"
) -> dict[str, Any]:
    """The arrays of an artifact's file by name, the JSON header among them.

    Args:
        artifact: the set.
        what: is refused, in messages.
        remedy: end of the message that says what to do.

    Raises:
        UserError: `load` would refuse the set.

    Example:
        >>> from jaxdd.artifact.artifact import _example
        >>> sorted(contents(_example()))[:3]
        ['header', 'images', 'labels']
    """
    header = {
        "format": SLIM if artifact.is_slim else WHOLE,
        "class_names": list(artifact.class_names),
        "dataset": artifact.dataset,
        "labels": artifact.label_kind,
        "network": artifact.network,
        "augmentation": artifact.augmentation,
        "training": dataclasses.asdict(artifact.training),
        "measured": artifact.measured,
        "provenance": artifact.provenance,
        "decoder": {name: getattr(artifact, name) for name in DECODER},
    }
    step_size = np.nan if artifact.step_size is None else artifact.step_size
    arrays: dict[str, Any] = {
        "header": np.array(_dumped(header)),
        "images": np.asarray(artifact.images, np.float32),
        "labels": np.asarray(artifact.labels, np.float32),
        "step_size": np.float32(step_size),
        **{f"preprocess/{k}": v for k, v in artifact.preprocess.to_arrays().items()},
    }
    if artifact.levels is not None:
        arrays["levels"] = artifact.levels
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    try:
        from_contents(arrays)
    except ValueError as error:  # also UserError
        raise UserError(
            f"{what} cannot be saved ({reason(error)}): {remedy}"
        ) from error
    return arrays


def from_contents(arrays: dict[str, np.ndarray]) -> Artifact:
    """The inverse of `contents`, for arrays that another container held.

    Raises:
        ValueError: an array is missing or is none that a run writes; also as
            UserError.

    Example:
        >>> from jaxdd.artifact.artifact import _example
        >>> from_contents(contents(_example())).digest == _example().digest
        True
    """
    for name, member in {**HEADER, **ARRAYS}.items():
        if name in arrays:
            member.check(name, arrays[name].shape, arrays[name].dtype)
            member.check_size(name, arrays[name].shape, arrays[name].dtype)
        elif member.required:
            raise ValueError(f"it has no array {name!r}")
    fields = header_fields(arrays["header"])
    if fields["format"] > SLIM:
        raise ValueError(f"it has the newer format {fields['format']}")
    shapes = {name: array.shape for name, array in arrays.items()}
    agree(shapes, len(fields["class_names"]))
    return _artifact(fields, arrays)


def _dumped(header: dict[str, Any]) -> str:
    try:
        return json.dumps(header, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"this set cannot be saved ({reason(error)}): its fields have to be "
            "finite numbers, texts, lists and dicts"
        ) from error


def load(path: str | Path) -> Artifact:
    """Read and check an artifact. Nothing in the file is executed.

    An artifact that loads can also be shown, evaluated and saved: header and arrays are
    checked as a whole first. `displayable()` gives images for plotting, and
    `labels.argmax(-1)` their classes.

    Raises:
        UserError: the file is missing, cut off, of another program or of a newer
            format; a field is missing; or a shape or value is none that a run writes.

    Example:
        >>> from jaxdd.artifact.artifact import _example
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     artifact = load(save(_example(), Path(folder) / "distilled.npz"))
        >>> artifact.displayable().shape, artifact.labels.argmax(-1).tolist()
        ((2, 1, 4, 4, 1), [[0], [1]])
    """
    header = _header(path)
    classes = len(header["class_names"])
    arrays = read_arrays(
        path, ARRAYS, _REMEDY, "the artifact", lambda shapes: agree(shapes, classes)
    )
    try:
        return _artifact(header, arrays)
    except ValueError as error:  # also UserError
        raise UserError(
            f"the artifact {shown(path)} cannot be used ({reason(error)}): {_REMEDY}"
        ) from error


def _artifact(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> Artifact:
    """The set from a checked header and arrays that agree with it.

    Raises:
        ValueError: no run writes such a value.
    """
    kind = header["labels"]
    space = kind if kind in LABEL_SPACES else "probabilities"
    artifact = Artifact(
        images=checked("images", arrays["images"]),
        labels=checked_labels(arrays["labels"], space),
        label_space=space,
        step_size=checked_step_size(arrays["step_size"]),
        preprocess=preprocess_of(arrays),
        levels=arrays.get("levels"),
        class_names=tuple(header["class_names"]),
        training=training_of(header["training"]),
        **{**DECODER, **header.get("decoder", {})},
        **{
            name: header[name]
            for name in
            ("dataset", "network", "augmentation", "measured", "provenance")
        },
    )  # fmt: skip
    _check_usable(artifact)
    return artifact


def _header(path: str | Path) -> dict[str, Any]:
    """The checked header.

    Raises:
        UserError: the file has no valid header, or is of a newer format.
    """
    remedy = (
        "give the path of a distilled.npz; python -m experiments.convert makes one of "
        f"a set of another code; if this is one, {_REMEDY}"
    )
    existing_file(path, "the artifact", "give the path of a distilled.npz")
    arrays = read_arrays(path, HEADER, remedy, "the artifact")
    try:
        fields = header_fields(arrays["header"])
    except ValueError as error:
        raise UserError(
            f"the header of {shown(path)} is damaged ({reason(error)}): {_REMEDY}"
        ) from error
    if fields["format"] > SLIM:
        raise UserError(
            f"{shown(path)} has format {fields['format']}, newer than {SLIM}, the "
            "newest that this version of jaxdd reads: upgrade jaxdd"
        )
    return fields


def _check_usable(artifact: Artifact) -> None:
    """Check that the artifact can be shown, decoded and evaluated.

    Raises:
        ValueError: it cannot be.
    """
    shape = artifact.images.shape[2:]
    if artifact.factor > 1 or artifact.space == "pixels":
        check_pixels("its decoder", shape)
    if artifact.columns and shape != (sum(x.features for x in artifact.columns),):
        raise ValueError("the columns of its table do not fit its samples")
    if artifact.modality.pixels and artifact.factor > min(shape[:2]):
        raise ValueError(
            f"its decoder has the factor {artifact.factor}, but its images are "
            f"{shape[0]}x{shape[1]}"
        )
    formation = Formation(artifact.factor, artifact.formation)
    check_growth(formation, artifact.ipc, artifact.images.nbytes)
    options = {k: v for k, v in artifact.network.items() if k != "name"}
    make_network(artifact.network["name"], shape, len(artifact.class_names), **options)
    augment.training(artifact.augmentation)
    check_augmentation(artifact.augmentation, shape)
    if isinstance(artifact.preprocess, Unfitted):
        _check_slim(artifact, artifact.preprocess)
    elif artifact.levels is not None:
        raise ValueError("it has the pixels of a slim set, and is none")
    elif not is_finite(artifact):
        raise ValueError("its preprocessing does not fit the values of its images")


def check_growth(formation: Formation, ipc: int, stored: int) -> None:
    """Check that a decoder makes no more of stored images than any method does.

    Args:
        formation: of the set.
        ipc: stored images of a class.
        stored: bytes of all of them.

    Raises:
        ValueError: it makes more.
    """
    growth = formation.count(ipc) / ipc
    decoded = growth * stored
    if decoded > UNSUSPICIOUS and growth > LARGEST_GROWTH:
        raise ValueError(f"its decoder makes {decoded:.3g} bytes of images")


def _check_slim(artifact: Artifact, whitening: Unfitted) -> None:
    """Check that a slim set can be shown, and that its whitening could be fitted.

    Raises:
        ValueError: it cannot be.
    """
    shape, rows = artifact.images.shape[2:], whitening.products.shape[1]
    check_pixels("a slim set", shape)
    values = math.prod(shape)
    if len(whitening.mean) != values or (whitening.kind == "zca" and rows != values):
        raise ValueError("its whitening does not fit the shape of its images")
    if (artifact.levels is None) != (artifact.space == "pixels"):
        raise ValueError("a slim set has its pixels once, in 'images' or in 'levels'")
    if artifact.levels is not None and artifact.levels.dtype != np.uint8:
        raise ValueError("levels are not uint8")
