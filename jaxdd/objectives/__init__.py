"""What is matched, and its composition into an objective."""

from jaxdd.objectives.compose import (
    add_terms,
    per_class,
    per_set,
    per_span,
    switch,
)
from jaxdd.objectives.contrastive import contrastive_match
from jaxdd.objectives.distribution import FEATURES, feature_match
from jaxdd.objectives.gradient import gradient_match
from jaxdd.objectives.trajectory import minibatches, trajectory_match

__all__ = [
    "FEATURES",
    "add_terms",
    "contrastive_match",
    "feature_match",
    "gradient_match",
    "minibatches",
    "per_class",
    "per_set",
    "per_span",
    "switch",
    "trajectory_match",
]
