"""Differentiable augmentation: ops on one image, pipelines of ops, lifts to batches.

ops         operations on one image
frepo       the operations of FRePo's evaluation
sequences   operations on one sequence
pipelines   choices among ops, and their lifts to batches: `per_image`, `siamese`
mixing      CutMix
views       random parts of images, the same for a whole batch
dc          the augmentation of DC's own evaluation
named       `training`: augmentations of a network's training by name
"""

from jaxdd.augment.dc import dc_evaluation
from jaxdd.augment.mixing import cutmix
from jaxdd.augment.named import Augment, on_images, training
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
    augment_both,
    dsa,
    dsa_strategy,
    frepo_strategy,
    idc,
    idc_strategy,
    per_image,
    pipeline,
    siamese,
)

__all__ = [
    "OPS",
    "Augment",
    "Op",
    "Pipeline",
    "augment_both",
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
    "frepo_strategy",
    "idc",
    "idc_strategy",
    "in_sequence",
    "on_images",
    "per_image",
    "pipeline",
    "rotate",
    "saturation",
    "scale",
    "siamese",
    "training",
]
