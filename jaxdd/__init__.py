"""Dataset distillation in functional JAX.

Start with `jaxdd.types` (the vocabulary), then `jaxdd.methods` (how methods are
composed). The names below are the public API; modules are public too.
"""

from jaxdd.artifact import Artifact, export_pngs, load, save
from jaxdd.augment import dsa, per_image, siamese
from jaxdd.data import from_arrays, from_folder, from_tfds
from jaxdd.difficulty import SCORES, ensemble_scores, forgetting_scores
from jaxdd.errors import UserError
from jaxdd.evaluate import accuracy, flatten, make_evaluate, random_subsets
from jaxdd.initial import initial_set
from jaxdd.methods import METHODS, Settings, build, make_method
from jaxdd.nets import NETS, make_network
from jaxdd.objectives import add_terms, feature_match, gradient_match, per_class
from jaxdd.presets import preset
from jaxdd.primitives import (
    DISTANCES,
    batch_gradient,
    inner_gradient,
    per_sample_gradient_norms,
    student_step,
    unroll,
)
from jaxdd.terms import WeightedTerm, sdc, weight_schedule
from jaxdd.train import Training, make_fit
from jaxdd.trees import apply_mask, mask_from_rules
from jaxdd.types import Batch, Inputs, Learner, Method, Network, RealData, Synthetic
from jaxdd.windows import real_data

__version__ = "0.1.0"

__all__ = [
    "DISTANCES",
    "METHODS",
    "NETS",
    "SCORES",
    "Artifact",
    "Batch",
    "Inputs",
    "Learner",
    "Method",
    "Network",
    "RealData",
    "Settings",
    "Synthetic",
    "Training",
    "UserError",
    "WeightedTerm",
    "accuracy",
    "add_terms",
    "apply_mask",
    "batch_gradient",
    "build",
    "dsa",
    "ensemble_scores",
    "export_pngs",
    "feature_match",
    "flatten",
    "forgetting_scores",
    "from_arrays",
    "from_folder",
    "from_tfds",
    "gradient_match",
    "initial_set",
    "inner_gradient",
    "load",
    "make_evaluate",
    "make_fit",
    "make_method",
    "make_network",
    "mask_from_rules",
    "per_class",
    "per_image",
    "per_sample_gradient_norms",
    "preset",
    "random_subsets",
    "real_data",
    "save",
    "sdc",
    "siamese",
    "student_step",
    "unroll",
    "weight_schedule",
]
