"""What a run needs at the least, compared with the machine before anything is made.

Only what surely lies in memory at once is counted, so that nothing is refused that
could run. What a run really needs is in the plan.
"""

import math
from typing import Any, NamedTuple

import jax

from jaxdd.devices.memory import capacity, size_text
from jaxdd.errors import UserError
from jaxdd.types import Network

_NUMBER = 4  # bytes of a float32 or int32
_KEY = 8  # bytes of a random key


class Need(NamedTuple):
    """Bytes that lie in memory at once, and the flag that they grow with."""

    size: int
    what: str
    flag: str


def parameters(network: Network) -> int:
    """How many numbers a network has; nothing is allocated for it."""
    params, _ = jax.eval_shape(network.init, jax.random.key(0))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def _counted(count: int) -> str:
    return "1 network" if count == 1 else f"{count} networks"


def networks(network: Network, count: int, flag: str) -> list[Need]:
    """One network beside its gradient, and `count` of them in one array."""
    size = parameters(network)
    one = Need(2 * size * _NUMBER, "a network and its gradient", "width")
    all_of_them = size * _NUMBER + _KEY
    return [one, Need(count * all_of_them, _counted(count), flag)]


def evaluation(
    count: int, flag: str, image_shape: tuple[int, ...], images: int
) -> Need:
    """Every network of an evaluation has its copy of the set.

    Its answers come on top. They are not counted, since the test split is not to be
    looked at before the evaluation.
    """
    each = images * math.prod(image_shape) * _NUMBER + _KEY
    return Need(count * each, f"the sets of {_counted(count)}", flag)


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
        size = steps * (2 * min(values["batch_syn"] or images, images) * _NUMBER + _KEY)
        needs.append(Need(size, f"the minibatches of {steps} steps", "student_steps"))
    return needs


def check(needs: list[Need]) -> None:
    """Refuse what no memory of this machine could hold.

    Raises:
        UserError: with the flag to change, of the first need that is too large.
    """
    there = capacity()
    for need in needs:
        if there is not None and need.size > there:
            raise UserError(
                f"{need.what} alone would take {size_text(need.size)} of memory, and "
                f"there are {size_text(there)}: use a smaller --{need.flag}"
            )
