"""A distilled set as PNGs, with a description of everything that PNGs cannot hold.

An export is a folder of its own: `<class>/<index>.png`, the training images;
`arrays.npz`, their labels and the preprocessing, exactly; `export.json`, everything
else. The last file also marks the folder as an export, which a later one may replace.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jaxdd.artifact.artifact import Artifact
from jaxdd.artifact.class_folders import folder_names
from jaxdd.artifact.description import ARRAYS, MARK, description, training_pixels
from jaxdd.artifact.replacing import recover, replace, strangers
from jaxdd.devices import hosts
from jaxdd.errors import UserError
from jaxdd.modality import check_pixels
from jaxdd.storage.files import refuse_unwritable, temporary_sibling, to_json
from jaxdd.storage.paths import local_path, reason, shown
from jaxdd.synthetic.formation import Formation

_CHANNELS = (1, 2, 3, 4)  # grey, with alpha, RGB, with alpha


def export_pngs(artifact: Artifact, folder: str | Path) -> list[Path]:
    """Write the training images as PNGs, with their labels and a description.

    These are the decoded images: with IDC's factor f, f x f for each stored image. The
    folder holds

    * `<class>/<index>.png`, 8 bits, in the size of the network's input. Folders sort
      in the order of the classes and have their names if file systems allow it;
    * `arrays.npz`: `labels` [N, K] float32 in the order of `images` in the JSON file,
      and the arrays of the preprocessing;
    * `export.json`: class names, files, step size, decoder, preprocessing, network and
      training of the evaluation, and the differences between pictures and images.

    With hard labels the set can be trained on again from its pictures, up to their
    rounding: `--dataset=folder:PATH` reads the folder and holds out a fifth for
    testing, which needs at least two images per class. To train on all of them, and
    with one image per class, export to DATA/train, put real images in DATA/test and
    give `--dataset=folder:DATA --validation=0`. Soft labels are in `arrays.npz` only.

    An empty folder or an earlier export is replaced as a whole after everything has
    been written.

    Args:
        artifact: the set.
        folder: a folder that is new, empty, or has an earlier export and nothing else.

    Returns:
        The paths of the pictures, class by class.

    Raises:
        UserError: `check_export` refuses, or the folder cannot be written; its content
            is unchanged then.

    Example:
        >>> import tempfile
        >>> from jaxdd.artifact.artifact import _example
        >>> with tempfile.TemporaryDirectory() as temporary:
        ...     folder = Path(temporary) / "pictures"
        ...     paths = export_pngs(_example(), folder)
        ...     names = [p.relative_to(folder.resolve()).as_posix() for p in paths]
        >>> names
        ['cat/0000.png', 'dog/0000.png']
    """
    target = check_export(artifact, folder)
    if hosts.primary() and recover(target):
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
            replace(target, part)
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
    """Check that `export_pngs` can begin; writes nothing.

    Returns:
        The folder, absolute.

    Raises:
        UserError: the images have a number of channels that no PNG has, the decoder
            does not fit them, or the folder is the current one or holds files that no
            export wrote.
    """
    check_pixels("a folder of PNGs", artifact.images.shape[2:])
    channels = artifact.images.shape[-1]
    if channels not in _CHANNELS:
        raise UserError(
            f"images of {channels} channels cannot be exported, since PNGs have 1 to "
            f"{_CHANNELS[-1]}: use the arrays of the artifact"
        )
    Formation(artifact.factor, artifact.formation).check_samples(
        artifact.images.shape[2:]
    )
    place = local_path(folder, "--export")
    try:
        target = place.resolve()
        if not target.exists():
            refuse_unwritable(target.parent, f"PNGs to {shown(place)}")
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
        strange = strangers(target)
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


def _write(
    artifact: Artifact,
    folder: Path,
    pixels: np.ndarray,
    labels: np.ndarray,
    names: list[str],
    files: list[str],
) -> None:
    """Write the export to a temporary folder."""
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
    content = description(artifact, pixels, names, files)
    (folder / MARK).write_text(to_json(content))
