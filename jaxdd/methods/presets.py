"""Published settings per method, dataset and ipc, and documented ones elsewhere.

Source of the values here: the official code of DC, DSA and DM (VICO-UoE,
DatasetCondensation); those of trajectory matching are in `published.py`. Iterations are
converted: one step here is one update of the images, and the official loops run from 0
to `Iteration` inclusive.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from jaxdd.augment import dsa_strategy, idc_strategy
from jaxdd.data.problem import Scaling
from jaxdd.errors import choose
from jaxdd.experts.recipe import Experts
from jaxdd.fields import Choice, option, override
from jaxdd.learners.pools import Pool
from jaxdd.methods import published_bptt
from jaxdd.methods.features import FEATURES
from jaxdd.methods.network import NetworkSpec
from jaxdd.methods.published import STEPS, published
from jaxdd.methods.recipe import Recipe
from jaxdd.methods.recipes import METHODS
from jaxdd.methods.regressions import settings
from jaxdd.modifiers.curriculum import Window
from jaxdd.objectives.contrastive import ContrastiveMatching
from jaxdd.training.schedules import EvaluationSpec

# ipc -> (matches per network, epochs on the set between matches), for DC and DSA.
LOOPS = {
    1: (1, 1),
    10: (10, 50),
    20: (20, 25),
    30: (30, 20),
    40: (40, 15),
    50: (50, 10),
}
# The same of DCC and DSAC (Saehyung-Lee, DCC), which differ at one image per class.
CONTRASTIVE_LOOPS = {**LOOPS, 1: (10, 5)}
# Networks that are drawn: DC's and DSA's loop includes its last index, that of DCC and
# DSAC ends after an evaluation.
NETWORKS, CONTRASTIVE_NETWORKS = 1001, 1000
# DC's readme: the image learning rate where the network is an MLP.
IMAGE_LR = {("dc", "mlp"): 0.01}
DM_STEPS = 20001
# IDC's official code: 2000 networks with 100 matches each; per dataset its distance,
# the image learning rate at 10 images per class and the samples of network training.
IDC_NETWORKS, IDC_MATCHES = 2000, 100
IDC: dict[str, dict[str, Any]] = {
    "cifar": {"distance": "mse", "image_lr": 5e-3, "pool_samples": 2000},
    "svhn": {"distance": "mse", "image_lr": 5e-3, "pool_samples": 500},
    "mnist": {"distance": "l1", "image_lr": 1e-4, "pool_samples": 500},
    "fashion": {"distance": "l1", "image_lr": 1e-4, "pool_samples": 500},
}
# What its code does without settings for a dataset.
IDC_OTHERS: dict[str, Any] = {"distance": "l1", "image_lr": 5e-3, "pool_samples": 500}
IDC_OTHER_NETWORKS = 500
IDC_EPOCHS, IDC_BATCH = 1000, 64
# Ours, for digits at one image per class. Two choices by validation accuracy: some
# training between matches (93.3 % against 92.4 %, one seed, width 64, 10 % held out)
# and the step (92.5 % at 0.03 against 91.9 % at 0.1, three seeds, width 32, 30 % held
# out). Such differences are within the noise; batch and width are for speed.
DIGITS_STEPS, DIGITS_LOOPS, DIGITS_BATCH, DIGITS_LR = 300, (10, 10), 64, 0.03
# Ours, for IDC on digits. By validation accuracy at five images per class (30 % held
# out, 200 evaluation epochs, three networks, seed 0): 96.1 % with whole images at a
# rate of 0.001 (95.1 at 0.01, 92.6 at 0.03), at most 86.0 % with tiles, which leave 4x4
# pixels of 8x8; random real images reach 90.3 %.
DIGITS_IDC: dict[str, Any] = {
    "matches": 10,
    "image_lr": 0.001,
    "pool_samples": 256,
}
# Ours, for trajectories on digits: small experts that are trained within seconds.
DIGITS_TRAJECTORY: dict[str, Any] = {
    "student_steps": 20,
    "expert_epochs": 2,
    "max_start": 6,
    "image_lr": 10.0,
    "step_size_lr": 1e-5,
    "step_size": 0.01,
}
DIGITS_LABEL_LR = 1.0
DIGITS_EXPERTS: dict[str, Any] = {
    "num_experts": 10,
    "bank_epochs": 12,
    "expert_batch": 64,
}
# PAD removes easy samples once in the paper, which does not say when (its code: 10 %
# after epoch 40 and 20 % after 60): the first of the code's two steps is ours.
REMOVALS = ((40, 0.1),)


# Experts of each method; FTD's alpha per dataset is in `published.py`. PAD's window is
# its Table 7, with AEE 40 where no other value is published.
EXPERTS = {
    "mtt": Experts(),
    "ftd": Experts(gsam_rho=0.01, gsam_alpha=0.4),
    "tesla": Experts(),
    "datm": Experts(gsam_rho=0.01, gsam_alpha=0.3),
    "pad": Experts(gsam_rho=0.01, gsam_alpha=0.3),
    # Without the momentum, decays and CutMix of its official code, and on disk after
    # every epoch instead of the first and the last alone (ours).
    "ncfm": Experts(count=20, epochs=60, batch_size=128),
}
WINDOWS = {
    "pad": Window(init_ratio=0.75, add_end_epoch=40, removals=REMOVALS),
}
AEE = {"cifar10": 20}
DIGITS_WINDOW: dict[str, Any] = {"add_end_epoch": 3, "removals": ((5, 0.1),)}
# Datasets that are normalised with the constants of another one, in the official code
# of all methods but DC, DSA, DM and DataDAM.
CONSTANTS = {"cifar100": "cifar10"}
OWN_CONSTANTS = ("dc", "dsa", "dm", "datadam")
# Whose settings fill what a method's own table leaves out.
COMPLETED_BY = {"pad": "datm"}
# DATM and PAD evaluate, and start, as learned labels need it.
SOFT_EVALUATION: dict[str, Any] = {"eval_batch": 128}


@dataclass(frozen=True)
class Length(Choice):
    """How far a run goes.

    Attributes:
        steps: updates of the images.
    """

    subject: ClassVar[str] = "the run"

    steps: int = option(
        1, "number of updates of the synthetic images", above=0, often=True
    )


@dataclass(frozen=True)
class Preset:
    """All choices of a run that depend on method, dataset and ipc.

    Attributes:
        recipe: the method. For trajectories without published settings
            `learner.max_start` is None: up to the last epoch that leaves room for a
            span.
        length: updates of the images.
        evaluation: the official one.
        scaling: how images are normalised.
        window: which real samples are in play.
        experts: how experts are trained; None where none are needed.
    """

    recipe: Recipe
    length: Length
    evaluation: EvaluationSpec
    scaling: Scaling = Scaling()
    window: Window = Window()
    experts: Experts | None = None


def loops(ipc: int, contrastive: bool = False) -> tuple[int, int]:
    """(matches per network, inner epochs).

    Published for ipc 1, 10, 20, 30, 40, 50. Elsewhere (ours): as many matches as images
    per class, at most 50, and inner epochs that keep matches * epochs near 500.
    """
    known = CONTRASTIVE_LOOPS if contrastive else LOOPS
    if ipc in known:
        return known[ipc]
    matches = min(ipc, 50)
    return matches, max(1, round(500 / matches))


# The networks of methods that were published with others than the usual ConvNet, by
# the name of their objective.
USUAL_NETWORKS: dict[str, NetworkSpec] = {
    "regression": NetworkSpec("convnet_double", match_norm="batch"),
    "convex": NetworkSpec("convnet_double", match_activation="softplus"),
}


def usual_network(recipe: Recipe) -> NetworkSpec:
    """The network that a method was published with, without a size."""
    return USUAL_NETWORKS.get(recipe.objective.name, NetworkSpec())


def preset(
    method: str,
    dataset: str,
    ipc: int,
    factor: int | None = None,
    net: str = "convnet",
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

    Published where there is such a value; elsewhere documented ones (ours): the loops
    of DC and DSA follow the rule of `loops`, trajectory methods take MTT's defaults
    with start epochs from 0 up to the last that leaves room for a span. On the small
    `digits` there are 300 steps, 64 real samples per class, and for DC and DSA 10
    matches per network, 10 epochs in between and an image learning rate of 0.03. DM's
    image learning rate is 10 from 100 images per class on for CIFAR-10.

    Raises:
        UserError: an unknown method.

    Example:
        >>> chosen = preset("dc", "cifar10", ipc=10)
        >>> learner = chosen.recipe.learner
        >>> chosen.length.steps, learner.matches, learner.inner_epochs
        (10010, 10, 50)
        >>> preset("mtt", "cifar10", ipc=1).recipe.objective.student_steps
        50
    """
    recipe = choose("method", method, METHODS)
    dataset = settings_of(dataset)
    # Tiles of an 8x8 image are 4x4: see DIGITS_IDC.
    usual = 1 if dataset == "digits" else recipe.images.factor
    recipe = override(recipe, {"factor": usual if factor is None else factor})
    look_up = _features if method in FEATURES else _FAMILIES[recipe.learner.name]
    chosen = look_up(method, recipe, dataset, ipc, net)
    if method not in OWN_CONSTANTS:
        chosen = override(chosen, {"constants": CONSTANTS.get(dataset)})
    return chosen


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


