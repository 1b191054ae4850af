"""The choices of a published method, and those for a recipe of your own."""

from typing import Any

from jaxdd.errors import UserError, choose, quoted
from jaxdd.experts.recipe import Experts
from jaxdd.fields import override
from jaxdd.methods.network import NetworkSpec
from jaxdd.methods.published import digits
from jaxdd.methods.published.crops import crops, teacher
from jaxdd.methods.published.features import FEATURES, features
from jaxdd.methods.published.formations import formations
from jaxdd.methods.published.matching import matching
from jaxdd.methods.published.matching import stand_in as of_loops
from jaxdd.methods.published.names import OF_THE_FIELD, known_as
from jaxdd.methods.published.preset import Length, Preset, Setting
from jaxdd.methods.published.regressions import regressions
from jaxdd.methods.published.statistics import statistics
from jaxdd.methods.published.trajectories import stand_in as of_trajectories
from jaxdd.methods.published.trajectories import trajectories
from jaxdd.methods.published.unrolled import stand_in as of_windows
from jaxdd.methods.published.unrolled import unrolled
from jaxdd.methods.recipe import Recipe
from jaxdd.methods.recipes import METHODS
from jaxdd.objectives.convex import ConvexRegression
from jaxdd.objectives.regression import FeatureRegression
from jaxdd.objectives.statistics import StatisticsMatching
from jaxdd.storage.paths import shown
from jaxdd.training.schedules import EvaluationSpec

# Datasets that are normalised with the constants of another one, in the official code
# of all methods but DC, DSA, DM and DataDAM.
CONSTANTS = {"cifar100": "cifar10"}
OWN_CONSTANTS = ("dc", "dsa", "dm", "datadam")
# Updates of the images in a run of a recipe that is not published (ours).
OWN_STEPS = 1000
# The way a preset is looked up follows from where the networks come from.
_FAMILIES = {
    "pool": matching,
    "fresh": matching,
    "real_pool": formations,
    "spans": trajectories,
    "windows": unrolled,
    "aged_pool": regressions,
    "teacher": statistics,
}
# The networks of methods that were published with others than the usual ConvNet, by
# their objective.
USUAL_NETWORKS: dict[type, NetworkSpec] = {
    FeatureRegression: NetworkSpec("convnet_double", match_norm="batch"),
    ConvexRegression: NetworkSpec("convnet_double", match_activation="softplus"),
    StatisticsMatching: NetworkSpec("convnet_bn"),
}


def usual_network(recipe: Recipe) -> NetworkSpec:
    """The network that a method was published with, without a size."""
    return USUAL_NETWORKS.get(type(recipe.objective), NetworkSpec())


def preset(
    method: str,
    dataset: str,
    ipc: int,
    factor: int | None = None,
    net: str = "convnet",
    classes: int | None = None,
) -> Preset:
    """The choices for a method on a dataset at `ipc` images per class.

    Args:
        method: one of `METHODS`.
        dataset: its name; a version behind a colon does not matter.
        ipc: images per class.
        factor: replaces the method's own, on which IDC's settings depend.
        net: the network that is matched and evaluated, one of `nets.NETS`. DC takes a
            smaller image learning rate for "mlp", and evaluates "convnet_bn" with an
            augmentation of its own.
        classes: of the data, where nothing is published for them: the labels and the
            evaluation of FRePo and RCIG depend on how many there are.

    Published where there is such a value; elsewhere documented ones (ours), of which
    `unpublished` tells: the loops of DC and DSA follow the rule of `matching.loops`;
    trajectory methods take the row of the nearest published number of images per class,
    and for other data MTT's defaults with start epochs from 0 up to the last that
    leaves room for a span. On the
    small `digits`, and on the sets of other shapes in `SMALL`, there are 300 steps, 64
    real samples per class, and for DC and DSA 10 matches per network, 10 epochs in
    between and an image learning rate of 0.03 for each of up to ten images. DM's image
    learning rate is 10 from 100 images per class on for CIFAR-10.

    Raises:
        UserError: an unknown method, or no images.

    Example:
        >>> chosen = preset("dc", "cifar10", ipc=10)
        >>> learner = chosen.recipe.learner
        >>> chosen.length.steps, learner.matches, learner.inner_epochs
        (10010, 10, 50)
        >>> preset("mtt", "cifar10", ipc=1).recipe.objective.student_steps
        50
    """
    recipe = choose("method", method, METHODS)
    _check_images(ipc)
    dataset = settings_of(dataset)
    # Tiles of an 8x8 image are 4x4: see `formations.DIGITS_IDC`.
    usual = 1 if dataset == "digits" else recipe.images.factor
    recipe = override(recipe, {"factor": usual if factor is None else factor})
    look_up = features if method in FEATURES else _FAMILIES.get(recipe.learner.name)
    if recipe.needs_teacher:
        look_up = crops
    if look_up is None:  # networks from elsewhere: nothing is published
        return completed(recipe, dataset)
    chosen = look_up(method, recipe, Setting(dataset, ipc, net, classes))
    if method not in OWN_CONSTANTS:
        chosen = override(chosen, {"constants": CONSTANTS.get(dataset)})
    return chosen


