"""The artifact: one file with everything that is needed to use a distilled set.

An artifact is an .npz without pickles: arrays, and one JSON header. It includes the
decoder, the preprocessing and its inverse, which turn stored images into training
images.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxdd import augment
from jaxdd.artifact.schema import (
    ARRAYS,
    DECODER,
    FORMAT,
    HEADER,
    LARGEST_GROWTH,
    UNSUSPICIOUS,
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
from jaxdd.data.columns import Column
from jaxdd.data.preprocess import Preprocess
from jaxdd.devices.precision import unspecified
from jaxdd.errors import UserError
from jaxdd.modality import Modality, check_augmentation, check_pixels, modality_of
from jaxdd.nets import make_network
from jaxdd.storage.arrays import read_arrays
from jaxdd.storage.files import atomic_file, make_folder
from jaxdd.storage.paths import local_path, reason, shown
from jaxdd.synthetic.decoder import INPUT, decode_stored
from jaxdd.synthetic.formation import Formation
from jaxdd.synthetic.labels import LABEL_SPACES, probabilities_of
from jaxdd.training.fit import Training
from jaxdd.types import Synthetic

_REMEDY = "it may be cut off or damaged; copy it again"


@dataclass(frozen=True)
class Artifact:
    """A distilled set with everything that is needed to use and to evaluate it.

    Attributes:
        images: [K, n, H, W, C], [K, n, L, C] or [K, n, F] float32, as stored:
            preprocessed, or pixels (`space`).
        labels: [K, n, K] float32 probabilities, or numbers of `label_space`.
        step_size: learned learning rate of the student, or None.
        preprocess: the map from pixels to network inputs, and back.
        class_names: K names.
        dataset: the distilled data, {"name", "fingerprint", "validation",
            "split_seed"}; the last two determine the training split. What
            `problem.FORM` lists is present where it was given; of a table, "columns"
            has {"name", "levels"} of each; "subset" says which training samples there
            were, where not all (`data.subsets.Subset.record`).
        network: {"name", and options of `nets.make_network`} of the evaluation.
        augmentation: augmentation of the evaluation, a name for `augment.training`.
        training: schedule of the evaluation.
        measured: accuracies in percent on the test split at the time of distillation:
            {"distilled": {"mean", "std", "n"}, "random": {...}}; empty if not measured.
        factor, formation: the training images in a stored image, see
            `formation.Formation`.
        space: "input" if images are preprocessed, or "pixels".
        label_space: what labels are, a name in `synthetic.labels.LABEL_SPACES`.
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
    label_space: str = "probabilities"

    @property
    def precision(self) -> str:
        """Of the products in networks when the set was made and measured."""
        config = self.provenance.get("config")
        named = config.get("precision") if isinstance(config, dict) else None
        return named or unspecified()

    @property
    def ipc(self) -> int:
        return self.images.shape[1]

    @property
    def label_kind(self) -> str:
        """ "hard" when every label is one-hot, else "soft"; or another space."""
        if self.label_space != "probabilities":
            return self.label_space
        return "hard" if np.isin(self.labels, (0.0, 1.0)).all() else "soft"

    def probabilities(self) -> np.ndarray:
        """The labels as probabilities, [K, n, K] float32."""
        return np.asarray(probabilities_of(jnp.asarray(self.labels), self.label_space))

    def synthetic(self) -> Synthetic:
        """The set as the library's methods and evaluation take it: decoded."""
        stored = Synthetic(
            jnp.asarray(self.images),
            jnp.asarray(self.labels),
            jnp.float32(self.step_size or 0.0),
        )
        space = self.preprocess.space() if self.space == "pixels" else INPUT
        return decode_stored(stored, Formation(self.factor, self.formation), space)

    def first(self, ipc: int) -> "Artifact":
        """The first images of every class alone, not measured yet.

        A set that was distilled with `--segment_rule=boost` is one for every number of
        images that its segments end at.

        Args:
            ipc: stored images per class that are kept.

        Raises:
            UserError: there are not so many.

        Example:
            >>> import dataclasses
            >>> one = _example()
            >>> images, labels = (np.repeat(x, 2, 1) for x in (one.images, one.labels))
            >>> two = dataclasses.replace(one, images=images, labels=labels)
            >>> two.first(1).images.shape, two.ipc
            ((2, 1, 4, 4, 1), 2)
        """
        if not 1 <= ipc <= self.ipc:
            raise UserError(
                f"the first {ipc} images per class cannot be taken of a set that has "
                f"{self.ipc}: choose 1 to {self.ipc}"
            )
        places = np.broadcast_to(np.arange(ipc), (len(self.images), ipc))
        return self.keep(places)

    def keep(self, places: np.ndarray) -> "Artifact":
        """Some images of every class, in another order, not measured yet.

        Args:
            places: [K, m] int, of the stored images of each class.

        Raises:
            UserError: there are no such images.

        Example:
            >>> _example().keep(np.zeros((2, 1), int)).ipc
            1
        """
        places = np.asarray(places)
        is_place = places.ndim == 2 and places.size and places.dtype.kind in "iu"
        if not is_place or len(places) != len(self.images):
            raise UserError(
                f"images are kept by a table of places, one row for each of the "
                f"{len(self.images)} classes"
            )
        if places.min() < 0 or places.max() >= self.ipc:
            raise UserError(
                f"the places of the {self.ipc} images of a class are 0 to "
                f"{self.ipc - 1}, not {places.min()} to {places.max()}"
            )
        rows = np.arange(len(places))[:, None]
        images, labels = self.images[rows, places], self.labels[rows, places]
        return replace(self, images=images, labels=labels, measured={})

    def displayable(self) -> np.ndarray:
        """Stored images as pixels, [K, n, H, W, C] float32 clipped to [0, 1].

        Sequences and vectors are in the units of their data, and not clipped.
        """
        pixels = self.images
        if self.space == "input":
            pixels = self.preprocess.invert(pixels)
        return np.clip(pixels, 0.0, 1.0) if self.modality.pixels else pixels

    @property
    def modality(self) -> Modality:
        """What its samples are."""
        return modality_of(self.images.shape[2:])

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of the table that it was made from; () elsewhere."""
        stored = self.dataset.get("columns", ())
        return tuple(Column(x["name"], tuple(x["levels"])) for x in stored)

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the set itself: of all that it is trained on by.

        The same for a copy, and whatever was measured since; another one for other
        images, labels, classes, preprocessing, decoder or step size.
        """
        digest = hashlib.sha256()
        decoder = [self.factor, self.formation, self.space]
        if self.label_space != "probabilities":
            decoder.append(self.label_space)
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
    """Write an artifact atomically, unless `load` would refuse it.

    Args:
        artifact: the set.
        path: the file, usually `distilled.npz`; folders above it are made.

    Returns:
        The path.

    Raises:
        UserError: `load` would refuse the set, or the disk refuses.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(_example(), Path(folder) / "distilled.npz").name
        'distilled.npz'
    """
    path = local_path(path, "the artifact")
    arrays = contents(artifact)
    make_folder(path.parent, "path for the artifact")
    with atomic_file(path, "wb") as file:
        np.savez_compressed(file, **arrays)
    return path


