"""Folders of pictures that tests write, and what reading them says."""

import pytest
from PIL import Image

from jaxdd.data import load
from jaxdd.errors import UserError


def save(path, value, size=(6, 4), mode="RGB"):
    """A constant image of `size` (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)


def read(root):
    return load(f"folder:{root}")


# --- Layouts and what is left out -----------------------------------------------------


def classes(root, count=3, names=("a", "b"), level=0):
    for k, name in enumerate(names):
        for i in range(count):
            save(root / name / f"{i}.png", (level + 10 * k + i,) * 3)


# --- Refusals -------------------------------------------------------------------------


def refusal(root, **form) -> str:
    with pytest.raises(UserError) as error:
        load(f"folder:{root}", **form)
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 1500
    return message
