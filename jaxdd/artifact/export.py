"""A distilled set as pictures, beside a file that says what they are and lack.

An export is a folder of its own: `<class>/<index>.png`, the images that train;
`arrays.npz`, their labels and the preprocessing, exactly; `export.json`, everything
else. That last file also marks the folder as an export, which a later one may replace.
"""

import dataclasses
import os
import re
import shutil
import unicodedata
import zlib
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from PIL import Image

from jaxdd.artifact.file import Artifact
from jaxdd.data.preprocess import Preprocess
from jaxdd.devices import hosts
from jaxdd.errors import UserError
from jaxdd.storage.files import abandoned, remove_abandoned, temporary_sibling, to_json
from jaxdd.storage.paths import local_path, reason, shown
from jaxdd.storage.records import list_of, mapping, one_of, read_json, text
from jaxdd.synthetic.formation import Formation, form, form_labels

MARK, ARRAYS = "export.json", "arrays.npz"
KIND = "jaxdd export"
_MARKED = mapping(kind=one_of(KIND), images=list_of(mapping(file=text())))
_PICTURE = re.compile(r"[^/]+/[0-9]{4,}\.png")
# What viewers of pictures leave behind is nobody's work.
_LEFT_BY_VIEWERS = {".DS_Store", "Thumbs.db", "desktop.ini"}
_CHANNELS = (1, 2, 3, 4)  # grey, with alpha, RGB, with alpha
_RESERVED = {"con", "prn", "aux", "nul"} | {
    f"{port}{number}" for port in ("com", "lpt") for number in range(10)
}
# Sub-folders that readers of image folders take for something else than a class.
_NO_CLASS = {"train", "test", "val", "valid", "validation", "__macosx"}
_LONGEST_FOLDER = 100  # bytes; a file system takes 255, with room for a number
_FORBIDDEN = set('/\\<>:"|?*')  # somewhere


def export_pngs(artifact: Artifact, folder: str | Path) -> list[Path]:
    """Write the images that train as PNGs, with labels and all else beside them.

    These are the decoded images: with IDC's factor f, f x f for each stored one. The
    folder holds

    * `<class>/<index>.png`, 8 bits, in the size that a network sees. Folders sort in
      the order of the classes and are called after them where file systems allow it;
    * `arrays.npz`: `labels` [N, K] float32 in the order of `images` in the JSON file,
      and the arrays of the preprocessing;
    * `export.json`: class names, files, step size, decoder, preprocessing, network and
      training of the evaluation, and what 8-bit pictures cannot say.

    With hard labels the set can be trained on again from its pictures, up to their
    rounding: `--dataset=folder:PATH` reads the folder, holds a fifth out for testing
    and needs at least two images per class for that. To train on all of them, and with
    one image per class, export to DATA/train, put real images in DATA/test and give
    `--dataset=folder:DATA --validation=0`. Soft labels are in `arrays.npz` only.

    An empty folder or an earlier export is replaced as a whole, once all is written.

    Args:
        artifact: the set.
        folder: a new or empty one, or one that holds an earlier export and nothing
            else.

    Returns:
        The paths of the pictures, class by class.

    Raises:
        UserError: see `check_export`; the folder cannot be written. What was there
            before is there still.

    Example:
        >>> import tempfile
        >>> from jaxdd.artifact import _example
        >>> with tempfile.TemporaryDirectory() as temporary:
        ...     folder = Path(temporary) / "pictures"
        ...     paths = export_pngs(_example(), folder)
        ...     names = [p.relative_to(folder.resolve()).as_posix() for p in paths]
        >>> names
        ['cat/0000.png', 'dog/0000.png']
    """
    target = check_export(artifact, folder)
    if hosts.primary() and _recover(target):
        check_export(artifact, folder)
    pixels, labels = training_pixels(artifact)
    names = folder_names(artifact.class_names)
    files = [f"{name}/{i:04d}.png" for name in names for i in range(pixels.shape[1])]
    hosts.meet()
    if hosts.primary():
        part = temporary_sibling(target)
        try:
            part.mkdir(parents=True)
            _write(artifact, part, pixels, labels, names, files)
            _replace(target, part)
        except (OSError, UnicodeError) as error:
            raise UserError(
                f"cannot write PNGs to {shown(target)}: {reason(error)}; free the disk "
                "or choose another folder"
            ) from error
        finally:
            shutil.rmtree(part, ignore_errors=True)
    hosts.meet()
    return [target / file for file in files]


