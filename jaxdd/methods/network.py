"""The network of a run: a name with its options."""

from jaxdd.data import Dataset
from jaxdd.methods import presets
from jaxdd.nets import make_network
from jaxdd.types import Network


def network_options(
    net: str, dataset: Dataset, width: int | None, depth: int | None, **options
) -> dict:
    """Name and options of a network; a ConvNet's size defaults to the field's."""
    if net.startswith("convnet"):
        default_width, default_depth = presets.network_size(
            dataset.name, dataset.image_shape
        )
        width = default_width if width is None else width
        depth = default_depth if depth is None else depth
    chosen = {"width": width, "depth": depth, **options}
    return {"name": net, **{k: v for k, v in chosen.items() if v is not None}}


def network_for(dataset: Dataset, options: dict) -> Network:
    rest = {k: v for k, v in options.items() if k != "name"}
    return make_network(
        options["name"], dataset.image_shape, dataset.num_classes, **rest
    )
