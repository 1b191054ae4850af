"""Building blocks that are independent of the methods; any JAX code can use them."""

from jaxdd.primitives.distances import (
    DISTANCES,
    global_cosine,
    rowwise_cosine,
    squared_error,
)
from jaxdd.primitives.evidence import known_gradient, later_gradient
from jaxdd.primitives.gradients import batch_gradient, inner_gradient
from jaxdd.primitives.per_sample import per_sample_gradient_norms
from jaxdd.primitives.unroll import student_step, unroll

__all__ = [
    "DISTANCES",
    "batch_gradient",
    "global_cosine",
    "inner_gradient",
    "known_gradient",
    "later_gradient",
    "per_sample_gradient_norms",
    "rowwise_cosine",
    "squared_error",
    "student_step",
    "unroll",
]
