"""Every value of a run: flags, presets and data together."""

import dataclasses
from typing import Any

import numpy as np

from experiments.options import Config, curriculum_of, preset_of
from experiments.problem import Problem, network_options, open_problem
from jaxdd import methods, presets
from jaxdd.errors import UserError, check_integer
from jaxdd.experts import Manifest
from jaxdd.presets import Preset
from jaxdd.windows import Curriculum


def open_data(config: Config) -> Problem:
    """The data that the flags name, split and preprocessed."""
    zca = config.zca
    if zca is None:
        zca = preset_of(config).zca
    seed = config.seed if config.split_seed is None else config.split_seed
    return open_problem(config.dataset, config.data_dir, config.validation, seed, zca)


def resolve(
    config: Config, problem: Problem, bank: Manifest | None = None
) -> dict[str, Any]:
    """Every value of a run, presets filled in: what a workdir is compared by.

    Args:
        bank: of --experts, where it was given.
    """
    dataset = problem.dataset
    preset = presets.preset(config.method, dataset.name, config.ipc, config.factor)
    filled = {
        **dataclasses.asdict(preset.settings),
        "init": preset.init,
        "steps": preset.steps,
        "eval_epochs": preset.eval_epochs,
        "eval_augmentation": preset.eval_augmentation,
        "eval_batch": preset.eval_batch,
        "eval_lr": preset.eval_lr,
        "eval_schedule": preset.eval_schedule,
        "zca": preset.zca,
        "measure_every": max(1, preset.steps // 10),
    }
    given = {k: v for k, v in dataclasses.asdict(config).items() if v is not None}
    values = {**dict.fromkeys(dataclasses.asdict(config)), **filled, **given}
    network = network_options(
        config.net, dataset, config.width, config.depth,
        norm=config.norm, activation=config.activation, pooling=config.pooling,
    )  # fmt: skip
    largest = int(np.bincount(problem.splits.train.labels).max())
    values["batch_real"] = min(values["batch_real"], largest)
    values.update(network=network, fingerprint=dataset.fingerprint)
    values.update(split_seed=problem.split_seed)
    experts = preset.experts
    base = experts.curriculum if experts is not None else Curriculum()
    curriculum = curriculum_of(config, base)
    values["curriculum"] = dataclasses.asdict(curriculum)
    if curriculum != Curriculum() and config.scores is None:
        values["score"] = config.score or "el2n"
    else:
        values["score"] = None
    values["bank"] = _bank(config, preset, values, bank)
    drop = (
        "width", "depth", "norm", "activation", "pooling", "net", "init_ratio",
        "add_end_epoch", "removals", "drop_easiest", "drop_hardest", "num_experts",
        "bank_epochs", "bank_dtype", "expert_lr", "expert_batch", "gsam_rho",
        "gsam_alpha", "experts",
    )  # fmt: skip
    return {k: v for k, v in values.items() if k not in drop}


def _bank(
    config: Config, preset: Preset, values: dict[str, Any], given: Manifest | None
) -> dict[str, Any] | None:
    """What the experts are; sets the bound of the start epochs where it is open."""
    base = preset.experts
    if base is None:
        return None
    length = values["expert_epochs"]
    needed: int = base.epochs or 50
    if values["max_start"] is not None:
        needed = max(base.epochs or 0, values["max_start"] - 1 + length)
        check_integer("--max_start and --expert_epochs together", needed)
    count, dtype = config.num_experts or base.count, config.bank_dtype
    epochs: int = config.bank_epochs or max(needed, length)
    if given is not None:
        count, epochs, dtype = given.experts, given.last_epoch, given.dtype
    if values["max_start"] is None:
        bound = epochs - length + 1
        values["max_start"] = bound
        if bound < 1:
            raise UserError(
                f"experts of {epochs} epochs leave no room for a span of "
                f"--expert_epochs={length}: lower it, or train them for longer"
            )
    last = values["max_start"] - 1
    if given is None and epochs < last + length:
        raise UserError(
            f"--bank_epochs={epochs} is too few: start epochs up to {last} and spans "
            f"of {length} epochs need {last + length}"
        )
    pick = lambda flag, usual: usual if flag is None else flag
    return {
        "manifest": None if given is None else given.digest,
        "experts": count,
        "epochs": epochs,
        "dtype": dtype,
        "learning_rate": pick(config.expert_lr, base.learning_rate),
        "batch_size": pick(config.expert_batch, base.batch_size),
        "gsam_rho": pick(config.gsam_rho, base.gsam_rho),
        "gsam_alpha": pick(config.gsam_alpha, base.gsam_alpha),
        "seed": values["seed"] if given is None else given.seed,
    }


def settings_of(values: dict[str, Any]) -> methods.Settings:
    """The settings of the method among the values of a run."""
    names = [f.name for f in dataclasses.fields(methods.Settings)]
    return methods.Settings(**{name: values[name] for name in names})
