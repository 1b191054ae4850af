"""Banks of experts that all rows and seeds of a comparison share."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxdd.data.problem import Problem
from jaxdd.distillation import experts, options, resolution
from jaxdd.errors import UserError
from jaxdd.experts import Bank
from jaxdd.methods import presets
from jaxdd.progress import say

SEED = 0  # of experts that serve several seeds of a comparison


def last_epoch(base: options.Config) -> int:
    """The last epoch of an expert that a student may have to reach."""
    settings = presets.preset(base.method, base.dataset, base.ipc).settings
    bound = base.max_start or settings.max_start or 1
    return bound - 1 + (base.expert_epochs or settings.expert_epochs)


def check(base: options.Config, count: int | None, epochs: int | None) -> None:
    """Refuse a bank that the method of `base` cannot be matched with.

    Args:
        base: a distillation that the bank serves, of a method with experts.
        count, epochs: --num_experts and --bank_epochs.
    """
    if count is not None and count < 1:
        raise UserError(f"--num_experts must be positive, not {count}")
    needed = last_epoch(base)
    if epochs is not None and epochs < needed:
        raise UserError(
            f"--bank_epochs={epochs} is too few: {needed} are needed, unless "
            "--max_start is lowered"
        )


def asked(
    base: options.Config,
    folder: Path,
    count: int | None,
    epochs: int | None,
    **flags: Any,
) -> experts.Config:
    """The training of a bank for `base`: its data, its network and its recipe.

    Args:
        base: a distillation that the bank serves, of a method with experts.
        folder: for the bank.
        count, epochs: --num_experts and --bank_epochs.
        flags: what else is set, e.g. a curriculum.
    """
    preset = presets.preset(base.method, base.dataset, base.ipc)
    assert preset.experts is not None
    needed = preset.experts.epochs or 50
    if base.max_start or preset.settings.max_start:
        needed = max(preset.experts.epochs or 0, last_epoch(base))
    names = {field.name for field in dataclasses.fields(experts.Config)}
    values = {
        **{k: v for k, v in vars(base).items() if k in names},
        "workdir": str(folder),
        "seed": SEED,
        "num_experts": count,
        "epochs": epochs or needed,
        **flags,
    }
    return experts.Config(**values)


def train(asked: experts.Config, problem: Problem, served: str) -> Path:
    """Train a bank, or take over a finished one; its folder."""
    say(f"experts for {served}")
    experts.run(asked, problem)
    folder = Path(asked.workdir)
    Bank.open(folder)
    return folder


def serve(
    bases: Mapping[str, options.Config],
    folder: Path,
    problems: Mapping[str, Problem],
    count: int | None,
    epochs: int | None,
) -> dict[str, str]:
    """One bank per recipe, as long as the most demanding of its methods needs.

    Args:
        bases: {method: a distillation}; methods without experts are left out.
        folder: for the banks.
        problems: {method: data}.
        count, epochs: --num_experts and --bank_epochs.

    Returns:
        {method: the folder of its bank}.
    """
    recipes: dict[Any, list[str]] = {}
    for method, base in bases.items():
        preset = presets.preset(method, base.dataset, base.ipc)
        if preset.experts is not None:
            seen = resolution.scaling_of(base)
            recipe = preset.experts, seen, preset.settings.augmentation
            recipes.setdefault(recipe, []).append(method)
    found = {}
    for methods in recipes.values():
        target = folder / f"experts-{methods[0]}"
        every = [asked(bases[name], target, count, epochs) for name in methods]
        longest = max(every, key=lambda bank: bank.epochs or 0)
        bank = train(longest, problems[methods[0]], ", ".join(methods))
        found.update(dict.fromkeys(methods, str(bank)))
    return found