def _dc_evaluation(dataset: str, net: str) -> str:
    """The augmentation of DC's evaluation: of a network first, then of a dataset."""
    if net == "convnet_bn":
        return "dc:crop_noise"
    return "dc" if dataset == "mnist" else "none"


def _matching(method: str, recipe: Recipe, dataset: str, ipc: int, net: str) -> Preset:
    """Gradient and distribution matching."""
    augmented = recipe.objective.augmentation != "none"
    strategy = dsa_strategy(dataset) if augmented else "none"
    row: dict[str, Any] = {"augmentation": strategy, "steps": DM_STEPS}
    if isinstance(recipe.learner, Pool):
        contrastive = isinstance(recipe.objective, ContrastiveMatching)
        row["matches"], row["inner_epochs"] = loops(ipc, contrastive)
        networks = CONTRASTIVE_NETWORKS if contrastive else NETWORKS
        row["steps"] = networks * row["matches"]
    row["image_lr"] = IMAGE_LR.get((method, net), recipe.images.lr)
    if method == "dm" and dataset == "cifar10" and ipc >= 100:
        row["image_lr"] = 10.0
    if dataset == "digits":
        row |= _digits(recipe)
    evaluation = strategy if augmented else _dc_evaluation(dataset, net)
    row["eval_augmentation"] = evaluation
    row["eval_epochs"] = 300 if evaluation == "none" else 1000
    return override(Preset(recipe, Length(), EvaluationSpec(lr=0.01)), row)


