"""The scale of a foreign set: pixels, or inputs under one of several normalisations."""

from typing import NamedTuple

import numpy as np

from jaxdd.data.constants import check_constants
from jaxdd.data.preprocess import Preprocess
from jaxdd.data.problem import Problem, Scaling
from jaxdd.errors import UserError
from jaxdd.exchange.foreign import Foreign
from jaxdd.exchange.options import AUTO, Options
from jaxdd.methods.published.preset import Preset
from jaxdd.synthetic.images import Images

_BEYOND = 1e-3  # by which pixels may leave [0, 1]
_BYTES_FROM = 2.0  # the largest value from which on pixels look like bytes
_FAR, _SHARE = 0.5, 0.1  # of values far outside the range of pixels, for a warning


class Scaled(NamedTuple):
    """Images of a known scale.

    Attributes:
        images: [N, H, W, C] float32, of `space`.
        space: "pixels" or "input".
        preprocess: from pixels to network inputs.
        said: what was assumed.
    """

    images: np.ndarray
    space: str
    preprocess: Preprocess
    said: list[str]


def scaled(
    foreign: Foreign, problem: Problem, preset: Preset, options: Options
) -> Scaled:
    """A set's images on the scale that its format, its recipe or a flag says.

    Args:
        foreign: the set as it lies.
        problem: the dataset that it was distilled from.
        preset: the recipe of its method.
        options: the flags.

    Raises:
        UserError: the shape is not that of the dataset, the scale is open, or values
            are none of the scale.
    """
    images = foreign.images
    if not foreign.channels_last:
        images = np.moveaxis(images, 1, -1)
    shape = problem.dataset.image_shape
    if images.shape[1:] != shape:
        raise UserError(
            f"the images of the set have the shape {images.shape[1:]} (height, width, "
            f"channels), those of the dataset {shape}: give --image_size or --channels "
            "as they were when it was distilled"
        )
    space = _space(foreign, preset.recipe.images, options)
    scaling, said = _scaling(problem.name, preset.scaling, options)
    preprocess = problem.scaled(scaling).preprocess
    bytes_ = images.dtype == np.uint8
    if bytes_ and space == "input":
        raise UserError(
            "the images are 8-bit pixels, which no normalisation gives: leave "
            "--normalisation out or give --normalisation=pixels"
        )
    # NumPy's "<f2" and the like become float32 of this machine.
    images = images.astype(np.float32) / np.float32(255 if bytes_ else 1)
    if space == "pixels":
        low, high = float(images.min()), float(images.max())
        if low < -_BEYOND or high > 1 + _BEYOND:
            remedy = (
                "give --normalisation=dataset, or the name of the dataset whose "
                "constants were used"
            )
            if low >= 0 and _BYTES_FROM < high <= 255:
                remedy = "divide them by 255, or store them as uint8"
            raise UserError(
                f"the images should be pixels from 0 to 1, and hold values from "
                f"{low:.3g} to {high:.3g}: {remedy}"
            )
        images = np.clip(images, 0, 1)
        said.insert(0, "the images are pixels from 0 to 1")
    else:
        said.insert(0, "the images are network inputs")
        said += _warning(preprocess.invert(images))
    return Scaled(np.ascontiguousarray(images), space, preprocess, said)


def _space(foreign: Foreign, recipe: Images, options: Options) -> str:
    """Whether numbers are pixels or inputs.

    Raises:
        UserError: nothing says.
    """
    if options.normalisation != AUTO:
        return "pixels" if options.normalisation == "pixels" else "input"
    if foreign.pixels is not None:
        return "pixels" if foreign.pixels else "input"
    if options.zca:
        return "input"
    if options.method is None:
        raise UserError(
            "nothing says on which scale the images are: give --method, or "
            "--normalisation=pixels, dataset or the name of a dataset"
        )
    return recipe.space


def _scaling(
    dataset: str, recipe: Scaling, options: Options
) -> tuple[Scaling, list[str]]:
    """How pixels become inputs, and a sentence about it."""
    name = options.normalisation
    if name in (AUTO, "pixels"):
        constants, source = recipe.constants, "as in the method's recipe"
    elif name == "dataset":
        constants, source = None, "as --normalisation says"
    else:
        constants, source = name, "as --normalisation says"
    zca = recipe.zca and name in (AUTO, "pixels")
    if options.zca is not None:
        zca, source = options.zca, "as --zca says"
    if zca:
        fitted = "ZCA whitening, fitted to the training images with eps 0.1"
        blocks = options.zca_blocks or recipe.zca_blocks
        if blocks is not None:
            fitted += f" in blocks of {blocks}x{blocks} pixels"
        return Scaling(True, blocks), [f"inputs have {fitted}, {source}"]
    if options.zca_blocks is not None:
        raise UserError(
            "--zca_blocks says how a set was whitened, and this one is normalised: add "
            "--zca, or leave it out"
        )
    whose = constants or dataset
    return (
        Scaling(constants=constants),
        [f"inputs are normalised by the mean and deviation of {whose}, {source}"],
    )


def check_normalisation(options: Options, channels: int) -> None:
    """Refuse the name of a dataset without constants.

    Raises:
        UserError: the name is no scale and no such dataset.
    """
    if options.normalisation not in (AUTO, "pixels", "dataset"):
        check_constants(options.normalisation, channels)


def _warning(pixels: np.ndarray) -> list[str]:
    """A sentence, if inputs do not look like images under their normalisation."""
    far = (pixels < -_FAR) | (pixels > 1 + _FAR)
    share = float(far.mean())
    if share <= _SHARE:
        return []
    return [
        f"warning: {100 * share:.0f} % of the values lie far outside the range of "
        "pixels under that normalisation, so that it may be another one"
    ]
