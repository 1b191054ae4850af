"""Which published dataset a name means."""

from collections.abc import Iterable

# Names in TFDS of what the papers call otherwise.
_ALIASES = {"imagenet2012": "imagenet"}


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
