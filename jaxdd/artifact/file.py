"""The one-file result: all that is needed to use a distilled set rightly years later.

An artifact is an .npz without pickles: arrays, and one JSON header. What turns stored
images into training images travels with them: decoder, preprocessing and its inverse.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxdd import augment
from jaxdd.data.preprocess import Preprocess
from jaxdd.errors import LARGEST_INTEGER, UserError
from jaxdd.nets import NETS, make_network
from jaxdd.storage.arrays import Member, Shapes, read_arrays
from jaxdd.storage.files import atomic_file
from jaxdd.storage.paths import local_path, reason, shown
from jaxdd.storage.records import (
    Schema,
    fields_of,
    integer,
    list_of,
    mapping,
    number,
    one_of,
    parse,
    text,
)
from jaxdd.synthetic.decoder import INPUT, decode_stored
from jaxdd.synthetic.formation import KINDS, Formation
from jaxdd.training.fit import Training
from jaxdd.types import Synthetic

FORMAT = 2  # 1 had no decoder
_SEED = integer(0, 2**32 - 1)
# Of accuracies in percent.
STATISTICS = mapping(mean=number(0, 100), std=number(0, 100), n=integer(1))
# What the header has to be. Fields that a later version adds are left unread, but not
# options of the network, the training or the decoder, which change what a set is.
FIELDS: dict[str, Schema] = {
    "class_names": list_of(text(), shortest=1),
    "dataset": mapping(
        name=text(),
        fingerprint=text(),
        validation=number(0, 1),
        split_seed=_SEED,
        optional={"channels": one_of(1, 3), "image_size": text(20)},
    ),
    "labels": one_of("hard", "soft"),
    "network": mapping(
        name=one_of(*NETS),
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
        optional=fields_of(Training, epochs=integer(1), batch_size=integer(1)),
        others=None,
    ),
    "measured": mapping(optional={"distilled": STATISTICS, "random": STATISTICS}),
    "provenance": mapping(seed=_SEED),
}
# The decoder, with what a file without one means.
DECODER: dict[str, Any] = {"factor": 1, "formation": "single", "space": "input"}
_OPTIONAL: dict[str, Schema] = {
    "decoder": mapping(
        optional={
            "factor": integer(1),
            "formation": one_of(*KINDS),
            "space": one_of("input", "pixels"),
        },
        others=None,
    )
}
# The arrays; a header of 10,000 classes takes 4 MB.
HEADER = {"header": Member("U", 0, largest=16 * 2**20)}
ARRAYS = {
    "images": Member("f", 5),
    "labels": Member("f", 3, repetitive=True),  # one-hot
    "step_size": Member("f", 0),
    "preprocess/kind": Member("U", 0, largest=1000),
    "preprocess/mean": Member("f", 1),
    "preprocess/std": Member("f", 1, required=False),
    "preprocess/matrix": Member("f", 2, required=False),
    "preprocess/inverse": Member("f", 2, required=False),
}
_REMEDY = "it may be cut off or damaged; copy it again"
_PREFIX = "preprocess/"
# Up to this size a set may be decoded, or its labels be larger, by any factor; IDC's
# largest published factor makes 25 images of one.
_UNSUSPICIOUS, _LARGEST_GROWTH = 256 * 2**20, 32  # bytes, decoded by stored
_FINITE = 1e30  # sums of a few such numbers stay finite in float32
_SMALLEST, _LARGEST = 1e-12, 1e12  # of what preprocessing multiplies by


@dataclass(frozen=True)
class Artifact:
    """A distilled set with its recipe.

    Attributes:
        images: [K, n, H, W, C] float32, as stored: preprocessed, or pixels (`space`).
        labels: [K, n, K] float32 probabilities.
        step_size: learned learning rate of the student, or None.
        preprocess: from pixels to `images`, and back.
        class_names: K names.
        dataset: {"name", "fingerprint", "validation", "split_seed"}: what it was made
            from; the training split is found again by the last two. "channels" and
            "image_size" are there where its images were converted.
        network: {"name", and options of `nets.make_network`}.
        augmentation: of the evaluation's training, a name for `augment.training`.
        training: the evaluation's schedule.
        measured: accuracies in percent on the test split when it was made:
            {"distilled": {"mean", "std", "n"}, "random": {...}}; empty if not measured.
        factor, formation: what a stored image becomes, see `decoders.Formation`.
        space: "input", images are preprocessed, or "pixels".
        provenance: {"config", "seed", "versions", "device", "steps"}.
    """

    images: np.ndarray
    labels: np.ndarray
    step_size: float | None
    preprocess: Preprocess
    class_names: tuple[str, ...]
    dataset: dict[str, Any]
    network: dict[str, Any]
    augmentation: str
    training: Training
    measured: dict[str, Any]
    provenance: dict[str, Any]
    factor: int = 1
    formation: str = "single"
    space: str = "input"

    @property
    def ipc(self) -> int:
        return self.images.shape[1]

    @property
    def label_kind(self) -> str:
        """ "hard" when every label is one-hot, else "soft"."""
        return "hard" if np.isin(self.labels, (0.0, 1.0)).all() else "soft"

    def synthetic(self) -> Synthetic:
        """The set as the library's methods and evaluation take it: decoded."""
        stored = Synthetic(
            jnp.asarray(self.images),
            jnp.asarray(self.labels),
            jnp.float32(self.step_size or 0.0),
        )
        space = self.preprocess.space() if self.space == "pixels" else INPUT
        return decode_stored(stored, Formation(self.factor, self.formation), space)

    def displayable(self) -> np.ndarray:
        """Stored images as pixels, [K, n, H, W, C] float32 clipped to [0, 1]."""
        pixels = self.images
        if self.space == "input":
            pixels = self.preprocess.invert(pixels)
        return np.clip(pixels, 0.0, 1.0)

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the set itself: of all that it is trained on by.

        The same for a copy, and whatever was measured since; another one for other
        images, labels, classes, preprocessing, decoder or step size.
        """
        digest = hashlib.sha256()
        decoder = [self.factor, self.formation, self.space]
        digest.update(json.dumps([*self.class_names, *decoder]).encode())
        step_size = np.nan if self.step_size is None else self.step_size
        arrays: dict[str, Any] = {
            "images": np.asarray(self.images, np.float32),
            "labels": np.asarray(self.labels, np.float32),
            "step_size": np.float32(step_size),
        }
        for name, array in {**arrays, **self.preprocess.to_arrays()}.items():
            array = np.asarray(array)
            digest.update(f"{name}{array.dtype.str}{array.shape}".encode())
            digest.update(array.tobytes())
        return digest.hexdigest()


def save(artifact: Artifact, path: str | Path) -> Path:
    """Write an artifact, all or nothing, and nothing that `load` would refuse.

    Raises:
        UserError: the set cannot be used, or the disk refuses.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(_example(), Path(folder) / "distilled.npz").name
        'distilled.npz'
    """
    path = local_path(path, "the artifact")
    header = {
        "format": FORMAT,
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
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    _check_saveable(arrays)
    with atomic_file(path, "wb") as file:
        np.savez_compressed(file, **arrays)
    return path


def _dumped(header: dict[str, Any]) -> str:
    try:
        return json.dumps(header, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"this set cannot be saved ({reason(error)}): its fields have to be "
            "finite numbers, texts, lists and dicts"
        ) from error


def _check_saveable(arrays: dict[str, np.ndarray]) -> None:
    """Whether the arrays of a file can be read again.

    Raises:
        UserError: they cannot.
    """
    try:
        fields = _fields(arrays["header"])
        for name, member in {**HEADER, **ARRAYS}.items():
            if name in arrays:
                member.check(name, arrays[name].shape, arrays[name].dtype)
        shapes = {name: array.shape for name, array in arrays.items()}
        _agree(shapes, len(fields["class_names"]))
        _artifact(fields, arrays)
    except ValueError as error:  # also UserError
        raise UserError(
            f"this set cannot be saved ({reason(error)}): correct it first"
        ) from error


def load(path: str | Path) -> Artifact:
    """Read and check an artifact. Nothing in the file is executed.

    What is read can also be shown, evaluated and saved again: header and arrays are
    checked as a whole before anything else sees them.

    Example:
        `jaxdd.load("distilled.npz").displayable()` gives images for plotting, and
        `.labels.argmax(-1)` their classes.

    Raises:
        UserError: no such file, a cut or foreign file, a newer format, a missing
            field, a wrong shape, a value that no run writes.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     found = load(save(_example(), Path(folder) / "distilled.npz"))
        >>> found.displayable().shape, found.labels.argmax(-1).tolist()
        ((2, 1, 4, 4, 1), [[0], [1]])
    """
    header = _header(path)
    classes = len(header["class_names"])
    arrays = read_arrays(
        path, ARRAYS, _REMEDY, "the artifact", lambda shapes: _agree(shapes, classes)
    )
    try:
        return _artifact(header, arrays)
    except ValueError as error:  # also UserError
        raise UserError(
            f"the artifact {shown(path)} cannot be used ({reason(error)}): {_REMEDY}"
        ) from error


def _artifact(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> Artifact:
    """The set of a checked header and of arrays that agree with it.

    Raises:
        ValueError: a value is none that a run writes.
    """
    artifact = Artifact(
        images=_checked("images", arrays["images"]),
        labels=_checked_labels(arrays["labels"]),
        step_size=_checked_step_size(arrays["step_size"]),
        preprocess=_preprocess(arrays),
        class_names=tuple(header["class_names"]),
        training=_training(header["training"]),
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
        UserError: it is none, or of a newer format.
    """
    remedy = f"give the path of a distilled.npz; if this is one, {_REMEDY}"
    arrays = read_arrays(path, HEADER, remedy, "the artifact")
    try:
        fields = _fields(arrays["header"])
    except ValueError as error:
        raise UserError(
            f"the header of {shown(path)} is damaged ({reason(error)}): {_REMEDY}"
        ) from error
    if fields["format"] > FORMAT:
        raise UserError(
            f"{shown(path)} has format {fields['format']}, newer than {FORMAT}, the "
            "newest that this version of jaxdd reads: upgrade jaxdd"
        )
    return fields


