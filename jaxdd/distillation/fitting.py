"""A run fitted to the shape of its samples: what presets say of images falls away.

A flag that is given stays, and is refused where it does not fit.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from jaxdd.data import Dataset
from jaxdd.distillation.choices import Run
from jaxdd.fields import Choice, flags_of, flat, override
from jaxdd.learners.fresh import Fresh
from jaxdd.methods.network import NetworkSpec
from jaxdd.methods.recipe import Recipe
from jaxdd.modality import Modality, check_augmentation, check_pixels

# Epochs of an evaluation without augmentation, where it had one (DC's official code).
PLAIN_EPOCHS = 300
# Rates by learner source (ours): published ones are for thousands of pixels, and with
# dozens of numbers their runs diverge. Experts take small batches, or an epoch of a
# small table would hardly move them.
_SPANS = {"image_lr": 1.0, "step_size_lr": 1e-7, "expert_batch": 16}
_FRESH = 0.1  # of the published rate of images
# Flags of what is done to pixels, with the value that does nothing to them.
_OF_PIXELS = {"factor": 1, "formation": "single", "space": "input"}


def fit(run: Run, flags: Mapping[str, Any], dataset: Dataset) -> Run:
    """The run for samples of a dataset, whatever their shape (ours).

    Vectors and sequences get the usual network of their shape, rates of their own, no
    tiles, no stored pixels, and in place of an augmentation of images that of
    `Modality.usual`; where none is left, the evaluation has 300 epochs at most. Of an
    MLP all tensors are matched where a method matches the kernels of convolutions.
    Images stay as they are.

    Args:
        run: its choices.
        flags: {flag: value} of those that were given.
        dataset: the data.

    Raises:
        UserError: a choice does not fit the samples.
    """
    shape, usual = dataset.image_shape, dataset.modality.usual
    if usual is not None:
        run = _without_pixels(run, flags, dataset.modality, usual)
    for name in _augmentations(run):
        check_augmentation(name, shape)
    for flag, plain in _OF_PIXELS.items():
        value = getattr(run.recipe.images, flag)
        if value != plain:
            check_pixels(f"--{flag}={value}", shape)
    for flag, part in _flips(run.recipe).items():
        if part.flip:
            check_pixels(f"--{flag}", shape)
    if hasattr(run.recipe.objective, "views"):
        check_pixels(f"--method={run.method} with its views", shape)
    area = run.recipe.images.crops.area
    if run.recipe.needs_teacher and area < 1:
        check_pixels(f"--crop_area={area:g}", shape)
    return run


def _without_pixels(
    run: Run, flags: Mapping[str, Any], modality: Modality, usual: str
) -> Run:
    given = {name for name, value in flags.items() if value is not None}
    if "net" not in given:
        fields = [field.name for field in dataclasses.fields(NetworkSpec)]
        own = {name: getattr(run.network, name) for name in fields if name in given}
        own["net"] = modality.network
        run = replace(run, network=NetworkSpec(**own))
    recipe, evaluation = run.recipe, run.evaluation
    plain: dict[str, Any] = {
        name: x for name, x in _OF_PIXELS.items() if name not in given
    }
    if "crop_area" not in given:
        # Whole samples: what a part of a table's row would be is not known.
        plain["crops"] = replace(recipe.images.crops, area=1.0)
    recipe = replace(recipe, images=replace(recipe.images, **plain))
    if "augmentation" not in given:
        recipe = replace(recipe, objective=_augmented(recipe.objective, usual))
    plain = {flag: False for flag in _flips(recipe) if flag not in given}
    recipe = override(recipe, plain)
    objective: Any = recipe.objective
    of_kernels = getattr(objective, "tensors", None) == "kernels"
    if of_kernels and run.network.net == "mlp" and "tensors" not in given:
        recipe = replace(recipe, objective=replace(objective, tensors="all"))
    if "pool_augmentation" not in given:
        recipe = replace(recipe, learner=_augmented(recipe.learner, usual))
    if "eval_augmentation" not in given:
        evaluation = _augmented(evaluation, usual)
        without = evaluation.augmentation == "none" != run.evaluation.augmentation
        if without and "eval_epochs" not in given:
            epochs = min(evaluation.epochs, PLAIN_EPOCHS)
            evaluation = replace(evaluation, epochs=epochs)
    run = replace(run, recipe=recipe, evaluation=evaluation)
    return override(run, {n: x for n, x in _rates(run).items() if n not in given})


def _flips(recipe: Recipe) -> dict[str, Any]:
    """{flag: the part of a recipe in which it adds mirror images}."""
    parts: dict[str, Any] = {"flip": recipe.objective, "pool_flip": recipe.learner}
    kinds: dict[str, Any] = {flag: type(part) for flag, part in parts.items()}
    return {
        flag: part
        for flag, part in parts.items()
        if issubclass(kinds[flag], Choice) and flag in flags_of(kinds[flag])
    }


def _rates(run: Run) -> dict[str, float]:
    """Rates of the matching of paths and of features, by flag."""
    own = flat(run)
    if isinstance(run.recipe.learner, Fresh):
        return {"image_lr": _FRESH * own["image_lr"]}
    return {n: x for n, x in _SPANS.items() if run.recipe.follows and n in own}


def _augmented(choice: Any, usual: str) -> Any:
    """A choice with the usual augmentation where it has one."""
    if getattr(choice, "augmentation", None) in (None, "none"):
        return choice
    return replace(choice, augmentation=usual)


def _augmentations(run: Run) -> list[str]:
    """The augmentations of the match, of networks in between, of the evaluation."""
    parts = run.recipe.objective, run.recipe.learner, run.evaluation
    names = [getattr(part, "augmentation", None) for part in parts]
    return [name for name in names if name is not None]
