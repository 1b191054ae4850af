"""What samples are, by the number of their axes, and which choices fit them.

This is the one place that says which augmentations, spaces and decoders admit samples
of which shape; networks say it themselves. Everything else of the library works on
`[n, ...]`.
"""

from collections.abc import Sequence
from typing import NamedTuple

from jaxdd.errors import UserError, quoted


class Modality(NamedTuple):
    """Samples of one number of axes.

    Attributes:
        name: as `--modality` takes it.
        axes: what the axes of a sample are.
        network: name of the network where none is asked for. Which others take such
            samples is said in `nets.registry`.
        families: beginnings of the names of augmentations for them; "none" is for all.
        usual: the augmentation in place of a method's own, which is for images; None
            for images themselves.
        pixels: whether values are pixels in [0, 1]: then samples may be stored as
            pixels, cut into tiles, whitened as published, resized and drawn.
    """

    name: str
    axes: tuple[str, ...]
    network: str
    families: tuple[str, ...]
    usual: str | None
    pixels: bool

    @property
    def shape(self) -> str:
        """The axes as text, such as "[H, W, C]"."""
        return f"[{', '.join(self.axes)}]"


SEQUENCE = "sequence:"  # what the names of augmentations for sequences begin with

VECTORS = Modality("vectors", ("F",), "mlp", (), "none", False)
SEQUENCES = Modality(
    "sequences",
    ("L", "C"),
    "convnet1d",
    (SEQUENCE,),
    f"{SEQUENCE}jitter_scale_shift",
    False,
)
IMAGES = Modality("images", ("H", "W", "C"), "convnet", ("",), None, True)

MODALITIES: dict[str, Modality] = {
    modality.name: modality for modality in (VECTORS, SEQUENCES, IMAGES)
}
_BY_RANK = {len(modality.axes): modality for modality in MODALITIES.values()}


def modality_of(shape: Sequence[int]) -> Modality:
    """What a sample of this shape is.

    Args:
        shape: of one sample, without the axis of the batch.

    Raises:
        UserError: it has none of one to three axes.

    Example:
        >>> modality_of((30,)).name, modality_of((8, 8, 1)).network
        ('vectors', 'convnet')
    """
    if len(shape) not in _BY_RANK:
        known = ", ".join(f"{x.name} {x.shape}" for x in MODALITIES.values())
        raise UserError(
            f"samples of shape {quoted(tuple(shape))} cannot be used: give {known}"
        )
    return _BY_RANK[len(shape)]


def check_augmentation(name: str, shape: Sequence[int]) -> None:
    """Refuse an augmentation that is not for samples of this shape.

    Args:
        name: as `augment.training` takes it.
        shape: of one sample.

    Raises:
        UserError: it is for others; the sentence says what fits.
    """
    modality = modality_of(shape)
    others = [
        family
        for other in MODALITIES.values()
        for family in other.families
        if family and family not in modality.families
    ]
    fits = any(name.startswith(family) for family in modality.families)
    if name in ("", "none") or (fits and not name.startswith(tuple(others))):
        return
    remedy = "use none"
    if modality.usual not in (None, "none"):
        remedy += f", or for example {modality.usual}"
    raise UserError(
        f"the augmentation {quoted(name)} is not for {modality.name} "
        f"{modality.shape}: {remedy}"
    )


def check_pixels(what: str, shape: Sequence[int]) -> None:
    """Refuse a choice that is about pixels where samples are none.

    Args:
        what: the choice as the user wrote it, such as "--factor=2".
        shape: of one sample.

    Raises:
        UserError: the samples are no images.
    """
    modality = modality_of(shape)
    if not modality.pixels:
        raise UserError(
            f"{what} is about images, and these samples are {modality.name} "
            f"{modality.shape}: leave it out"
        )
