"""The one-file result: all that is needed to use a distilled set rightly years later.

An artifact is an .npz without pickles: arrays, and one JSON header. What turns stored
images into training images travels with them: decoder, preprocessing and its inverse.
"""

import dataclasses
import hashlib
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxdd.data.preprocess import Preprocess
from jaxdd.decoders import INPUT, Formation, decode_stored
from jaxdd.errors import UserError
from jaxdd.train import Training
from jaxdd.types import Synthetic
from jaxdd.workdir import atomic_file

FORMAT = 2  # 1 had no decoder
HEADER = {
    "format": int,
    "class_names": list,
    "dataset": dict,
    "labels": str,
    "network": dict,
    "augmentation": str,
    "training": dict,
    "measured": dict,
    "provenance": dict,
}
NESTED = {  # what has to be in the dictionaries of the header
    "dataset": ("name", "fingerprint", "validation", "split_seed"),
    "network": ("name",),
    "training": ("epochs", "decay_epochs"),
    "provenance": ("seed",),
}
# The decoder, with what a file without one means.
DECODER: dict[str, Any] = {"factor": 1, "formation": "single", "space": "input"}
ARRAYS = ("images", "labels", "step_size")


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
            from; the training split is found again by the last two.
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
    """Write an artifact, all or nothing.

    Raises:
        UserError: the disk refuses.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(_example(), Path(folder) / "distilled.npz").name
        'distilled.npz'
    """
    path = Path(path)
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
        "header": np.array(json.dumps(header, allow_nan=False)),
        "images": np.asarray(artifact.images, np.float32),
        "labels": np.asarray(artifact.labels, np.float32),
        "step_size": np.float32(step_size),
        **{f"preprocess/{k}": v for k, v in artifact.preprocess.to_arrays().items()},
    }
    with atomic_file(path, "wb") as file:
        np.savez_compressed(file, **arrays)
    return path


def load(path: str | Path) -> Artifact:
    """Read and check an artifact. Nothing in the file is executed.

    Example:
        `jaxdd.load("distilled.npz").displayable()` gives images for plotting, and
        `.labels.argmax(-1)` their classes.

    Raises:
        UserError: no such file, a cut or foreign file, a newer format, a missing
            field, a wrong shape.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     found = load(save(_example(), Path(folder) / "distilled.npz"))
        >>> found.displayable().shape, found.labels.argmax(-1).tolist()
        ((2, 1, 4, 4, 1), [[0], [1]])
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no artifact at {path}: give the path of a distilled.npz")
    arrays = _read(path)
    header = _header(path, arrays)
    _check_arrays(path, arrays, header)
    prefix = "preprocess/"
    fields = {k[len(prefix) :]: v for k, v in arrays.items() if k.startswith(prefix)}
    try:
        preprocess = Preprocess.from_arrays(fields)
        if preprocess.invert(arrays["images"]).shape != arrays["images"].shape:
            raise UserError("its preprocessing does not fit the shape of its images")
        decoder = _decoder(header.get("decoder", {}))
        training = Training(
            **{
                **header["training"],
                "decay_epochs": tuple(header["training"]["decay_epochs"]),
            }
        )
    except (ValueError, KeyError, TypeError) as error:  # UserError is a ValueError
        raise UserError(f"the artifact {path} is damaged: {error}") from error
    step_size = float(arrays["step_size"])
    return Artifact(
        images=arrays["images"],
        labels=arrays["labels"],
        step_size=None if np.isnan(step_size) else step_size,
        preprocess=preprocess,
        class_names=tuple(header["class_names"]),
        training=training,
        **decoder,
        **{
            k: header[k]
            for k in ("dataset", "network", "augmentation", "measured", "provenance")
        },
    )


def _read(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an .npz file."""
    try:
        # An .npz is a zip archive; NumPy would take other files for pickles.
        if not zipfile.is_zipfile(path):
            raise zipfile.BadZipFile("it is no .npz archive")
        with np.load(path, allow_pickle=False) as file:
            return {name: np.asarray(file[name]) for name in file.files}
    except Exception as error:  # a damaged zip archive can raise almost anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{path} is not a readable artifact ({reason}): it may be cut off or "
            "damaged; copy it again"
        ) from error


def _header(path: Path, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    if "header" not in arrays:
        raise UserError(f"{path} has no field 'header': it is not a jaxdd artifact")
    try:
        header = dict(json.loads(str(arrays["header"])))
    except (ValueError, TypeError) as error:
        raise UserError(f"the header of {path} is damaged ({error})") from error
    for name, kind in HEADER.items():
        if name not in header:
            raise UserError(f"the header of {path} lacks the field {name!r}")
        if not isinstance(header[name], kind):
            raise UserError(
                f"the field {name!r} in the header of {path} is {header[name]!r}, "
                f"not of type {kind.__name__}"
            )
        if name == "format" and header[name] > FORMAT:  # the first that is looked at
            raise UserError(
                f"{path} has format {header[name]}, newer than {FORMAT}, the newest "
                "that this version of jaxdd reads: upgrade jaxdd"
            )
    for name, fields in NESTED.items():
        lacking = [f for f in fields if f not in header[name]]
        if lacking:
            raise UserError(f"{name!r} in the header of {path} lacks {lacking[0]!r}")
    return header


def _decoder(found: Any) -> dict[str, Any]:
    """The decoder's fields, checked.

    Raises:
        TypeError, ValueError: they make none.
    """
    decoder = {**DECODER, **dict(found)}
    known = set(decoder) == set(DECODER)
    kinds = all(type(decoder[k]) is type(usual) for k, usual in DECODER.items())
    if not (known and kinds and decoder["space"] in ("input", "pixels")):
        raise ValueError(f"its decoder {found} is not one this version knows")
    Formation(decoder["factor"], decoder["formation"])
    return decoder


def _check_arrays(
    path: Path, arrays: dict[str, np.ndarray], header: dict[str, Any]
) -> None:
    for name in ARRAYS:
        if name not in arrays:
            raise UserError(f"the artifact {path} lacks the array {name!r}")
    images, labels = arrays["images"], arrays["labels"]
    classes = len(header["class_names"])
    if images.ndim != 5 or images.shape[0] != classes:
        raise UserError(
            f"images in {path} have shape {images.shape}; expected "
            f"({classes}, ipc, H, W, C)"
        )
    if labels.shape != (classes, images.shape[1], classes):
        raise UserError(
            f"labels in {path} have shape {labels.shape}; expected "
            f"{(classes, images.shape[1], classes)}"
        )
    for name, x in (("images", images), ("labels", labels)):
        if x.dtype != np.float32 or not np.isfinite(x).all():
            raise UserError(f"{name} in {path} are not finite float32 numbers")
    if arrays["step_size"].shape != ():
        raise UserError(
            f"step_size in {path} has shape {arrays['step_size'].shape}; expected ()"
        )


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
