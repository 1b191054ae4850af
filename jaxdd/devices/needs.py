"""What a run needs at the least, compared with the machine before anything is made.

Only what surely lies in memory at once is counted, so that nothing is refused that
could run. What a run really needs is in the plan.
"""

import math
from typing import NamedTuple, Protocol, runtime_checkable

import jax

from jaxdd.devices.memory import capacity, size_text
from jaxdd.errors import UserError
from jaxdd.types import Network

NUMBER = 4  # bytes of a float32 or int32
KEY = 8  # bytes of a random key


class Need(NamedTuple):
    """Bytes that lie in memory at once, and the flag that they grow with."""

    size: int
    what: str
    flag: str


@runtime_checkable
class NeedsMemory(Protocol):
    """An objective or a learner source that surely holds more than a network."""

    def memory_needs(self, network: Network, images: int) -> list[Need]:
        """What it holds; the flag of a need is what a refusal says to lower.

        Args:
            network: that is matched.
            images: stored images of the set, of all classes together.
        """
        ...


def parameters(network: Network) -> int:
    """How many numbers a network has; nothing is allocated for it."""
    params, _ = jax.eval_shape(network.init, jax.random.key(0))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def _counted(count: int) -> str:
    return "1 network" if count == 1 else f"{count} networks"


def networks(network: Network, count: int, flag: str) -> list[Need]:
    """One network beside its gradient, and `count` of them in one array."""
    size = parameters(network)
    one = Need(2 * size * NUMBER, "a network and its gradient", "width")
    all_of_them = size * NUMBER + KEY
    return [one, Need(count * all_of_them, _counted(count), flag)]


def evaluation(
    count: int, flag: str, image_shape: tuple[int, ...], images: int
) -> Need:
    """Every network of an evaluation has its copy of the set.

    Its answers come on top. They are not counted, since the test split is not to be
    looked at before the evaluation.
    """
    each = images * math.prod(image_shape) * NUMBER + KEY
    return Need(count * each, f"the sets of {_counted(count)}", flag)


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
