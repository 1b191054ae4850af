"""A theory of data pruning: which samples to keep for a given amount of data.

Sorscher et al., "Beyond neural scaling laws: beating power law scaling via data
pruning", NeurIPS 2022: a teacher perceptron labels Gaussian inputs, a probe at an angle
from the teacher measures how hard each of them is (a small margin is hard), a fraction
is kept, and a student learns from it. With little data a student learns more from easy
samples, with much data from hard ones. For SDC the number of images per class is the
amount of data.

Every quantity is computed twice: by simulation and by its large-D limit.
Letters: D dimensions, P samples, E seeds. `alpha` is P / D before any is discarded.
Angles are in degrees, errors are probabilities.
"""

from jaxdd.theory.arguments import KEEPS
from jaxdd.theory.limit import asymptotic_error
from jaxdd.theory.simulation import (
    generalisation_error,
    keep_order,
    make_pruning,
    max_margin,
    probe_at,
)

__all__ = [
    "KEEPS",
    "asymptotic_error",
    "generalisation_error",
    "keep_order",
    "make_pruning",
    "max_margin",
    "probe_at",
]
