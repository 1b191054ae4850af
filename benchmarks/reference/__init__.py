"""Eager PyTorch loops, written the way the original methods are.

Every operation is dispatched on its own; classes are a Python loop; second derivatives
come from `torch.autograd.grad(..., create_graph=True)`. Random numbers are drawn with
torch where a step is timed, and given from outside where it is compared with ours.

network     ConvNet as a function of a list of tensors
augment     DSA's operations
training    plain training, gradient norms, experts
matching    DSA, DM, IDC
trajectory  MTT, TESLA
expected    float64 numbers of all of these, stored for tests without PyTorch

Torch is imported by these modules only, which are imported only where a reference is
asked for: it is no dependency of the library.
"""

import importlib.util

from jaxdd.errors import UserError, quoted

METHODS = ("dsa", "dm", "idc", "mtt", "tesla")
NAMES = ("none", "torch")


def installed() -> bool:
    return importlib.util.find_spec("torch") is not None


def wanted(name: str) -> bool:
    """Whether a reference is asked for.

    Raises:
        UserError: an unknown name, or torch is not there.
    """
    if name not in NAMES:
        raise UserError(
            f"unknown reference {quoted(name)}: choose one of {', '.join(NAMES)}"
        )
    if name == "torch" and not installed():
        raise UserError("--reference=torch needs PyTorch: run `make bench` once")
    return name == "torch"
