"""Flags that all comparisons share."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from experiments.comparing import methods
from jaxdd.data.problem import DataFlags
from jaxdd.distillation import options
from jaxdd.errors import UserError
from jaxdd.fields import option
from jaxdd.scores.probes import USUAL


@dataclass(frozen=True, kw_only=True)
class RunFlags(DataFlags):
    """Flags that mean in a comparison what they mean in each of its runs."""

    workdir: str = option(
        ..., "folder in which all runs, tables and plots are stored", kind="path"
    )
    ipc: int = option(1, "synthetic images per class", above=0)
    steps: int | None = option(
        None, "updates of the synthetic images in each run; default: the published ones"
    )
    max_start: int | None = option(
        None,
        "trajectory methods: students start at expert epochs below this bound; "
        "default: the published one",
    )
    student_steps: int | None = option(
        None, "trajectory methods: N, SGD steps of a student; default: the published N"
    )
    eval_epochs: int | None = option(
        None,
        "epochs for which each network of the evaluation is trained; default: the "
        "published ones",
    )
    num_eval: int = option(5, "networks that evaluate the synthetic set of each run")
    probe_kinds: str = option(
        ",".join(USUAL),
        "kinds of networks at which difficulty is measured, joined by commas, as in "
        "experiments.distill",
    )


@dataclass(frozen=True, kw_only=True)
class ComparisonFlags(RunFlags):
    """Flags of a comparison in paired seeds."""

    seeds: str = option("0,1,2", "seeds with which every row is run, joined by commas")
    num_experts: int | None = option(
        None, "trajectory methods: experts in each bank; default: the published number"
    )
    bank_epochs: int | None = option(
        None,
        "trajectory methods: epochs for which the experts are trained; default: as "
        "many as the students have to reach",
    )


_SHARED = tuple(field.name for field in dataclasses.fields(RunFlags))
ABOUT_EXPERTS = ("num_experts", "bank_epochs", "max_start", "student_steps")


def base_of(config: Any, method: str, **changes: Any) -> options.Config:
    """The flags that all runs of one method share.

    Runs use all of the training split, since a comparison selects nothing.

    Args:
        config: flags of a comparison, with those of `RunFlags`.
        method: the method.
        changes: further flags of `experiments.distill`.
    """
    shared = {name: getattr(config, name) for name in _SHARED}
    if not methods.has_students(method):
        # One comparison may hold methods with and without experts.
        shared.update(max_start=None, student_steps=None)
    fixed = {"validation": 0.0, "split_seed": 0, "sdc_share": False}
    return options.Config(**{**shared, **fixed, "method": method, **changes})


def refuse_unused(config: ComparisonFlags, compared: Sequence[str]) -> None:
    """Refuse flags about experts where no method has any.

    Args:
        config: flags of a comparison.
        compared: its methods.

    Raises:
        UserError: such a flag is set.
    """
    if any(methods.has_experts(method) for method in compared):
        return
    for name in ABOUT_EXPERTS:
        if getattr(config, name) is not None:
            raise UserError(
                f"--{name} is about experts, and {', '.join(compared)} "
                f"{'has' if len(compared) == 1 else 'have'} none: leave it out"
            )
