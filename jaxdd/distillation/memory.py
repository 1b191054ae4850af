"""What a distillation needs at the least of the memory of this machine."""

from typing import Any

from jaxdd.devices.needs import KEY, NUMBER, Need, evaluation, networks
from jaxdd.types import Network


def distillation(problem: Any, network: Network, values: dict[str, Any]) -> list[Need]:
    """Of `experiments.distill`, by the values of a run."""
    shape, classes = problem.dataset.image_shape, problem.dataset.num_classes
    images = classes * values["ipc"]
    needs = networks(network, values["probes"], "probes")
    for flag in ("num_eval", "num_random"):
        needs.append(evaluation(values[flag], flag, shape, images))
    if values["segments"] > 1:
        needs += networks(network, values["judges"], "judges")
    if values["objective"] == "trajectory":
        steps = values["student_steps"]
        # Which images every step of a student sees, and how much each of them counts.
        size = steps * (2 * min(values["batch_syn"] or images, images) * NUMBER + KEY)
        needs.append(Need(size, f"the minibatches of {steps} steps", "student_steps"))
    return needs
