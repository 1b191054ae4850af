"""`res_METHOD_DATASET_NET_Nipc.pt` of DC, DSA and DM (VICO-UoE, DatasetCondensation).

A dict whose "data" is a list of [images, labels], one pair per experiment; images are
[K * ipc, C, H, W] and normalised by the mean and standard deviation of the dataset.
"""

import re
from pathlib import Path
from typing import Any

from jaxdd.errors import UserError
from jaxdd.exchange.foreign import Foreign, images_of, labels_of
from jaxdd.exchange.options import Options
from jaxdd.storage.paths import shown

METHODS = ("dc", "dsa", "dm")
_NAME = re.compile(r"res_([A-Za-z0-9]+)_", re.ASCII)


def fits(content: Any, place: Path) -> bool:
    """Whether the content has this form."""
    del place
    return isinstance(content, dict) and isinstance(content.get("data"), list | tuple)


def read(content: Any, place: Path, options: Options) -> Foreign:
    """The set of one experiment.

    Raises:
        UserError: there is no such experiment, or it is no pair of images and labels.
    """
    where = shown(place.name)
    sets = content.get("data") if isinstance(content, dict) else None
    if not isinstance(sets, list | tuple) or not sets:
        raise UserError(
            f"{where} holds no list 'data' of images and labels, as files of DC, DSA "
            "and DM do: give another --format"
        )
    if options.experiment >= len(sets):
        raise UserError(
            f"{where} holds {len(sets)} sets: --experiment must be below that"
        )
    pair = sets[options.experiment]
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        raise UserError(f"set {options.experiment} of {where} is no pair of arrays")
    said = []
    if len(sets) > 1:
        said.append(
            f"{where} holds {len(sets)} sets; --experiment={options.experiment} is read"
        )
    named = _NAME.match(place.name)
    method = named[1].lower() if named else None
    if method not in METHODS:
        method = "dc"
        if options.method is None:
            said.append(
                f"the name of {where} tells none of the methods dc, dsa and dm; dc is "
                "assumed"
            )
    return Foreign(
        images_of(pair[0], where),
        labels_of(pair[1], where),
        method=method,
        pixels=False,
        said=said,
    )
