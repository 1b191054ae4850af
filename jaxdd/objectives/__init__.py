"""What is matched, for one class; and the composition into an objective."""

from jaxdd.objectives.compose import add_terms, per_class
from jaxdd.objectives.distribution import feature_match
from jaxdd.objectives.gradient import gradient_match

__all__ = ["add_terms", "feature_match", "gradient_match", "per_class"]
