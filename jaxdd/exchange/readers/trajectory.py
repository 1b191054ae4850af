"""`images_*.pt` of MTT, FTD, TESLA, DATM and PAD, with `labels_*.pt` beside it.

Images are [K * ipc, C, H, W], whitened for CIFAR; labels are class indices, or for DATM
and PAD learned logits [K * ipc, K]. `lr_*.pt` beside them, where there is one, is the
learned rate of the student.
"""

from pathlib import Path
from typing import Any

import numpy as np

from jaxdd.errors import UserError
from jaxdd.exchange.containers import beside, number_of, open_container
from jaxdd.exchange.foreign import Foreign, images_of, labels_of
from jaxdd.exchange.options import Options
from jaxdd.storage.paths import shown


def fits(content: Any, place: Path) -> bool:
    """Whether the content has this form."""
    return isinstance(content, np.ndarray) and place.suffix.lower() != ".npy"


def read(content: Any, place: Path, options: Options) -> Foreign:
    """The set of the file and of those beside it.

    Raises:
        UserError: a file is missing, or holds something else.
    """
    where = shown(place.name)
    if not isinstance(content, np.ndarray):
        raise UserError(
            f"{where} holds no array of images, as images_*.pt do: give another "
            "--format"
        )
    labels_at = options.labels_file or beside(place, "images", "labels")
    if labels_at is None:
        raise UserError(
            f"there are no labels beside {where}: put labels_*.pt there or give "
            "--labels_file"
        )
    labels = labels_of(
        open_container(labels_at, "the file of labels"), shown(Path(labels_at).name)
    )
    soft = labels.ndim == 2
    method = "datm" if soft else "mtt"
    said = [f"the labels are those of {shown(Path(labels_at).name)}"]
    if options.method is None:
        kind = "learned labels" if soft else "hard labels"
        said.append(
            f"a set with {kind} is taken for one of {method}; give --method if it is "
            "another's"
        )
    rate_at = beside(place, "images", "lr")
    rate = None
    if rate_at is not None:
        value = open_container(rate_at, "the file of the rate")
        rate = number_of(value, f"the rate in {shown(rate_at.name)}")
    elif options.step_size is None:
        said.append(
            "no learned rate is known: networks are trained at 0.01, give --step_size "
            "where one was published"
        )
    return Foreign(
        images_of(content, where),
        labels,
        method=method,
        pixels=False,
        step_size=rate,
        said=said,
    )
