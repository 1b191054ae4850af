"""Differentiable augmentation: ops on one image, pipelines of them, lifts to batches.

ops         what happens to one image
pipelines   which ops a call applies; `per_image` and `siamese` lifts
mixing      CutMix
dc          DC's own evaluation augmentation; `training` finds augmentations by name
"""

from jaxdd.augment.dc import dc_evaluation, training
from jaxdd.augment.mixing import cutmix
from jaxdd.augment.ops import (
    OPS,
    Op,
    brightness,
    color,
    contrast,
    crop,
    cutout,
    flip,
    in_sequence,
    rotate,
    saturation,
    scale,
)
from jaxdd.augment.pipelines import (
    Pipeline,
    dsa,
    dsa_strategy,
    idc,
    per_image,
    siamese,
)

__all__ = [
    "OPS",
    "Op",
    "Pipeline",
    "brightness",
    "color",
    "contrast",
    "crop",
    "cutmix",
    "cutout",
    "dc_evaluation",
    "dsa",
    "dsa_strategy",
    "flip",
    "idc",
    "in_sequence",
    "per_image",
    "rotate",
    "saturation",
    "scale",
    "siamese",
    "training",
]
