"""Which samples to keep, given how many there are: a theory of data pruning.

Sorscher et al., "Beyond neural scaling laws: beating power law scaling via data
pruning", NeurIPS 2022: a teacher perceptron labels Gaussian inputs, a probe at an angle
from the teacher tells how hard each of them is (a small margin is hard), a fraction is
kept, and a student learns from it. With little data a student learns more from easy
samples, with plenty from hard ones. SDC reads the number of images per class as the
amount of data.

Everything is said here twice: as a simulation, and as its limit for many dimensions.
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
