"""Banks of experts that several rows and all seeds of a comparison share."""

import dataclasses
from collections.abc import Hashable
from pathlib import Path
from typing import Any

from experiments.comparing import methods
from experiments.comparing.groups import Group, Opened
from jaxdd.data.problem import Problem
from jaxdd.distillation import experts, options
from jaxdd.errors import UserError
from jaxdd.experts import Bank
from jaxdd.progress import say

SEED = 0  # of all experts: they serve every seed of a comparison
_NAMES = {field.name for field in dataclasses.fields(experts.Config)}


def check(base: options.Config, count: int | None, epochs: int | None) -> None:
    """Refuse a bank that the method of `base` cannot be matched with.

    Args:
        base: a distillation that the bank serves, by a method with experts.
        count: the value of --num_experts.
        epochs: the value of --bank_epochs.

    Raises:
        UserError: there are no experts, or they are trained for too few epochs.
    """
    if count is not None and count < 1:
        raise UserError(f"--num_experts must be positive, not {count}")
    needed = methods.last_epoch(base)
    if epochs is not None and epochs < needed:
        raise UserError(
            f"--bank_epochs={epochs} is too few: {needed} are needed, unless "
            "--max_start is lowered"
        )


def training_of(
    base: options.Config,
    folder: Path,
    count: int | None,
    epochs: int | None,
    **flags: Any,
) -> experts.Config:
    """The flags by which a bank for `base` is trained: on its data, for its network.

    Args:
        base: a distillation that the bank serves, by a method with experts.
        folder: the folder of the bank.
        count: the value of --num_experts.
        epochs: the value of --bank_epochs.
        flags: further flags of `experiments.experts`, such as a curriculum.
    """
    values = {
        **{k: v for k, v in dataclasses.asdict(base).items() if k in _NAMES},
        "workdir": str(folder),
        "seed": SEED,
        "num_experts": count,
        "epochs": epochs or methods.bank_epochs(base),
        **flags,
    }
    return experts.Config(**values)


def train(config: experts.Config, problem: Problem, served: str) -> Path:
    """Train a bank, unless it is finished, and return its folder.

    Args:
        config: see `training_of`.
        problem: the data.
        served: names what the bank serves, for the progress report.
    """
    say(f"experts for {served}")
    experts.run(config, problem)
    folder = Path(config.workdir)
    Bank.open(folder)
    return folder


def by_method(opened: Opened) -> dict[Hashable, Path]:
    """One bank for all methods of one recipe, in the folder `experts-METHOD`.

    The bank is as long as the most demanding of its methods needs.

    Returns:
        {row: the folder of its bank}; rows of methods without experts are left out.
    """
    recipes: dict[Hashable, list[Group]] = {}
    for group in opened.groups:
        if methods.has_experts(group.method):
            recipes.setdefault(methods.bank_recipe(group.base), []).append(group)
    count, epochs = opened.config.num_experts, opened.config.bank_epochs
    banks: dict[Hashable, Path] = {}
    for groups in recipes.values():
        first, folder = groups[0].method, opened.folder / f"experts-{groups[0].method}"
        every = [training_of(x.base, folder, count, epochs) for x in groups]
        longest = max(every, key=lambda training: training.epochs or 0)
        served = ", ".join(group.method for group in groups)
        bank = train(longest, opened.problems[first], served)
        banks |= {row: bank for group in groups for row in group.rows}
    return banks


def by_curriculum(opened: Opened) -> dict[Hashable, Path]:
    """One bank per curriculum among the rows, in the folders `experts-0`, `experts-1`.

    Returns:
        {row: the folder of its bank}; rows of methods without experts are left out.
    """
    count, epochs = opened.config.num_experts, opened.config.bank_epochs
    banks: dict[Hashable, Path] = {}
    trained: dict[Hashable, Path] = {}  # curriculum -> folder
    for group in opened.groups:
        if not methods.has_experts(group.method):
            continue
        for row, flags in group.rows.items():
            curriculum = {k: v for k, v in flags.items() if k in _NAMES}
            key = tuple(sorted(curriculum.items()))
            if key not in trained:
                folder = opened.folder / f"experts-{len(trained)}"
                training = training_of(group.base, folder, count, epochs, **curriculum)
                trained[key] = train(training, opened.problems[group.method], str(row))
            banks[row] = trained[key]
    return banks
