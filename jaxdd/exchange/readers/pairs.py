"""`data.pt` of IDC and NCFM: a list of images and labels, images in [0, 1].

Stored images hold several training images each: their factor is a setting of the run
and not in the file (IDC: 1 or 2, published as IDC-I and IDC; NCFM: 2).
"""

from pathlib import Path
from typing import Any

import numpy as np

from jaxdd.errors import UserError
from jaxdd.exchange.foreign import Foreign, images_of, labels_of
from jaxdd.exchange.options import Options
from jaxdd.storage.paths import shown

FACTOR = 2  # of the published results of both


def fits(content: Any, place: Path) -> bool:
    """Whether the content has this form."""
    del place
    pair = isinstance(content, list | tuple) and len(content) == 2
    return pair and all(isinstance(part, np.ndarray) for part in content)


def _read(content: Any, place: Path, options: Options, method: str) -> Foreign:
    where = shown(place.name)
    if not fits(content, place):
        raise UserError(
            f"{where} holds no pair of images and labels, as files of IDC and NCFM do: "
            "give another --format"
        )
    said = []
    if options.factor is None:
        said.append(
            f"the factor of the decoder is not in {where}; {FACTOR} is assumed, give "
            "--factor=1 for a set of whole images"
        )
    return Foreign(
        images_of(content[0], where),
        labels_of(content[1], where),
        method=method,
        pixels=True,
        factor=FACTOR,
        said=said,
    )


def read_idc(content: Any, place: Path, options: Options) -> Foreign:
    """A set of IDC.

    Raises:
        UserError: it is no pair of images and labels.
    """
    return _read(content, place, options, "idc")


def read_ncfm(content: Any, place: Path, options: Options) -> Foreign:
    """A set of NCFM.

    Raises:
        UserError: it is no pair of images and labels.
    """
    return _read(content, place, options, "ncfm")
