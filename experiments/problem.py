"""What every experiment starts from: data on the device, and named random keys."""

import zlib
from dataclasses import dataclass, replace

import jax
import numpy as np

from jaxdd import policy, presets
from jaxdd.data import (
    Dataset,
    Preprocess,
    Split,
    Splits,
    fit_zca,
    load,
    normalisation,
    split,
)
from jaxdd.errors import UserError
from jaxdd.nets import make_network
from jaxdd.types import Key, Network, RealData
from jaxdd.windows import real_data


@dataclass(frozen=True)
class Problem:
    """A dataset, split and preprocessed."""

    dataset: Dataset
    splits: Splits
    preprocess: Preprocess
    split_seed: int = 0  # of the validation split

    def blind(self) -> "Problem":
        """The same problem with the validation split in the place of the test split.

        Whatever is handed this cannot reach the test data: for choosing
        hyper-parameters.

        Raises:
            UserError: there is no validation split.
        """
        train, validation, _ = self.splits
        if validation is None:
            raise UserError("choosing needs validation data: leave out --validation=0")
        blind = Splits(train, None, validation)
        return replace(self, splits=blind)

    def microbatch(self, network: dict) -> int | None:
        """Chunk length for a network's gradients over a batch; see `policy`."""
        width = network.get("width") or 128
        return policy.microbatch_for(self.dataset.image_shape, width)

    def on_device(self, part: Split, scores: np.ndarray | None = None) -> RealData:
        """A split on the device, each class sorted easy to hard where scores [M] are
        given."""
        images, scale, shift = self.preprocess.device_images(part.images)
        classes = self.dataset.num_classes
        return real_data(images, part.labels, classes, scale, shift, scores)


def open_problem(
    name: str, data_dir: str | None, validation: float, seed: int, zca: bool
) -> Problem:
    """Read, split and fit the preprocessing on the training split.

    Raises:
        UserError: the dataset cannot be used, or a bad validation share.
    """
    return prepare(load(name, data_dir), validation, seed, zca)


def prepare(dataset: Dataset, validation: float, seed: int, zca: bool) -> Problem:
    """The same for a dataset in memory."""
    splits = split(dataset, validation, seed)
    images = splits.train.images
    fitted = fit_zca(images) if zca else normalisation(dataset.name, images)
    return Problem(dataset, splits, fitted, seed)


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


def named_key(seed: int, name: str) -> Key:
    """An independent random stream of a seed, e.g. named_key(0, "evaluate")."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))