def check_export(artifact: Artifact, folder: str | Path) -> Path:
    """Whether `export_pngs` could begin; writes nothing.

    Returns:
        The folder, absolute.

    Raises:
        UserError: the images have a number of channels that no PNG has, the decoder
            does not fit them, or the folder is the current one or holds files that no
            export wrote.
    """
    channels = artifact.images.shape[-1]
    if channels not in _CHANNELS:
        raise UserError(
            f"images of {channels} channels cannot be exported, since PNGs have 1 to "
            f"{_CHANNELS[-1]}: use the arrays of the artifact"
        )
    Formation(artifact.factor, artifact.formation).check(*artifact.images.shape[2:4])
    place = local_path(folder, "--export")
    try:
        target = place.resolve()
        if not target.exists():
            return target
        if not target.is_dir():
            raise UserError(
                f"cannot write PNGs to {shown(place)}, which is not a folder: choose "
                "another one"
            )
        if target == Path.cwd() or target.is_mount():
            raise UserError(
                f"an export replaces its folder as a whole, and {shown(place)} is the "
                "current folder or a mounted one: choose a folder inside it"
            )
        strange = _strangers(target)
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        raise UserError(
            f"cannot write PNGs to {shown(place)}: {reason(error)}; choose another "
            "folder"
        ) from error
    if strange:
        raise UserError(
            f"{shown(place)} holds {shown(strange[0])}, which no export wrote: choose "
            "a new or empty folder"
        )
    return target


def training_pixels(artifact: Artifact) -> tuple[np.ndarray, np.ndarray]:
    """What a network is trained on, as pixels.

    Returns:
        [K, n', H, W, C] float32 on the [0, 1] scale, not clipped, and the labels
        [K, n', K] float32.

    Raises:
        UserError: the decoder does not fit the images.
    """
    formation = Formation(artifact.factor, artifact.formation)
    in_pixels = artifact.space == "pixels"
    grey = artifact.preprocess.space().grey if in_pixels else 0.0
    images = np.asarray(form(jnp.asarray(artifact.images), formation, grey))
    labels = np.asarray(form_labels(jnp.asarray(artifact.labels), formation))
    return images if in_pixels else artifact.preprocess.invert(images), labels


def folder_names(class_names: tuple[str, ...]) -> list[str]:
    """One folder per class, whatever the classes are called.

    The names of the classes where each of them is a good name on every usual system,
    they differ in more than case, and they sort as the classes do; else numbered.

    Example:
        >>> folder_names(("cat", "dog")), folder_names(("9", "10"))
        (['cat', 'dog'], ['00000_9', '00001_10'])
    """
    names = [_safe_name(name) for name in class_names]
    folded = [unicodedata.normalize("NFKC", name).casefold() for name in names]
    distinct = len(set(folded)) == len(names)
    if distinct and names == sorted(names) and not _NO_CLASS & set(folded):
        return names
    digits = max(5, len(str(len(names) - 1)))
    return [f"{k:0{digits}d}_{name}" for k, name in enumerate(names)]


def _safe_name(name: str) -> str:
    """A class name as the name of a folder."""
    composed = unicodedata.normalize("NFC", name)
    safe = "".join(
        c if c.isprintable() and c not in _FORBIDDEN else "_" for c in composed
    )
    safe = safe.encode()[:_LONGEST_FOLDER].decode(errors="ignore")
    safe = safe.lstrip(".@ ").rstrip(". ") or "_"
    return f"_{safe}" if safe.split(".")[0].rstrip().lower() in _RESERVED else safe