def _features(method: str, recipe: Recipe, dataset: str, ipc: int, net: str) -> Preset:
    """Distribution matching beyond means: `features.py`."""
    del net
    row = FEATURES[method](dataset, ipc)
    experts = EXPERTS.get(method)
    base = Preset(recipe, Length(), EvaluationSpec(lr=0.01), experts=experts)
    if experts is not None and dataset == "digits":
        row |= DIGITS_EXPERTS
    return override(base, row)


def _digits(recipe: Recipe) -> dict[str, Any]:
    """What is ours on digits, for gradient and distribution matching."""
    row: dict[str, Any] = {"steps": DIGITS_STEPS, "batch_real": DIGITS_BATCH}
    if isinstance(recipe.learner, Pool):
        row["matches"], row["inner_epochs"] = DIGITS_LOOPS
        row["image_lr"] = DIGITS_LR
    if isinstance(recipe.objective, ContrastiveMatching):
        # The same quarter of the networks as of the published thousand.
        warm_up = recipe.objective.warmup_networks * DIGITS_STEPS
        row["warmup_networks"] = warm_up // (CONTRASTIVE_NETWORKS * row["matches"])
    return row


def _formations(
    method: str, recipe: Recipe, dataset: str, ipc: int, net: str
) -> Preset:
    """IDC and D4A: the official `reproduce` settings, and its defaults elsewhere."""
    del method, net
    row, networks = dict(IDC_OTHERS), IDC_OTHER_NETWORKS
    for name, known in IDC.items():
        if dataset.startswith(name):
            row, networks = dict(known), IDC_NETWORKS
    # Learning rates are given at 10 images per class; a size of 28 counts for 32 where
    # the official code has it so.
    row["image_lr"] *= ipc / 10 * ((28 / 32) ** 2 if "fashion" in dataset else 1)
    row["pool_augmentation"] = "idc:color_crop+cutmix=0.5"
    if recipe.segments is not None:
        row["segments"] = min(recipe.segments.count, max(2, ipc))
    factor = recipe.images.factor
    evaluation = f"idc:{idc_strategy(dataset)}+cutmix=0.5"
    if dataset.startswith("mnist") and factor > 1:
        row["augmentation"] = row["pool_augmentation"] = "idc:color_crop"
        evaluation = "idc:color_crop_scale_rotate"
    if dataset.startswith("svhn") and factor == ipc == 1:
        evaluation = "idc:color_crop_cutout_scale_rotate"
    row["steps"] = networks * IDC_MATCHES
    if dataset == "digits":
        row |= {"steps": DIGITS_STEPS, **DIGITS_IDC}
    row |= {
        "eval_epochs": IDC_EPOCHS,
        "eval_augmentation": evaluation,
        "eval_batch": IDC_BATCH,
        "eval_schedule": "idc",
    }
    return override(Preset(recipe, Length(), EvaluationSpec(lr=0.01)), row)


