"""Every value of a run: flags, presets and data together."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxdd.data import Preprocess, check_constants, normalisation
from jaxdd.data.problem import Problem, Scaling, open_problem
from jaxdd.distillation.options import Config, curriculum_of, preset_of, whitened
from jaxdd.errors import UserError, check_integer
from jaxdd.experts import Manifest
from jaxdd.methods import build as methods
from jaxdd.methods.network import network_options
from jaxdd.methods.presets import Preset
from jaxdd.modifiers.curriculum import Curriculum
from jaxdd.nets import NETS


def scaling_of(config: Config, dataset: str | None = None) -> Scaling:
    """How the method of a run sees images, or how the flags say.

    Args:
        config: the flags.
        dataset: its name where the data are known; by default --dataset.
    """
    name = config.dataset if dataset is None else dataset
    preset = preset_of(config, name)
    if whitened(config, preset):
        return Scaling(zca=True)
    constants = preset.constants if config.constants is None else config.constants
    return Scaling(constants=None if constants == name.partition(":")[0] else constants)


def open_data(config: Config) -> Problem:
    """The data that the flags name, split and preprocessed."""
    seed = config.seed if config.split_seed is None else config.split_seed
    return open_problem(
        config.dataset,
        config.data_dir,
        config.validation,
        seed,
        *scaling_of(config),
        channels=config.channels,
        image_size=config.image_size,
    )


def open_each(configs: Mapping[str, Config]) -> dict[str, Problem]:
    """{name: data} of runs that differ in their methods: read once, fitted as often as
    methods see the images differently."""
    fitted: dict[Scaling, Problem] = {}
    for config in configs.values():
        scaling = scaling_of(config)
        if scaling not in fitted:
            known = next(iter(fitted.values()), None)
            fitted[scaling] = known.scaled(scaling) if known else open_data(config)
    return {name: fitted[scaling_of(config)] for name, config in configs.items()}


def resolve(
    config: Config, problem: Problem, bank: Manifest | None = None
) -> dict[str, Any]:
    """Every value of a run, presets filled in: what a workdir is compared by.

    Args:
        bank: of --experts, where it was given.
    """
    dataset = problem.dataset
    preset = preset_of(config, dataset.name)
    filled = {
        **dataclasses.asdict(preset.settings),
        "init": preset.init,
        "steps": preset.steps,
        "eval_epochs": preset.eval_epochs,
        "eval_augmentation": preset.eval_augmentation,
        "eval_batch": preset.eval_batch,
        "eval_lr": preset.eval_lr,
        "eval_schedule": preset.eval_schedule,
        "measure_every": max(1, preset.steps // 10),
    }
    given = {k: v for k, v in dataclasses.asdict(config).items() if v is not None}
    values = {**dict.fromkeys(dataclasses.asdict(config)), **filled, **given}
    values.update(scaling_of(config, dataset.name)._asdict())
    if config.constants is not None:
        check_constants(config.constants, dataset.image_shape[-1])
    network = network_options(
        config.net, dataset, config.width, config.depth,
        norm=config.norm, activation=config.activation, pooling=config.pooling,
    )  # fmt: skip
    largest = int(np.bincount(problem.splits.train.labels).max())
    values["batch_real"] = min(values["batch_real"], largest)
    values.update(network=network, fingerprint=dataset.fingerprint)
    # Data in memory bears its own name, whatever the flag says.
    values.update(split_seed=problem.split_seed, dataset=problem.name)
    values["normalisation"] = _constants(problem.preprocess)
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


# Values that alter no step: where things are, how far to go, what is measured on the
# way and at the end. A start may change them.
PLACES = ("workdir", "data_dir", "dataset", "scores", "constants", "channels",
          "image_size")  # fmt: skip
PACE = ("steps", "save_every", "log_every", "measure_every")
MEASURED = ("probes", "probe_steps", "sdc_share", "num_eval", "num_random")
SCHEDULE = ("eval_epochs", "eval_lr", "eval_batch", "eval_schedule",
            "eval_augmentation")  # fmt: skip
# What the numbers in a summary depend on beside the set.
RESULT = ("probes", "probe_steps", "num_eval", "num_random", *SCHEDULE)


def identity(values: Mapping[str, Any], problem: Problem) -> dict[str, Any]:
    """What of a run's values makes it this run and no other: all that alters a step.

    Data is known by its fingerprint and its normalisation, whatever it was read by; a
    bank by its digest, and scores from a file by what is in them (`sorting.sorted_real`
    compares that), never by a path. Where networks are trained by the evaluation's
    schedule during the run, to select the best set or to judge segments, the schedule
    counts.

    Args:
        values: as `resolve` gives them, or an earlier version of it; a value that a
            version did not have stands for its default.
        problem: the data of this start.
    """
    usual = {
        field.name: field.default
        for kind in (Config, methods.Settings)
        for field in dataclasses.fields(kind)
        if field.default is not dataclasses.MISSING
    }
    before = "sampling" not in values  # written by a version that had one way only
    values = {**usual, **values}
    if values["objective"] == "distribution" and _has_batch_norm(values["network"]):
        # Of real images, in batch norm: each class by itself then, all together now.
        values["statistics"] = "of each class" if before else "of all classes"
    if "normalisation" not in values:  # it followed from the name alone
        name, images = str(values["dataset"]), problem.splits.train.images
        affine = normalisation(name, images)
        values["normalisation"] = None if values["zca"] else _constants(affine)
    free = {*PLACES, *PACE, *MEASURED, *SCHEDULE}
    if values["select"] == "validation":
        free -= {*SCHEDULE, "measure_every"}
    if values["segments"] != 1:
        free -= {*SCHEDULE}
        if values["judge_epochs"] is not None:
            free.add("eval_epochs")
    return {name: value for name, value in values.items() if name not in free}


def _has_batch_norm(network: Any) -> bool:
    """Whether options of `nets.make_network`, perhaps from a file, ask for it."""
    if not isinstance(network, dict) or network.get("name") not in NETS:
        return False
    return {**network, **NETS[network["name"]].fixed}.get("norm") == "batch"


def _constants(preprocess: Preprocess) -> dict[str, list[float]] | None:
    """The normalisation to five digits, None for a whitening, which the data gives."""
    if preprocess.kind != "affine":
        return None
    short = lambda array: [float(f"{x:.5g}") for x in array]
    return {"mean": short(preprocess.mean), "std": short(preprocess.std)}


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
