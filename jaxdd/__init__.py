"""Dataset distillation in functional JAX.

Start with `jaxdd.types` (the vocabulary), then `jaxdd.methods` (how methods are
composed). The names below are the public API; modules are public too.
"""

from jaxdd import theory as theory
from jaxdd.artifact import Artifact, load, save
from jaxdd.assembly import make_method
from jaxdd.augment import dsa, on_images, per_image, siamese
from jaxdd.data import from_arrays, from_folder, from_npz, from_tfds
from jaxdd.decoders import Formation, make_decoder
from jaxdd.difficulty import SCORES, ensemble_scores
from jaxdd.errors import UserError
from jaxdd.evaluate import accuracy, make_evaluate, make_hits, random_subsets
from jaxdd.experts import Bank, Manifest, train_bank
from jaxdd.export import export_pngs
from jaxdd.forgetting_events import forgetting_scores
from jaxdd.gsam import gsam
from jaxdd.influence import influence_scores
from jaxdd.initial import correct_set, initial_set, label_logits
from jaxdd.learners import StartEpochs
from jaxdd.masks import make_mask
from jaxdd.methods import build
from jaxdd.nets import NETS, make_network
from jaxdd.objectives import (
    Forgetting,
    Sampling,
    add_terms,
    contrastive_match,
    feature_match,
    gradient_match,
    joint_feature_match,
    per_class,
    per_set,
    per_span,
    switch,
    trajectory_match,
)
from jaxdd.presets import preset
from jaxdd.primitives import (
    DISTANCES,
    batch_gradient,
    inner_gradient,
    per_sample_gradient_norms,
    student_step,
    unroll,
)
from jaxdd.restart import initial_from
from jaxdd.segments import keep_hardest, make_judge
from jaxdd.sets import flatten
from jaxdd.settings import METHODS, Settings
from jaxdd.terms import WeightedTerm, sdc, weight_schedule
from jaxdd.train import Training, make_epochs, make_fit
from jaxdd.trees import apply_mask, mask_from_rules
from jaxdd.types import (
    Batch,
    Inputs,
    Learner,
    Method,
    Network,
    RealData,
    Span,
    Synthetic,
)
from jaxdd.windows import Curriculum, real_data

__version__ = "0.1.0"

__all__ = [
    "DISTANCES",
    "METHODS",
    "NETS",
    "SCORES",
    "Artifact",
    "Bank",
    "Batch",
    "Curriculum",
    "Forgetting",
    "Formation",
    "Inputs",
    "Learner",
    "Manifest",
    "Method",
    "Network",
    "RealData",
    "Sampling",
    "Settings",
    "Span",
    "StartEpochs",
    "Synthetic",
    "Training",
    "UserError",
    "WeightedTerm",
    "accuracy",
    "add_terms",
    "apply_mask",
    "batch_gradient",
    "build",
    "contrastive_match",
    "correct_set",
    "dsa",
    "ensemble_scores",
    "export_pngs",
    "feature_match",
    "flatten",
    "forgetting_scores",
    "from_arrays",
    "from_folder",
    "from_npz",
    "from_tfds",
    "gradient_match",
    "gsam",
    "influence_scores",
    "initial_from",
    "initial_set",
    "inner_gradient",
    "joint_feature_match",
    "keep_hardest",
    "label_logits",
    "load",
    "make_decoder",
    "make_epochs",
    "make_evaluate",
    "make_fit",
    "make_hits",
    "make_judge",
    "make_mask",
    "make_method",
    "make_network",
    "mask_from_rules",
    "on_images",
    "per_class",
    "per_image",
    "per_sample_gradient_norms",
    "per_set",
    "per_span",
    "preset",
    "random_subsets",
    "real_data",
    "save",
    "sdc",
    "siamese",
    "student_step",
    "switch",
    "train_bank",
    "trajectory_match",
    "unroll",
    "weight_schedule",
]
