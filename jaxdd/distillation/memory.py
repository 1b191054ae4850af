"""What a distillation needs at the least of the memory of this machine."""

import math

import jax

from jaxdd.data.problem import Problem
from jaxdd.devices.needs import KEY, NUMBER, Need, evaluation, networks
from jaxdd.distillation.choices import Run
from jaxdd.learners.aged import AgedPool
from jaxdd.objectives.trajectory import TrajectoryMatching
from jaxdd.objectives.unrolled import UnrolledLoss
from jaxdd.types import Network


def distillation(problem: Problem, network: Network, run: Run) -> list[Need]:
    """What a distillation needs."""
    shape, classes = problem.dataset.image_shape, problem.dataset.num_classes
    images, recipe = classes * run.task.ipc, run.recipe
    needs = networks(network, run.records.probes * len(run.records.kinds), "probes")
    counts = {
        "num_eval": run.evaluation.networks,
        "num_random": run.evaluation.random_subsets,
    }
    for flag, count in counts.items():
        needs.append(evaluation(count, flag, shape, images))
    if recipe.segments is not None:
        needs += networks(network, recipe.segments.judges, "judges")
    if isinstance(recipe.learner, AgedPool):
        # Each with Adam's two moments.
        states = 3 * recipe.learner.networks
        needs += networks(network, states, "pool_networks")
    if isinstance(recipe.objective, TrajectoryMatching):
        steps = recipe.objective.student_steps
        batch = min(recipe.objective.batch_syn or images, images)
        # Which images every step of a student sees, and how much each of them counts.
        size = steps * (2 * batch * NUMBER + KEY)
        needs.append(Need(size, f"the minibatches of {steps} steps", "student_steps"))
    if isinstance(recipe.objective, UnrolledLoss):
        needs.append(_window(network, recipe.objective))
    return needs


def _window(network: Network, objective: UnrolledLoss) -> Need:
    """The states of a student that the backward pass goes through."""
    params, _ = jax.eval_shape(network.init, jax.random.key(0))
    state = jax.eval_shape(objective.optimizer().begin, params)
    numbers = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(state))
    steps = objective.student_steps
    size = steps * numbers * NUMBER
    return Need(size, f"a student in {steps} steps", "student_steps")
