"""Building blocks that are independent of the methods; any JAX code can use them."""

from jaxdd.primitives.distances import (
    DISTANCES,
    global_cosine,
    rowwise_cosine,
    squared_error,
)
from jaxdd.primitives.evidence import known_gradient, later_gradient
from jaxdd.primitives.gradients import batch_gradient, inner_gradient
from jaxdd.primitives.losses import mean_loss
from jaxdd.primitives.optimizers import INNER_OPTIMIZERS, inner_adam, inner_sgd
from jaxdd.primitives.per_sample import per_sample_gradient_norms
from jaxdd.primitives.truncation import train, train_window, training_step
from jaxdd.primitives.unroll import student_step, unroll

__all__ = [
    "DISTANCES",
    "INNER_OPTIMIZERS",
    "batch_gradient",
    "global_cosine",
    "inner_adam",
    "inner_gradient",
    "inner_sgd",
    "known_gradient",
    "later_gradient",
    "mean_loss",
    "per_sample_gradient_norms",
    "rowwise_cosine",
    "squared_error",
    "student_step",
    "train",
    "train_window",
    "training_step",
    "unroll",
]
