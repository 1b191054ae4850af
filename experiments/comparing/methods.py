"""What a comparison asks about a method: its family, its experts, its published values.

No other module of the comparisons looks into recipes and presets.
"""

from collections.abc import Callable, Hashable
from typing import Any

import jax

from jaxdd.data.problem import Problem
from jaxdd.distillation import options, resolution
from jaxdd.distillation.job import Job
from jaxdd.methods import build, presets
from jaxdd.methods.network import network_for
from jaxdd.methods.settings import METHODS, Settings
from jaxdd.modifiers.curriculum import Curriculum
from jaxdd.types import Array, Inputs, Key, Network, Synthetic

NAMES = tuple(METHODS)
_FAMILIES = {
    "gradient": "gradient",
    "contrastive": "gradient",
    "distribution": "distribution",
    "trajectory": "trajectory",
}


def _settings(method: str) -> Settings:
    return build.choose("method", method, METHODS)


def _preset(base: options.Config) -> presets.Preset:
    return presets.preset(base.method, base.dataset, base.ipc)


# --- What a method is ---------------------------------------------------------------


def family(method: str) -> str:
    """What a method matches: "gradient", "distribution" or "trajectory".

    Raises:
        UserError: there is no such method.
    """
    return _FAMILIES[_settings(method).objective]


def has_experts(method: str) -> bool:
    """Whether a method matches the trajectories of experts."""
    return family(method) == "trajectory"


def has_warmup(method: str) -> bool:
    """Whether a method matches class by class before it matches contrastively."""
    return _settings(method).objective == "contrastive"


def in_one_piece(method: str) -> bool:
    """Whether a method distils without segments of its own."""
    return _settings(method).segments == 1


def has_filters(method: str) -> bool:
    """Whether a method has a mask or a curriculum of its own."""
    masked = _settings(method).mask != "none"
    experts = presets.EXPERTS.get(method)
    return masked or (experts is not None and experts.curriculum != Curriculum())


# --- Published values ---------------------------------------------------------------


def published_steps(method: str, dataset: str, ipc: int) -> int:
    """Updates of the images."""
    return presets.preset(method, dataset, ipc).steps


def published_curriculum(dataset: str, ipc: int) -> dict[str, Any]:
    """PAD's curriculum for its experts, as flags of FIEX."""
    experts = presets.preset("pad", dataset, ipc).experts
    assert experts is not None
    curriculum = experts.curriculum
    removals = ",".join(f"{epoch}:{share:g}" for epoch, share in curriculum.removals)
    return {
        "init_ratio": curriculum.init_ratio,
        "add_end_epoch": curriculum.add_end_epoch,
        "removals": removals or "none",
    }


def published_mask_ratio(dataset: str, ipc: int) -> float:
    """The share of parameters that PAD's mask drops; 0 where none is published."""
    return presets.preset("pad", dataset, ipc).settings.mask_ratio


# --- Experts ------------------------------------------------------------------------


def last_epoch(base: options.Config) -> int:
    """The last epoch of an expert that a student may have to reach."""
    settings = _preset(base).settings
    bound = base.max_start or settings.max_start or 1
    return bound - 1 + (base.expert_epochs or settings.expert_epochs)


def bank_epochs(base: options.Config) -> int:
    """The epochs of a bank that serves a distillation, where no flag sets them."""
    preset = _preset(base)
    assert preset.experts is not None
    if base.max_start or preset.settings.max_start:
        return max(preset.experts.epochs or 0, last_epoch(base))
    return preset.experts.epochs or 50


def bank_recipe(base: options.Config) -> Hashable:
    """Methods whose recipes are equal can share a bank."""
    preset = _preset(base)
    return preset.experts, resolution.scaling_of(base), preset.settings.augmentation


# --- A run --------------------------------------------------------------------------


def network_of(base: options.Config, problem: Problem) -> Network:
    """The network that a run matches and evaluates with."""
    values = resolution.resolve(base, problem)
    return network_for(problem.dataset, values["network"])


def objective_of(job: Job) -> Callable[[Key, Synthetic, Inputs], Array]:
    """The objective of a run on fixed draws.

    Returns:
        (key, stored set, inputs) -> the loss, a scalar, at the network, the samples and
        the augmentation that the key draws. Jitted.
    """
    formation = build.formation_of(job.settings)
    loss = jax.jit(build.loss_at(job.network, job.settings, *job.axes[:2]))
    return lambda key, stored, inputs: loss(key, job.decode(stored, formation), inputs)
