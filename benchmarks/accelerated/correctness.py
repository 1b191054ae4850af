"""Losses and gradients of every objective against float64 on a CPU, by precision.

Programs are compiled several at a time: nothing is timed here.
"""

from functools import partial
from typing import Any, NamedTuple

import jax

from benchmarks import reference
from benchmarks.accelerated import cases
from benchmarks.accelerated.budget import Job, Records
from benchmarks.reference import equality


class Tolerance(NamedTuple):
    """Largest relative differences that are rounding: of losses, of gradients (L2)."""

    loss: float
    gradient: float


# By `jax.default_matmul_precision`; None is JAX's default, TF32 on new NVIDIA devices.
# Three to four times what a CPU gave with the operands of the networks' products
# rounded: to TF32's 10 bits 5e-4 and 2e-2 at most, to bfloat16's 7 bits 5e-3 and 8e-2.
# In float32 it gave 1e-6 and 1e-6; devices differ in functions and orders of sums.
TOLERANCES: dict[str | None, Tolerance] = {
    "highest": Tolerance(1e-5, 1e-4),
    None: Tolerance(2e-3, 6e-2),
    "tensorfloat32": Tolerance(2e-3, 6e-2),
    "bfloat16": Tolerance(2e-2, 2.5e-1),
}
# Of the references, in float64.
REFERENCES = ("dm", "dsa", "mtt", "tesla", "idc")


def precision_name(precision: str | None) -> str:
    return "default" if precision is None else precision


def within(precision: str | None, loss: float, gradient: float) -> bool:
    """Whether differences are rounding; NaN is not."""
    allowed = TOLERANCES[precision]
    return loss <= allowed.loss and gradient <= allowed.gradient


def compared(name: str, precision: str | None) -> dict[str, Any]:
    """A case's differences on this device."""
    with jax.default_matmul_precision(precision):
        found = cases.numbers(name)
    loss, gradient = cases.difference(found, cases.expected()[name])
    return {
        "loss_gap": loss,
        "gradient_gap": gradient,
        "tolerance": TOLERANCES[precision]._asdict(),
        "right": within(precision, loss, gradient),
    }


def run(records: Records, workers: int, tiny: bool) -> None:
    """All cases, JAX's default first, then the exact ones; then the references."""
    names = list(cases.RECIPES)
    if tiny:
        names = ["distribution", "gradient mse", "trajectory truncated", "idc sdc"]
    for precision in (None, "highest", "bfloat16", "tensorfloat32"):
        jobs: list[Job] = [
            (
                {"case": name, "precision": precision_name(precision)},
                partial(compared, name, precision),
            )
            for name in names
        ]
        records.measure_together(jobs, "case", workers)
    if not reference.installed():
        records.skip("PyTorch loops against ours in float64", "PyTorch is not there")
        return
    for method in REFERENCES:
        records.measure(
            {"case": f"PyTorch {method}", "precision": "float64"},
            "reference",
            partial(referenced, method),
        )


def referenced(method: str) -> dict[str, Any]:
    """The PyTorch loop of a method against ours, on this device."""
    gap = equality.difference(method)
    return {
        "loss_gap": gap,
        "gradient_gap": gap,
        "tolerance": {"loss": equality.TOLERANCE, "gradient": equality.TOLERANCE},
        "right": bool(gap <= equality.TOLERANCE),
    }
