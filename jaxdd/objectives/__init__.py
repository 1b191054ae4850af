"""What is matched: an objective is a match and a lift over classes, sets or spans.

gradient      gradients, class by class: read this first
contrastive   gradients of all classes together (DCC)
distribution  features (DM); feature_distances are how they are compared
calibration   what trained networks say of the synthetic images (NCFM)
trajectory    the end of an expert's span
unrolled      the loss of a student through a window of its training
statistics    a teacher's cross-entropy and the statistics of its batch norm (SRe2L)
regression    labels of real samples, predicted from features of the set (FRePo)
convex        the same after training in a linearisation (RCIG)
linearised    the inner problem of `convex`
prototypes    the rows that both predict from
lifts         from a match of one class to an objective
set_lifts     from a match of the whole set to an objective
parts         what modifiers hand to an objective
capabilities  what an objective has to have, and may have beside that
bases         what objectives that match samples share
shapes        of what is matched, from which a mask chooses
sampling      which samples of a class a match is shown
compose       objectives that change over time
"""

from jaxdd.modifiers.forgetting import REMEMBERED, Forgetting, forgetting
from jaxdd.modifiers.terms import add_terms
from jaxdd.objectives.bases import MixedMatching, SampleMatching
from jaxdd.objectives.compose import switch
from jaxdd.objectives.contrastive import contrastive_match
from jaxdd.objectives.convex import convex_match
from jaxdd.objectives.distribution import FEATURES, feature_match, joint_feature_match
from jaxdd.objectives.gradient import gradient_match
from jaxdd.objectives.lifts import per_class
from jaxdd.objectives.regression import regression_match
from jaxdd.objectives.sampling import Sampling, minibatch_of_step
from jaxdd.objectives.set_lifts import per_batch, per_set, per_span
from jaxdd.objectives.shapes import features_of, parameters_of
from jaxdd.objectives.statistics import per_slot, statistics_match
from jaxdd.objectives.trajectory import minibatches, trajectory_match
from jaxdd.objectives.unrolled import unrolled_match

__all__ = [
    "FEATURES",
    "REMEMBERED",
    "Forgetting",
    "MixedMatching",
    "SampleMatching",
    "Sampling",
    "add_terms",
    "contrastive_match",
    "convex_match",
    "feature_match",
    "features_of",
    "forgetting",
    "gradient_match",
    "joint_feature_match",
    "minibatch_of_step",
    "minibatches",
    "parameters_of",
    "per_batch",
    "per_class",
    "per_set",
    "per_slot",
    "per_span",
    "regression_match",
    "statistics_match",
    "switch",
    "trajectory_match",
    "unrolled_match",
]
