"""Dataset distillation in functional JAX.

Start with `jaxdd.types` (the vocabulary), then `jaxdd.methods` (how methods are
composed). The names below are the public API; modules are public too.
"""

from jaxdd import report as report
from jaxdd import theory as theory
from jaxdd.artifact.artifact import Artifact
from jaxdd.artifact.export import export_pngs
from jaxdd.artifact.file import load, save
from jaxdd.artifact.restart import initial_from
from jaxdd.artifact.slim import slim
from jaxdd.augment import dsa, on_images, per_image, siamese
from jaxdd.augment.views import Views
from jaxdd.data import from_arrays, from_folder, from_npz, from_table, from_tfds
from jaxdd.data.real import real_data
from jaxdd.distillation.api import distill
from jaxdd.distillation.experts import train_experts
from jaxdd.distillation.listing import keywords
from jaxdd.distillation.result import Result
from jaxdd.errors import UserError
from jaxdd.evaluation.api import evaluate, probe, referee
from jaxdd.evaluation.probed import Probed
from jaxdd.evaluation.result import Evaluation
from jaxdd.evaluation.verdict import Verdict
from jaxdd.exchange.opening import load_foreign
from jaxdd.exchange.shortening import shorten
from jaxdd.exchange.targets import write_as
from jaxdd.experts import Bank, Manifest, train_bank
from jaxdd.fields import override
from jaxdd.learners.aged import AgedPool
from jaxdd.learners.context import Context
from jaxdd.learners.fresh import Fresh
from jaxdd.learners.interpolated import Interpolated
from jaxdd.learners.pools import Pool, RealPool
from jaxdd.learners.spans import Spans, StartEpochs
from jaxdd.learners.teacher import Teacher
from jaxdd.learners.windows import Windows
from jaxdd.methods.assembly import make_method
from jaxdd.methods.build import build
from jaxdd.methods.presets import preset
from jaxdd.methods.recipe import Recipe
from jaxdd.methods.recipes import METHODS
from jaxdd.modifiers.curriculum import Curriculum, Window
from jaxdd.modifiers.judges import make_judge
from jaxdd.modifiers.masks import Mask, make_mask
from jaxdd.modifiers.sdc import SDC, sdc
from jaxdd.modifiers.segments import Segments, keep_hardest
from jaxdd.modifiers.terms import WeightedTerm, weight_schedule
from jaxdd.nets import NETS, as_network, make_network
from jaxdd.objectives import (
    Forgetting,
    Sampling,
    add_terms,
    contrastive_match,
    convex_match,
    feature_match,
    gradient_match,
    joint_feature_match,
    minibatch_of_step,
    per_batch,
    per_class,
    per_set,
    per_slot,
    per_span,
    regression_match,
    statistics_match,
    switch,
    trajectory_match,
)
from jaxdd.objectives.contrastive import ContrastiveMatching
from jaxdd.objectives.convex import ConvexRegression
from jaxdd.objectives.distribution import FeatureMatching
from jaxdd.objectives.feature_distances import (
    MMD,
    Attention,
    CharacteristicFunction,
    Means,
)
from jaxdd.objectives.gradient import GradientMatching
from jaxdd.objectives.parts import Parts
from jaxdd.objectives.regression import FeatureRegression
from jaxdd.objectives.statistics import StatisticsMatching
from jaxdd.objectives.trajectory import TrajectoryMatching
from jaxdd.objectives.unrolled import UnrolledLoss, unrolled_match
from jaxdd.preparing.whole import prepare
from jaxdd.primitives import (
    DISTANCES,
    batch_gradient,
    inner_adam,
    inner_gradient,
    inner_sgd,
    known_gradient,
    later_gradient,
    mean_loss,
    per_sample_gradient_norms,
    student_step,
    train,
    train_window,
    training_step,
    unroll,
)
from jaxdd.primitives.trees import apply_mask
from jaxdd.scores.ensemble import ensemble_scores
from jaxdd.scores.forgetting import forgetting_scores
from jaxdd.scores.influence import influence_scores
from jaxdd.scores.table import SCORES
from jaxdd.scoring.api import difficulty
from jaxdd.scoring.pruned import Pruned
from jaxdd.scoring.pruning import prune
from jaxdd.scoring.result import Difficulty
from jaxdd.statistics import Statistics
from jaxdd.storage.compiled import keep_compiled_programs
from jaxdd.synthetic.crops import Crops, crop_classes
from jaxdd.synthetic.decoder import make_decoder
from jaxdd.synthetic.formation import Formation
from jaxdd.synthetic.images import Images
from jaxdd.synthetic.initial import correct_set, initial_set, label_logits
from jaxdd.synthetic.labels import (
    HardLabels,
    SoftLabels,
    Targets,
    TeacherLabels,
    Weights,
)
from jaxdd.synthetic.optimizer import LAMB, SGD, AdaBelief, Adam, AdamW
from jaxdd.synthetic.sets import flatten
from jaxdd.training.evaluate import accuracy, make_evaluate, make_hits, random_subsets
from jaxdd.training.fit import (
    Training,
    from_scratch,
    make_ensemble,
    make_epochs,
    make_fit,
)
from jaxdd.training.gsam import gsam
from jaxdd.types import (
    Batch,
    Evidence,
    Inputs,
    Learner,
    LearnerSource,
    Method,
    Network,
    Objective,
    Outputs,
    RealData,
    Span,
    Synthetic,
)

