"""What a distillation needs at the least of the memory of this machine."""

from jaxdd.data.problem import Problem
from jaxdd.devices.needs import Need, NeedsMemory, evaluation, networks
from jaxdd.distillation.choices import Run
from jaxdd.types import Network


def distillation(
    problem: Problem, network: Network, matched: Network, run: Run
) -> list[Need]:
    """What a distillation needs.

    Args:
        problem: the data.
        network: that is evaluated.
        matched: that the choices of the recipe hold.
        run: its choices.
    """
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
    for choice in (recipe.learner, recipe.objective):
        if isinstance(choice, NeedsMemory):
            needs += choice.memory_needs(matched, images)
    return needs
