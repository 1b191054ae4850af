"""Which published dataset a name means."""

import math
from collections.abc import Iterable

# Names in TFDS of what the papers call otherwise.
_ALIASES = {"imagenet2012": "imagenet"}


# Datasets for which the field publishes settings, if not every method.
OF_THE_FIELD = (
    "mnist", "fashion_mnist", "svhn_cropped", "cifar10", "cifar100", "tiny_imagenet",
    "imagenet", "imagenet_resized", "imagenette", "imagewoof",
)  # fmt: skip


def nearest(
    table: Iterable[tuple[str, int]], dataset: str, ipc: int
) -> tuple[str, int] | None:
    """The row of a table whose images per class are nearest, by their logarithm.

    Args:
        table: (dataset, images per class) of every row.
        dataset: its name, as in `known_as`.
        ipc: images per class, at least 1; of two rows that are as near the smaller one
            counts.

    Returns:
        The key of the row; None where the table lacks the dataset.

    Example:
        >>> rows = ("cifar10", 1), ("cifar10", 10), ("cifar10", 50), ("mnist", 1)
        >>> [nearest(rows, "cifar10", ipc)[1] for ipc in (1, 3, 4, 20, 1000)]
        [1, 1, 10, 10, 50]
        >>> nearest(rows, "pets", 10)
    """
    keys = sorted(table)
    name = known_as(dataset, {name for name, _ in keys})
    rows = [key for key in keys if key[0] == name]
    return min(rows, key=lambda key: abs(math.log(ipc / key[1])), default=None)


def known_as(dataset: str, names: Iterable[str]) -> str | None:
    """The dataset of a table that a name means; None where it has none.

    "tiny_imagenet_subset" and "imagenet_resized/64x64" count as the dataset that they
    begin with; "imagenette" is not ImageNet, and "cifar100" not CIFAR-10.

    Args:
        dataset: its name.
        names: of the datasets of the table.

    Example:
        >>> names = "imagenet", "tiny_imagenet", "imagenet_resized"
        >>> [known_as(x, names) for x in ("imagenet2012", "imagenette/320px")]
        ['imagenet', None]
        >>> known_as("imagenet_resized/64x64", names)
        'imagenet_resized'
    """
    parts = dataset.replace("/", "_").split("_")
    for count in range(len(parts), 0, -1):
        name = "_".join(parts[:count])
        name = _ALIASES.get(name, name)
        if name in names:
            return name
    return None
