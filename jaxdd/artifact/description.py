"""The content of an export: pixels, and everything that pictures cannot hold."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxdd.artifact.artifact import Artifact
from jaxdd.data.preprocess import GREY, Preprocess
from jaxdd.data.unfitted import Unfitted
from jaxdd.synthetic.formation import Formation, form, form_labels

MARK, ARRAYS = "export.json", "arrays.npz"
KIND = "jaxdd export"


def training_pixels(artifact: Artifact) -> tuple[np.ndarray, np.ndarray]:
    """The training images of a network as pixels, and their labels.

    Returns:
        [K, n', H, W, C] float32 on the [0, 1] scale, not clipped, and the labels
        [K, n', K] float32.

    Raises:
        UserError: the decoder does not fit the images; or the set is slim and its
            inputs are cut into tiles, which only a fitted whitening turns into pixels.
    """
    formation = Formation(artifact.factor, artifact.formation)
    in_pixels = artifact.space == "pixels"
    grey = GREY if in_pixels else 0.0
    images = np.asarray(form(jnp.asarray(artifact.images), formation, grey))
    labels = np.asarray(form_labels(jnp.asarray(artifact.labels), formation))
    if in_pixels:
        return images, labels
    if artifact.is_slim and formation.factor == 1:
        return artifact.displayable(), labels
    return artifact.fitted.invert(images), labels


def description(
    artifact: Artifact, pixels: np.ndarray, names: list[str], files: list[str]
) -> dict[str, Any]:
    """The content of `export.json`."""
    per_class = pixels.shape[1]
    images = [
        {"file": file, "class": i // per_class, "row": i}
        for i, file in enumerate(files)
    ]
    return {
        "kind": KIND,
        "notes": _notes(artifact, pixels),
        "class_names": list(artifact.class_names),
        "folders": names,
        "labels": artifact.label_kind,
        "step_size": artifact.step_size,
        "decoder": {
            "factor": artifact.factor,
            "formation": artifact.formation,
            "space": artifact.space,
            "stored_per_class": artifact.ipc,
            "images_per_class": per_class,
        },
        "preprocessing": _preprocessing(artifact.preprocess),
        "network": artifact.network,
        "augmentation": artifact.augmentation,
        "training": dataclasses.asdict(artifact.training),
        "dataset": artifact.dataset,
        "measured": artifact.measured,
        "images": images,
    }


def _preprocessing(preprocess: Preprocess | Unfitted) -> dict[str, Any]:
    if isinstance(preprocess, Preprocess) and preprocess.kind == "affine":
        formula = "(pixels / 255 - mean) / std, channel by channel"
        numbers = {k: getattr(preprocess, k).tolist() for k in ("mean", "std")}
    else:
        of = "images" if preprocess.kind == "zca" else "square blocks of images"
        formula = f"(pixels / 255 - mean) @ matrix, on flattened {of}"
        numbers = {}
    if isinstance(preprocess, Unfitted):
        formula += (
            f"; the matrix is U diag(1 / sqrt(s + {preprocess.eps:g})) U' of the "
            "covariance U diag(s) U' of the training data, and left out here"
        )
    return {"kind": preprocess.kind, "formula": formula, "arrays": ARRAYS, **numbers}


def _notes(artifact: Artifact, pixels: np.ndarray) -> list[str]:
    """Sentences about the pictures and what they lack."""
    clipped = np.clip(pixels, 0, 1)
    outside = 100 * float(np.mean(pixels != clipped))
    rounded = np.round(clipped * 255) / 255
    notes = [
        "The pictures are the images that a network is trained on, before the "
        "preprocessing.",
        f"Their pixels are rounded to 8 bits and cut to the range of pixels; "
        f"{outside:.2g} % of the set's values lie outside it, and the largest "
        f"difference is {255 * float(np.abs(pixels - rounded).max()):.3g} of 255 "
        "levels. Only the artifact (distilled.npz) gives the measured accuracy.",
    ]
    if pixels.shape[1] != artifact.ipc:
        notes.append(
            f"They are cut out of {artifact.ipc} stored images per class by the "
            "decoder and scaled up; the stored images are in the artifact."
        )
    if artifact.label_kind != "hard":
        notes.append(
            f"The labels are {artifact.label_kind}, and folders only name the class "
            f"for which an image was made: row `row` of `labels` in {ARRAYS} belongs "
            "to an image."
        )
    if artifact.step_size is not None:
        notes.append(
            f"The set was learned together with the learning rate "
            f"{artifact.step_size:g} of the networks that are trained on it."
        )
    if pixels.shape[1] < 2:
        notes.append(
            "There is one image per class, too few for --dataset=folder: to hold a "
            "test split out of this folder."
        )
    notes.append(
        "To train on all of the pictures, make this folder the `train` of a folder "
        "DATA, put real images in DATA/test, one sub-folder per class of the same "
        "name, and give --dataset=folder:DATA --validation=0."
    )
    return notes