def unpublished(method: str, dataset: str, ipc: int) -> str | None:
    """What is taken where the tables of published settings have no row.

    Known are the rows of trajectory methods and of RaT-BPTT, the loops of DC, DSA, DCC
    and DSAC, and which datasets are none of the field's.

    Args:
        method: one of `METHODS`.
        dataset: its name.
        ipc: images per class.

    Returns:
        A sentence; None where there is a row, and for the digits, whose settings are
        ours.

    Source: ours.

    Raises:
        UserError: an unknown method, or no images.

    Example:
        >>> unpublished("datm", "cifar10", 10)
        >>> print(unpublished("datm", "cifar10", 5))  # doctest: +NORMALIZE_WHITESPACE
        no settings of datm are known for cifar10 at 5 per class: those of 10 per class
        are taken
    """
    recipe, name = choose("method", method, METHODS), settings_of(dataset)
    _check_images(ipc)
    if name == "digits" and dataset.startswith("digits"):
        return None
    at = f" at {ipc} per class" if known_as(name, OF_THE_FIELD) else ""
    of_digits = "those of the digits are taken"
    taken = of_digits if name == "digits" else _stand_in(method, recipe, name, ipc)
    if taken is None:
        return None
    return f"no settings of {method} are known for {shown(dataset)}{at}: {taken}"


def _stand_in(method: str, recipe: Recipe, dataset: str, ipc: int) -> str | None:
    """What is taken where there is no row, in words; None where there is one."""
    family = _FAMILIES.get(recipe.learner.name)
    if family is trajectories:
        return of_trajectories(method, dataset, ipc)
    if family is unrolled:
        return of_windows(dataset, ipc)
    loops = of_loops(recipe, ipc) if family is matching else None
    if known_as(dataset, OF_THE_FIELD) is None:
        return "its defaults are taken" + (f", and {loops}" if loops else "")
    return loops


def _check_images(ipc: int) -> None:
    """Refuse fewer images per class than one.

    Raises:
        UserError: there are fewer.
    """
    if ipc < 1:
        raise UserError(f"the images per class must be at least 1, not {quoted(ipc)}")


# Small sets of other shapes, with the settings of digits (ours).
SMALL = ("breast_cancer", "wine", "waves", "table")


def settings_of(dataset: str) -> str:
    """The dataset by whose name settings are looked up; a version does not matter.

    Example:
        >>> settings_of("cifar10:3.0.2"), settings_of("table:pets.csv")
        ('cifar10', 'digits')
    """
    name = dataset.partition(":")[0]
    return "digits" if name in SMALL else name


def completed(recipe: Recipe, dataset: str) -> Preset:
    """Choices for a recipe of your own, where nothing is published (ours).

    The recipe stays as it is. The run has 300 steps on `digits` and 1000 elsewhere; the
    evaluation trains with the match's augmentation, 1000 epochs with one and 300
    without.
    """
    dataset = settings_of(dataset)
    augmentation = recipe.objective.augmentation
    experts = Experts() if recipe.needs_experts else None
    if recipe.taught or (recipe.needs_teacher and experts is None):
        experts = teacher(dataset)
    row: dict[str, Any] = {
        "steps": digits.STEPS if dataset == "digits" else OWN_STEPS,
        "eval_augmentation": augmentation,
        "eval_epochs": 300 if augmentation == "none" else 1000,
    }
    if recipe.needs_experts and not recipe.taught and dataset == "digits":
        row |= digits.EXPERTS
    rate = None if recipe.follows else 0.01
    return override(
        Preset(recipe, Length(), EvaluationSpec(lr=rate), experts=experts), row
    )
