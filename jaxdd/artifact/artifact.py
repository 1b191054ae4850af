"""A distilled set with everything that is needed to use it, and its views.

It includes the decoder, the preprocessing and its inverse, which turn stored images
into training images.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxdd import report
from jaxdd.data.columns import Column
from jaxdd.data.preprocess import Preprocess
from jaxdd.data.unfitted import Unfitted
from jaxdd.devices.precision import unspecified
from jaxdd.errors import UserError
from jaxdd.modality import Modality, modality_of
from jaxdd.report import notebook
from jaxdd.report.page import escaped
from jaxdd.report.pictures import draw
from jaxdd.synthetic.decoder import INPUT, decode_stored
from jaxdd.synthetic.formation import Formation
from jaxdd.synthetic.labels import probabilities_of
from jaxdd.training.fit import Training
from jaxdd.types import Synthetic


@dataclass(frozen=True)
class Artifact:
    """A distilled set with everything that is needed to use and to evaluate it.

    Attributes:
        images: [K, n, H, W, C], [K, n, L, C] or [K, n, F] float32, as stored:
            preprocessed, or pixels (`space`).
        labels: [K, n, K] float32 probabilities, or numbers of `label_space`.
        step_size: learned learning rate of the student, or None.
        preprocess: the map from pixels to network inputs, and back; of a slim set what
            it is fitted again by, see `slim`.
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
        levels: [K, n, H, W, C] uint8, the pixels of a slim set whose stored images are
            preprocessed; None for others.
    """

    images: np.ndarray
    labels: np.ndarray
    step_size: float | None
    preprocess: Preprocess | Unfitted
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
    levels: np.ndarray | None = None

    @property
    def is_slim(self) -> bool:
        """Whether its whitening is known, and not fitted."""
        return isinstance(self.preprocess, Unfitted)

    @property
    def fitted(self) -> Preprocess:
        """The map from pixels to network inputs, and back.

        Raises:
            UserError: the set is slim.
        """
        if isinstance(self.preprocess, Unfitted):
            self.preprocess.refuse()
        return self.preprocess

    @property
    def precision(self) -> str:
        """Of the products in networks when the set was made and measured."""
        config = self.provenance.get("config")
        named = config.get("precision") if isinstance(config, dict) else None
        return named or unspecified()

    def __repr__(self) -> str:
        """Its size: the arrays of a set are no text."""
        classes, ipc, *shape = self.images.shape
        return (
            f"Artifact({classes} classes, {ipc} per class, of shape {tuple(shape)}, "
            f"{self.label_kind} labels)"
        )

    def _repr_html_(self) -> str:
        grid = draw(report.grid_png, self.displayable(), self.class_names)
        return (
            notebook.picture(grid, "the distilled images, one row per class")
            + f"<p>{escaped(repr(self))}</p>"
        )

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
        space = self.fitted.space() if self.space == "pixels" else INPUT
        return decode_stored(stored, Formation(self.factor, self.formation), space)

    def first(self, ipc: int) -> "Artifact":
        """The first images of every class alone, without measured accuracies.

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
        """Some images of every class, in another order, without measured accuracies.

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
        kept = replace(self, images=images, labels=labels, measured={})
        if self.levels is None:
            return kept
        return replace(kept, levels=self.levels[rows, places])

    def displayable(self) -> np.ndarray:
        """Stored images as pixels, [K, n, H, W, C] float32 clipped to [0, 1].

        Sequences and vectors are in the units of their data, and not clipped. The
        pixels of a slim set are rounded to 8 bits.

        Raises:
            UserError: the preprocessing does not fit the images.
        """
        if self.levels is not None:
            return self.levels.astype(np.float32) / np.float32(255)
        pixels = self.images
        if self.space == "input":
            pixels = self.fitted.invert(pixels)
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
        images, labels, classes, preprocessing, decoder or step size. A slim set has
        that of the whole one once its whitening is fitted again, if that gives the same
        bits.
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


def is_finite(artifact: Artifact) -> bool:
    """Whether a whole set's images can be mapped between pixels and inputs.

    Example:
        >>> from jaxdd.artifact.artifact import _example
        >>> is_finite(_example())
        True
    """
    converted = artifact.fitted.invert(artifact.images)
    if artifact.space == "pixels":
        converted = artifact.fitted.apply(artifact.images)
    return bool(np.isfinite(converted).all())


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
