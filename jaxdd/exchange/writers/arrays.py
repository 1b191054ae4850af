"""A set as named arrays: safetensors, or a file for `torch.load`."""

from pathlib import Path
from typing import Any

from jaxdd.artifact.artifact import Artifact
from jaxdd.exchange.content import Content
from jaxdd.exchange.safetensors import write_safetensors
from jaxdd.exchange.torch_writer import write_torch


def as_safetensors(artifact: Artifact, path: Path) -> Path:
    """Write the arrays of `content.Content`, its texts as metadata.

    Raises:
        UserError: the set cannot be saved, or the disk refuses.
    """
    content = Content(artifact)
    write_safetensors(content.arrays, path, content.texts)
    return path


def as_torch(artifact: Artifact, path: Path) -> Path:
    """Write one dict for `torch.load(path, weights_only=True)`.

    It holds the arrays and texts of `content.Content`, "class_names", "step_size"
    (None where none was learned) and "about", a dict of the preprocessing and the
    protocol.

    Raises:
        UserError: the set cannot be saved, or the disk refuses.
    """
    content = Content(artifact)
    held: dict[str, Any] = {
        **content.arrays,
        "class_names": list(artifact.class_names),
        "step_size": artifact.step_size,
        "about": content.about,
        **content.texts,
    }
    write_torch(held, path)
    return path
