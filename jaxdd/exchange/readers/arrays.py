"""Named arrays: .safetensors, .npz, or a dict in a file of PyTorch; or one array."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from jaxdd.errors import UserError, quoted
from jaxdd.exchange.containers import number_of, open_container
from jaxdd.exchange.foreign import Foreign, images_of, labels_of
from jaxdd.exchange.options import Options
from jaxdd.storage.paths import shown

# Names under which codes store images and labels; the first that is there counts.
IMAGES = ("images", "image_syn", "x_proto", "x", "x_train", "data", "inputs", "pixels")
LABELS = ("labels", "label_syn", "y_proto", "y", "y_train", "targets")
RATES = ("step_size", "syn_lr", "lr")
_CHANNELS = (1, 3)


def fits(content: Any, place: Path) -> bool:
    """Whether the content has this form."""
    if isinstance(content, dict):
        return any(name in content for name in IMAGES)
    return isinstance(content, np.ndarray) and place.suffix.lower() == ".npy"


def read(content: Any, place: Path, options: Options) -> Foreign:
    """The set of the arrays of these names.

    Raises:
        UserError: there are no images or labels, or the order of the axes is open.
    """
    where = shown(place.name)
    if isinstance(content, np.ndarray):
        content = {"images": content}
    if not isinstance(content, dict):
        raise UserError(f"{where} holds no arrays by name: give another --format")
    images_name = _name(content, IMAGES)
    if images_name is None:
        names = ", ".join(shown(x) for x in list(content)[:5]) or "nothing"
        raise UserError(
            f"{where} holds {names}, and no images: name them one of "
            f"{', '.join(IMAGES[:2])}"
        )
    images = images_of(content[images_name], where)
    labels_name = _name(content, LABELS)
    if options.labels_file is not None:
        apart = open_container(options.labels_file, "the file of labels")
        if isinstance(apart, dict):
            apart = apart.get(_name(apart, LABELS))
        labels = labels_of(apart, shown(Path(options.labels_file).name))
    elif labels_name is not None:
        labels = labels_of(content[labels_name], where)
    else:
        raise UserError(f"{where} holds no labels: give --labels_file")
    rate_name = _name(content, RATES)
    rate = None
    if rate_name is not None:
        rate = number_of(content[rate_name], f"{rate_name} in {where}")
    last = _channels_last(images, where)
    order = "(N, H, W, C)" if last else "(N, C, H, W)"
    said = [f"the images are the array {quoted(images_name)} in the order {order}"]
    return Foreign(
        images,
        labels,
        channels_last=last,
        pixels=True if images.dtype == np.uint8 else None,
        step_size=rate,
        class_names=_class_names(content, where),
        said=said,
    )


def _name(content: dict, names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in content), None)


def _channels_last(images: np.ndarray, where: str) -> bool:
    """Whether the last axis is that of the channels.

    Raises:
        UserError: both the second and the last axis could be, or none.
    """
    first, last = images.shape[1] in _CHANNELS, images.shape[3] in _CHANNELS
    if first == last:
        raise UserError(
            f"the images of {where} have the shape {images.shape}, whose channels are "
            "neither clearly the second nor the last axis: store them as (N, C, H, W)"
        )
    return last


def _class_names(content: dict, where: str) -> tuple[str, ...] | None:
    """The names of the classes, where the file has a list of them."""
    texts, names = content.get("__metadata__"), content.get("class_names")
    text = texts.get("class_names") if isinstance(texts, dict) else None
    if names is None and isinstance(text, str):
        try:
            names = json.loads(text)
        except (ValueError, RecursionError):
            names = text.split(",")
    if names is None:
        return None
    if isinstance(names, np.ndarray):
        names = names.tolist()
    if not isinstance(names, list | tuple) or not all(
        isinstance(x, str) for x in names
    ):
        raise UserError(f"the class_names of {where} are no list of texts")
    return tuple(names)