def _fields(header: np.ndarray) -> dict[str, Any]:
    """The fields of a header; of a newer format only that is known.

    Raises:
        ValueError: it is none.
    """
    # First the format alone: a newer one may have other fields.
    fields = parse(str(header.item()), mapping(format=integer(1, LARGEST_INTEGER)))
    if fields["format"] <= FORMAT:
        mapping(optional=_OPTIONAL, **FIELDS)(fields, "")
    return fields


def _agree(shapes: Shapes, classes: int) -> None:
    """Whether declared shapes fit each other and the number of classes.

    Raises:
        ValueError: they do not.
    """
    images = shapes["images"]
    if images[0] != classes or 0 in images:
        raise ValueError(
            f"images have shape {images}; expected ({classes}, ipc, H, W, C)"
        )
    ipc, height, width, channels = images[1:]
    values = height * width * channels
    expected: dict[str, list[tuple[int, ...]]] = {
        "labels": [(classes, ipc, classes)],
        # Of a whole image where it is whitened.
        "preprocess/mean": [(channels,), (values,)],
        "preprocess/std": [(channels,)],
        "preprocess/matrix": [(values, values)],
        "preprocess/inverse": [(values, values)],
    }
    for name, fitting in expected.items():
        if name in shapes and shapes[name] not in fitting:
            raise ValueError(
                f"{name} has shape {shapes[name]}; expected "
                + " or ".join(map(str, fitting))
            )
    if classes > values and 4 * ipc * classes**2 > _UNSUSPICIOUS:
        raise ValueError(f"its labels for {classes} classes are larger than its images")


