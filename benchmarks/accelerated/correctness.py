"""Losses and gradients of every objective against float64 on a CPU, by precision.

Programs are compiled several at a time: nothing is timed here.
"""

from functools import partial
from typing import Any, NamedTuple

from benchmarks import reference
from benchmarks.accelerated import cases
from benchmarks.accelerated.budget import Job, Records
from benchmarks.reference import equality
from jaxdd.devices import policy
from jaxdd.devices.precision import has
from jaxdd.objectives.regression import FeatureRegression


class Tolerance(NamedTuple):
    """Largest relative differences that are rounding: of losses, of gradients (L2)."""

    loss: float
    gradient: float


# By precision, see `jaxdd.devices.precision`.
# Three to four times what a CPU gave with the operands of the networks' products
# rounded: to TF32's 10 bits 5e-4 and 2e-2 at most, to bfloat16's 7 bits 5e-3 and 8e-2.
# In float32 it gave 1e-6 and 1e-6; devices differ in functions and orders of sums.
TOLERANCES: dict[str, Tolerance] = {
    "float32": Tolerance(1e-5, 1e-4),
    "tf32": Tolerance(2e-3, 6e-2),
    "bfloat16": Tolerance(2e-2, 2.5e-1),
}
# A regression solves with its kernel in float32 whatever the networks' precision, and
# the condition number enlarges what is rounded there: a CPU gave 1e-4.
SOLVED = Tolerance(1e-5, 1e-3)
# Of the references, in float64.
REFERENCES = ("dm", "dsa", "mtt", "tesla", "idc")


def tolerance(name: str, precision: str) -> Tolerance:
    """What a case's differences may be."""
    allowed = TOLERANCES[precision]
    if isinstance(cases.RECIPES[name].objective, FeatureRegression):
        return Tolerance(*map(max, allowed, SOLVED))
    return allowed


def within(allowed: Tolerance, loss: float, gradient: float) -> bool:
    """Whether differences are rounding; NaN is not."""
    return loss <= allowed.loss and gradient <= allowed.gradient


def compared(name: str, precision: str) -> dict[str, Any]:
    """A case's differences on this device."""
    with policy.in_precision(precision):
        found = cases.numbers(name)
    loss, gradient = cases.difference(found, cases.expected()[name])
    allowed = tolerance(name, precision)
    return {
        "loss_gap": loss,
        "gradient_gap": gradient,
        "tolerance": allowed._asdict(),
        "right": within(allowed, loss, gradient),
    }


def run(records: Records, workers: int, tiny: bool) -> None:
    """All cases, the policy's precision first; then the references."""
    names = list(cases.RECIPES)
    if tiny:
        names = ["distribution", "gradient mse", "trajectory truncated", "idc sdc"]
    today = policy.choices().precision
    # TF32 is float32 where a device lacks it.
    others = [x for x in TOLERANCES if x != today and (x != "tf32" or has(x))]
    for precision in (today, *others):
        jobs: list[Job] = [
            (
                {"case": name, "precision": precision},
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
