"""Statistics of a teacher's batch norm, stored beside its parameters.

Those that it runs with, and those of the samples of every class.
"""

from pathlib import Path
from typing import Any

import numpy as np

from jaxdd.devices import hosts
from jaxdd.errors import UserError
from jaxdd.primitives.trees import from_named_leaves, named_leaves
from jaxdd.storage.arrays import Member, Shapes, read_arrays
from jaxdd.storage.files import atomic_file
from jaxdd.storage.paths import is_there, shown
from jaxdd.types import Stats

FILE = "statistics.npz"
CLASS_FILE = "class_statistics.npz"
REMEDY = "remove it, and they are measured on the data"


def write_statistics(folder: Path, stats: Stats, file: str = FILE) -> None:
    """Store statistics in one of the files; only the primary process does."""
    if hosts.primary():
        named: Any = {name: np.asarray(x) for name, x in named_leaves(stats).items()}
        with atomic_file(folder / file, "wb") as target:
            np.savez(target, **named)


def read_statistics(folder: Path, like: Stats, file: str = FILE) -> Stats | None:
    """The statistics in a folder, None where there are none.

    Args:
        folder: of a bank.
        like: any tree with their structure and shapes.
        file: which of them.

    Raises:
        UserError: they are damaged, or of another network.
    """
    path, named = folder / file, named_leaves(like)
    if not named or not is_there(path):
        return None

    def agree(shapes: Shapes) -> None:
        for name, leaf in named.items():
            if shapes[name] != leaf.shape:
                raise ValueError(f"{name} has shape {shapes[name]}, not {leaf.shape}")

    members = {name: Member("f", leaf.ndim) for name, leaf in named.items()}
    arrays = read_arrays(path, members, REMEDY, "the statistics", agree)
    if not all(np.isfinite(x).all() for x in arrays.values()):
        raise UserError(
            f"the statistics {shown(path)} cannot be used (they are not "
            f"finite): {REMEDY}"
        )
    return from_named_leaves(like, arrays)
