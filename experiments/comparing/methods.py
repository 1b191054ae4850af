"""What a comparison asks about a method: its family, its experts, its published values.

No other module of the comparisons looks into recipes and presets.
"""

from collections.abc import Callable, Hashable
from typing import Any

import jax

from jaxdd.data.problem import Problem, Scaling
from jaxdd.distillation import options, resolution
from jaxdd.distillation.bank_spec import USUAL_EPOCHS
from jaxdd.distillation.choices import Run
from jaxdd.distillation.job import Job
from jaxdd.errors import choose
from jaxdd.fields import flat
from jaxdd.methods import build, presets
from jaxdd.methods.published.trajectories import WINDOWS
from jaxdd.methods.recipe import Recipe
from jaxdd.methods.recipes import METHODS
from jaxdd.modifiers.curriculum import removals_text
from jaxdd.objectives.contrastive import ContrastiveMatching
from jaxdd.types import Array, Inputs, Key, Network, Synthetic

NAMES = tuple(METHODS)
# Objectives that are read together in a table.
_FAMILIES = {"contrastive": "gradient"}


def _recipe(method: str) -> Recipe:
    return choose("method", method, METHODS)


def _run(base: options.Flags) -> Run:
    return options.run_of(base.method, options.given(base))


# --- What a method is ---------------------------------------------------------------


def family(method: str) -> str:
    """What a method matches: "gradient", "distribution", "trajectory", or what its
    objective is called: "regression", "convex", "bptt", "statistics".

    Raises:
        UserError: there is no such method.
    """
    name = _recipe(method).objective.name
    return _FAMILIES.get(name, name)


def has_features(method: str) -> bool:
    """Whether a method looks at features, of one block or of all."""
    return "features" in flat(_recipe(method))


def has_experts(method: str) -> bool:
    """Whether a method takes its networks from a bank of experts."""
    return _recipe(method).needs_experts


def has_teacher(method: str) -> bool:
    """Whether a method has one trained network in every step, which forgets nothing."""
    return _recipe(method).taught


def usual_net(method: str) -> str:
    """The network that a method is run with where nothing else is asked for."""
    return presets.usual_network(_recipe(method)).net


def has_students(method: str) -> bool:
    """Whether a method matches the trajectories of experts."""
    return _recipe(method).follows


def has_warmup(method: str) -> bool:
    """Whether a method matches class by class before it matches contrastively."""
    return isinstance(_recipe(method).objective, ContrastiveMatching)


def in_one_piece(method: str) -> bool:
    """Whether a method distils without segments of its own."""
    return _recipe(method).segments is None


def has_filters(method: str) -> bool:
    """Whether a method has a mask or a curriculum of its own."""
    return _recipe(method).mask is not None or method in WINDOWS


# --- Published values ---------------------------------------------------------------


def published_steps(method: str, dataset: str, ipc: int) -> int:
    """Updates of the images."""
    return presets.preset(method, dataset, ipc).length.steps


def published_image_lr(method: str, dataset: str, ipc: int) -> float:
    """Learning rate of the images."""
    return presets.preset(method, dataset, ipc).recipe.images.lr


def published_curriculum(dataset: str, ipc: int) -> dict[str, Any]:
    """PAD's curriculum for its experts, as flags of FIEX."""
    window = presets.preset("pad", dataset, ipc).window
    return {
        "init_ratio": window.init_ratio,
        "add_end_epoch": window.add_end_epoch,
        "removals": removals_text(window.removals),
    }


def published_mask_ratio(dataset: str, ipc: int) -> float:
    """The share of parameters that PAD's mask drops, 0 where it publishes none."""
    mask = presets.preset("pad", dataset, ipc).recipe.mask
    return 0.0 if mask is None else mask.ratio


# --- Experts ------------------------------------------------------------------------


def last_epoch(base: options.Flags) -> int:
    """The last epoch of an expert that a student may have to reach."""
    recipe = _run(base).recipe
    if not recipe.follows:
        return 1
    return (recipe.spans.max_start or 1) - 1 + recipe.span_epochs


def bank_epochs(base: options.Flags) -> int:
    """The epochs of a bank that serves a distillation, where no flag sets them."""
    run = _run(base)
    published = run.published.bank_epochs
    if run.recipe.follows and run.recipe.spans.max_start is not None:
        return max(published or 0, last_epoch(base))
    return published or USUAL_EPOCHS


def bank_recipe(base: options.Flags) -> Hashable:
    """Methods whose recipes are equal can share a bank."""
    chosen = presets.preset(base.method, base.dataset, base.ipc)
    augmentation = chosen.recipe.objective.augmentation
    return chosen.experts, chosen.window, scaling_of(base), augmentation


def scaling_of(base: options.Flags) -> Scaling:
    """How a method sees the images."""
    run = _run(base)
    return options.scaling_of(run, run.data.dataset)


# --- A run --------------------------------------------------------------------------


def network_of(base: options.Flags, problem: Problem) -> Network:
    """The network that a run matches and evaluates with, of the data's shape."""
    run, _ = resolution.on_data(base.method, options.given(base), problem)
    return run.network.sized(problem.dataset).make(problem.dataset, run.arithmetic)


def objective_of(job: Job) -> Callable[[Key, Synthetic, Inputs], Array]:
    """The objective of a run on fixed draws.

    Returns:
        (key, stored set, inputs) -> the loss, a scalar, at the network, the samples and
        the augmentation that the key draws. Jitted.
    """
    formation = job.recipe.formation
    loss = jax.jit(build.loss_at(job.matched, job.recipe, job.context))
    return lambda key, stored, inputs: loss(key, job.decode(stored, formation), inputs)