def _checked(name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype != np.float32 or not (np.abs(array) <= _FINITE).all():
        raise ValueError(f"{name} are not finite float32 numbers")
    return array


def _checked_labels(array: np.ndarray) -> np.ndarray:
    labels = _checked("labels", array)
    # What is learned is a softmax in float32.
    if labels.min() < 0 or labels.sum(axis=-1).max() > 1.01:
        raise ValueError("labels are not probabilities")
    return labels


def _checked_step_size(array: np.ndarray) -> float | None:
    value = float(array)
    if np.isnan(value):
        return None
    if not abs(value) <= _LARGEST:
        raise ValueError(f"step_size is {value:g}, which is no learning rate")
    return value


def _preprocess(arrays: dict[str, np.ndarray]) -> Preprocess:
    fields = {k[len(_PREFIX) :]: v for k, v in arrays.items() if k.startswith(_PREFIX)}
    kind = fields.pop("kind")
    for name, array in fields.items():
        extent = np.abs(_checked(_PREFIX + name, array))
        if extent.max() > _LARGEST or (name == "std" and array.min() < _SMALLEST):
            raise ValueError(f"{_PREFIX}{name} is no part of a preprocessing")
    return Preprocess.from_arrays({"kind": kind, **fields})


def _training(fields: dict[str, Any]) -> Training:
    """A schedule with the types that it has in a run; a file may say 1 for 1.0."""
    typed: dict[Any, Callable[[Any], Any]] = {float: float, tuple[int, ...]: tuple}
    kinds = {field.name: field.type for field in dataclasses.fields(Training)}
    return Training(
        **{
            name: typed.get(kinds[name], lambda x: x)(value)
            for name, value in fields.items()
        }
    )


def _check_usable(artifact: Artifact) -> None:
    """Whether the artifact can be shown, decoded and evaluated.

    Raises:
        ValueError: it cannot.
    """
    shape = artifact.images.shape[2:]
    if artifact.factor > min(shape[:2]):
        raise ValueError(
            f"its decoder has the factor {artifact.factor}, but its images are "
            f"{shape[0]}x{shape[1]}"
        )
    formation = Formation(artifact.factor, artifact.formation)
    growth = formation.count(artifact.ipc) / artifact.ipc
    decoded = growth * artifact.images.nbytes
    if decoded > _UNSUSPICIOUS and growth > _LARGEST_GROWTH:
        raise ValueError(f"its decoder makes {decoded:.3g} bytes of images")
    options = {k: v for k, v in artifact.network.items() if k != "name"}
    make_network(artifact.network["name"], shape, len(artifact.class_names), **options)
    augment.training(artifact.augmentation)
    seen = artifact.preprocess.invert(artifact.images)
    if artifact.space == "pixels":
        seen = artifact.preprocess.apply(artifact.images)
    if not np.isfinite(seen).all():
        raise ValueError("its preprocessing does not fit the values of its images")


def _example() -> Artifact:
    """Two 4x4 images, for the examples above."""
    shape = (2, 1, 4, 4, 1)
    return Artifact(
        images=np.zeros(shape, np.float32),
        labels=np.eye(2, dtype=np.float32)[:, None],
        step_size=None,
        preprocess=Preprocess(
            "affine", np.full(1, 0.5, np.float32), np.ones(1, np.float32)
        ),
        class_names=("cat", "dog"),
        dataset={"name": "toy", "fingerprint": "", "validation": 0, "split_seed": 0},
        network={"name": "mlp"},
        augmentation="none",
        training=Training(1),
        measured={},
        provenance={"seed": 0},
    )