def contents(artifact: Artifact) -> dict[str, Any]:
    """The arrays of an artifact's file by name, the JSON header among them.

    Raises:
        UserError: `load` would refuse the set.

    Example:
        >>> sorted(contents(_example()))[:3]
        ['header', 'images', 'labels']
    """
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
    try:
        from_contents(arrays)
    except ValueError as error:  # also UserError
        raise UserError(
            f"this set cannot be saved ({reason(error)}): correct it first"
        ) from error
    return arrays


def from_contents(arrays: dict[str, np.ndarray]) -> Artifact:
    """The inverse of `contents`, for arrays that another container held.

    Raises:
        ValueError: an array is missing or is none that a run writes; also as
            UserError.

    Example:
        >>> from_contents(contents(_example())).digest == _example().digest
        True
    """
    for name, member in {**HEADER, **ARRAYS}.items():
        if name in arrays:
            member.check(name, arrays[name].shape, arrays[name].dtype)
        elif member.required:
            raise ValueError(f"it has no array {name!r}")
    fields = header_fields(arrays["header"])
    if fields["format"] > FORMAT:
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
    remedy = f"give the path of a distilled.npz; if this is one, {_REMEDY}"
    arrays = read_arrays(path, HEADER, remedy, "the artifact")
    try:
        fields = header_fields(arrays["header"])
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
    growth = formation.count(artifact.ipc) / artifact.ipc
    decoded = growth * artifact.images.nbytes
    if decoded > UNSUSPICIOUS and growth > LARGEST_GROWTH:
        raise ValueError(f"its decoder makes {decoded:.3g} bytes of images")
    options = {k: v for k, v in artifact.network.items() if k != "name"}
    make_network(artifact.network["name"], shape, len(artifact.class_names), **options)
    augment.training(artifact.augmentation)
    check_augmentation(artifact.augmentation, shape)
    converted = artifact.preprocess.invert(artifact.images)
    if artifact.space == "pixels":
        converted = artifact.preprocess.apply(artifact.images)
    if not np.isfinite(converted).all():
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