def _trajectory(
    method: str, recipe: Recipe, dataset: str, ipc: int, net: str
) -> Preset:
    """Trajectory matching: `published.py`, or MTT's defaults."""
    del net
    open_ended = replace(recipe.spans, max_start=None)
    base = Preset(
        replace(recipe, learner=open_ended),
        Length(),
        EvaluationSpec(),
        window=WINDOWS.get(method, Window()),
        experts=EXPERTS[method],
    )
    strategy = dsa_strategy(dataset)
    row: dict[str, Any] = {
        "augmentation": strategy,
        "eval_augmentation": strategy,
        "eval_epochs": 1000,
        "steps": STEPS[method],
    }
    if recipe.learned_labels:
        row |= SOFT_EVALUATION
    table = published(method, dataset, ipc)
    if table is not None:
        # Whitening is published for CIFAR, and by DATM and PAD for all their datasets.
        row["zca"] = recipe.learned_labels or dataset in ("cifar10", "cifar100")
        completed = COMPLETED_BY.get(method, method)
        row |= {**(published(completed, dataset, ipc) or {}), **table}
    windowed = method in WINDOWS
    if windowed and dataset in AEE:
        row["add_end_epoch"] = AEE[dataset]
    if dataset == "digits":
        row |= {"steps": DIGITS_STEPS, **DIGITS_TRAJECTORY, **DIGITS_EXPERTS}
        row |= DIGITS_WINDOW if windowed else {}
        if recipe.learned_labels:
            row["label_lr"] = DIGITS_LABEL_LR
        if recipe.mask is not None:
            row["mask_ratio"] = 0.25
        if recipe.images.ema_decay:
            row["ema_decay"] = 0.99  # a few hundred steps
    return override(base, row)


def _unrolled(method: str, recipe: Recipe, dataset: str, ipc: int, net: str) -> Preset:
    """Training through a window: `published_bptt.py`."""
    del method, net
    strategy = _without_flip(recipe.objective.augmentation, dataset)
    # Whitening is published for CIFAR (there of another kind: that of KIP).
    row: dict[str, Any] = {
        "augmentation": strategy,
        "eval_augmentation": strategy,
        "zca": dataset in ("cifar10", "cifar100"),
        "steps": DIGITS_STEPS if dataset == "digits" else published_bptt.STEPS,
        "eval_optimizer": "adam",
        "eval_schedule": "constant",
        **published_bptt.settings(dataset, ipc),
    }
    return override(Preset(recipe, Length(), EvaluationSpec(lr=1e-3)), row)


def _without_flip(strategy: str, dataset: str) -> str:
    """The strategy, without mirrored digits (ours, as DSA has it)."""
    mirrored = "flip" in dsa_strategy(dataset)
    return strategy if mirrored else strategy.replace("flip_", "")


def _regression(
    method: str, recipe: Recipe, dataset: str, ipc: int, net: str
) -> Preset:
    """FRePo and RCIG: `regressions.py`."""
    del method, net
    evaluation = EvaluationSpec(schedule="cosine", optimizer="adam", loss="mse")
    row = settings(recipe.objective.name, dataset, ipc)
    return override(Preset(recipe, Length(), evaluation), row)


# The way a preset is looked up follows from where the networks come from.
_FAMILIES = {
    "pool": _matching,
    "fresh": _matching,
    "real_pool": _formations,
    "spans": _trajectory,
    "windows": _unrolled,
    "aged_pool": _regression,
}


def completed(recipe: Recipe, dataset: str) -> Preset:
    """Choices for a recipe of your own, where nothing is published (ours).

    The recipe stays as it is. The run has 300 steps on `digits` and 1000 elsewhere; the
    evaluation trains with the match's augmentation, 1000 epochs with one and 300
    without.
    """
    dataset = settings_of(dataset)
    augmentation = recipe.objective.augmentation
    experts = Experts() if recipe.needs_experts else None
    row: dict[str, Any] = {
        "steps": DIGITS_STEPS if dataset == "digits" else OWN_STEPS,
        "eval_augmentation": augmentation,
        "eval_epochs": 300 if augmentation == "none" else 1000,
    }
    if experts is not None and dataset == "digits":
        row |= DIGITS_EXPERTS
    rate = None if recipe.follows else 0.01
    return override(
        Preset(recipe, Length(), EvaluationSpec(lr=rate), experts=experts), row
    )


# Updates of the images in a run of a recipe that is not published (ours).
OWN_STEPS = 1000