__version__ = "0.1.0"

__all__ = [
    "DISTANCES",
    "LAMB",
    "METHODS",
    "MMD",
    "NETS",
    "SCORES",
    "SDC",
    "SGD",
    "AdaBelief",
    "Adam",
    "AdamW",
    "AgedPool",
    "Artifact",
    "Attention",
    "Bank",
    "Batch",
    "CharacteristicFunction",
    "Context",
    "ContrastiveMatching",
    "ConvexRegression",
    "Crops",
    "Curriculum",
    "Difficulty",
    "Evaluation",
    "Evidence",
    "FeatureMatching",
    "FeatureRegression",
    "Forgetting",
    "Formation",
    "Fresh",
    "GradientMatching",
    "HardLabels",
    "Images",
    "Inputs",
    "Interpolated",
    "Learner",
    "LearnerSource",
    "Manifest",
    "Mask",
    "Means",
    "Method",
    "Network",
    "Objective",
    "Outputs",
    "Parts",
    "Pool",
    "Probed",
    "Pruned",
    "RealData",
    "RealPool",
    "Recipe",
    "Result",
    "Sampling",
    "Segments",
    "SoftLabels",
    "Span",
    "Spans",
    "StartEpochs",
    "Statistics",
    "StatisticsMatching",
    "Synthetic",
    "Targets",
    "Teacher",
    "TeacherLabels",
    "Training",
    "TrajectoryMatching",
    "UnrolledLoss",
    "UserError",
    "Verdict",
    "Views",
    "WeightedTerm",
    "Weights",
    "Window",
    "Windows",
    "accuracy",
    "add_terms",
    "apply_mask",
    "as_network",
    "batch_gradient",
    "build",
    "contrastive_match",
    "convex_match",
    "correct_set",
    "crop_classes",
    "difficulty",
    "distill",
    "dsa",
    "ensemble_scores",
    "evaluate",
    "export_pngs",
    "feature_match",
    "flatten",
    "forgetting_scores",
    "from_arrays",
    "from_folder",
    "from_npz",
    "from_scratch",
    "from_table",
    "from_tfds",
    "gradient_match",
    "gsam",
    "influence_scores",
    "initial_from",
    "initial_set",
    "inner_adam",
    "inner_gradient",
    "inner_sgd",
    "joint_feature_match",
    "keep_compiled_programs",
    "keep_hardest",
    "keywords",
    "known_gradient",
    "label_logits",
    "later_gradient",
    "load",
    "load_foreign",
    "make_decoder",
    "make_ensemble",
    "make_epochs",
    "make_evaluate",
    "make_fit",
    "make_hits",
    "make_judge",
    "make_mask",
    "make_method",
    "make_network",
    "mean_loss",
    "minibatch_of_step",
    "on_images",
    "override",
    "per_batch",
    "per_class",
    "per_image",
    "per_sample_gradient_norms",
    "per_set",
    "per_slot",
    "per_span",
    "prepare",
    "preset",
    "probe",
    "prune",
    "random_subsets",
    "real_data",
    "referee",
    "regression_match",
    "save",
    "sdc",
    "shorten",
    "siamese",
    "slim",
    "statistics_match",
    "student_step",
    "switch",
    "train",
    "train_bank",
    "train_experts",
    "train_window",
    "training_step",
    "trajectory_match",
    "unroll",
    "unrolled_match",
    "weight_schedule",
    "write_as",
]