def _write(
    artifact: Artifact,
    folder: Path,
    pixels: np.ndarray,
    labels: np.ndarray,
    names: list[str],
    files: list[str],
) -> None:
    """The whole export, in a folder that nobody else knows."""
    levels = np.round(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
    for name in names:
        (folder / name).mkdir()
    flat = levels.reshape(-1, *levels.shape[2:])
    for file, image in zip(files, flat, strict=True):
        squeezed = image[..., 0] if image.shape[-1] == 1 else image
        Image.fromarray(squeezed).save(folder / file)
    preprocess = artifact.preprocess.to_arrays()
    arrays: dict[str, Any] = {
        "labels": labels.reshape(-1, labels.shape[-1]),
        **{f"preprocess/{name}": array for name, array in preprocess.items()},
    }
    np.savez_compressed(folder / ARRAYS, **arrays)
    content = _description(artifact, pixels, names, files)
    (folder / MARK).write_text(to_json(content))


def _description(
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


def _preprocessing(preprocess: Preprocess) -> dict[str, Any]:
    if preprocess.kind == "affine":
        formula = "(pixels / 255 - mean) / std, channel by channel"
        numbers = {k: getattr(preprocess, k).tolist() for k in ("mean", "std")}
    else:
        formula = "(pixels / 255 - mean) @ matrix, on flattened images"
        numbers = {}
    return {"kind": preprocess.kind, "formula": formula, "arrays": ARRAYS, **numbers}


def _notes(artifact: Artifact, pixels: np.ndarray) -> list[str]:
    """What the pictures are, and what they lack, in sentences."""
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
    if artifact.label_kind == "soft":
        notes.append(
            f"The labels are soft, and folders only say which class an image was made "
            f"for: row `row` of `labels` in {ARRAYS} belongs to an image."
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


def _strangers(folder: Path) -> list[str]:
    """What lies in a folder and is not part of an earlier export, sorted.

    Raises:
        UserError: the mark of an earlier export is damaged.
        OSError: the folder cannot be read.
    """
    files: set[str] = set()
    mark = folder / MARK
    if mark.is_file() and not mark.is_symlink():
        remedy = "choose another folder for the export"
        images = read_json(mark, _MARKED, remedy)["images"]
        files = {x["file"] for x in images if _PICTURE.fullmatch(x["file"])}
    folders = {file.split("/")[0] for file in files}
    if files:
        files |= {MARK, ARRAYS}
    strange = []
    for place in _entries(folder):
        relative = place.relative_to(folder).as_posix()
        if place.is_dir() and not place.is_symlink():
            ours = relative in folders
        else:
            ours = relative in files and not place.is_symlink()
            ours |= place.name in _LEFT_BY_VIEWERS
        if not ours:
            strange.append(relative)
    return sorted(strange)


def _entries(folder: Path) -> list[Path]:
    """All files and folders below; links are not followed.

    Raises:
        OSError: one of the folders cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise error

    walk = os.walk(folder, onerror=refuse)
    return [Path(root, name) for root, dirs, files in walk for name in (*dirs, *files)]


def _older(target: Path) -> str:
    """What the export that is being replaced is called meanwhile."""
    return f"older-{zlib.crc32(os.fsencode(target.name)):08x}"


def _recover(target: Path) -> bool:
    """Clear up after exports that were killed; whether an older one was put back.

    Raises:
        UserError: the disk refuses.
    """
    remove_abandoned(target.parent)
    older = abandoned(target.parent, _older(target))
    recovered = False
    try:
        if older and not target.exists():
            older.pop().rename(target)
            recovered = True
    except OSError as error:
        raise UserError(
            f"cannot put the earlier export back to {shown(target)}: {reason(error)}; "
            "choose another folder"
        ) from error
    for replaced in older:
        shutil.rmtree(replaced, ignore_errors=True)
    return recovered


def _replace(target: Path, part: Path) -> None:
    """Put a finished folder where nothing, an empty folder or an older export is.

    Two renames: who is stopped between them leaves the older one beside, hidden, and
    `_recover` puts it back.
    """
    if not target.exists():
        part.rename(target)
        return
    older = temporary_sibling(target, _older(target))
    target.rename(older)
    try:
        part.rename(target)
    except OSError:
        older.rename(target)
        raise
    shutil.rmtree(older, ignore_errors=True)
