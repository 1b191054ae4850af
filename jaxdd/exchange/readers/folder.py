"""Pictures in one sub-folder per class, as SRe2L and RDED write them.

A sub-folder has the name of a class, or its index: `00003`, `new003`, `class_3`.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np

from jaxdd.artifact.description import ARRAYS
from jaxdd.data.readers.decoding import read as read_pictures
from jaxdd.data.readers.listing import Listing
from jaxdd.data.readers.pictures import form_of
from jaxdd.errors import UserError, quoted
from jaxdd.exchange.foreign import Foreign
from jaxdd.exchange.options import ForeignFlags
from jaxdd.storage.paths import existing_folder, shown

_INDEX = re.compile(r"(?:new|class|cls)?[_-]?([0-9]{1,6})", re.ASCII)
# As our own export: the index, then the name.
_BOTH = re.compile(r"([0-9]{5,6})_(.+)", re.ASCII)


def read(place: Path, options: ForeignFlags, class_names: tuple[str, ...]) -> Foreign:
    """The pictures, labelled by their folders.

    Args:
        place: the folder.
        options: --channels and --image_size convert the pictures.
        class_names: those of the dataset, in its order.

    Raises:
        UserError: a folder is no class, a class has none or two, or a picture cannot be
            decoded.
    """
    root = existing_folder(place, "the folder of pictures", "check the path")
    form = form_of(options.channels, options.image_size)
    listing = Listing(root)
    folders = listing.subfolders(root)
    labels = labels_of_folders(tuple(folders), class_names, shown(root.name))
    files: list[Path] = []
    of_files: list[int] = []
    for name, folder in folders.items():
        pictures = listing.images(folder)
        if not pictures:
            raise UserError(f"the folder {shown(folder)} holds no picture")
        files += pictures
        of_files += [labels[name]] * len(pictures)
    images, _ = read_pictures(files, form, root)
    lost = []
    if (root / ARRAYS).is_file():
        lost.append(
            f"only the classes of the folders count: the labels in {ARRAYS} were not "
            "read, which a .safetensors file would keep"
        )
    by_name = set(folders) == set(class_names)
    how = "names" if by_name else "indices"
    return Foreign(
        images,
        np.array(of_files),
        channels_last=True,
        pixels=True,
        said=[
            f"the classes of {len(folders)} folders are known by their {how}",
            *lost,
            *listing.remarks(len(files)),
        ],
    )


def labels_of_folders(
    names: tuple[str, ...], class_names: tuple[str, ...], where: str
) -> dict[str, int]:
    """{folder: class} by names, or else by indices.

    Raises:
        UserError: a folder is no class, or folders have the names of classes and
            indices that disagree with them.

    Example:
        >>> labels_of_folders(("dog", "cat"), ("cat", "dog"), "x")
        {'dog': 1, 'cat': 0}
        >>> labels_of_folders(("new001", "new000"), ("cat", "dog"), "x")
        {'new001': 1, 'new000': 0}
    """
    if len(names) != len(class_names):
        raise UserError(
            f"{where} has {len(names)} folders and the dataset {len(class_names)} "
            "classes: give the set's own dataset"
        )
    if set(names) == set(class_names):
        return {name: class_names.index(name) for name in names}
    labels: dict[str, int] = {}
    for name in names:
        both, alone = _BOTH.fullmatch(name), _INDEX.fullmatch(name)
        match: Any = both or alone
        index = int(match[1]) if match else len(class_names)
        if index >= len(class_names):
            raise UserError(
                f"the folder {quoted(name)} of {where} is neither a class of the "
                f"dataset nor the index of one: its classes are "
                f"{', '.join(map(shown, class_names[:5]))}"
                f"{', ...' if len(class_names) > 5 else ''}"
            )
        if both and both[2] in class_names and both[2] != class_names[index]:
            raise UserError(
                f"the folder {quoted(name)} of {where} says that class {index} is "
                f"{quoted(both[2])}, but in the dataset it is "
                f"{quoted(class_names[index])}: its classes are in another order"
            )
        labels[name] = index
    if len(set(labels.values())) != len(names):
        raise UserError(f"two folders of {where} are the same class")
    return labels
