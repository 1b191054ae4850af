"""Named settings, random tensors of their shapes, and methods that are ready to step.

standard   ConvNet-3 of width 128, 32x32x3, as in the published tables
small      ConvNet-2 of width 32, 8x8x1: the network of `digits`

Both have 10 classes. No dataset is read: the cost of a step does not depend on what the
images show.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdd.data.real import real_data
from jaxdd.devices import policy
from jaxdd.errors import UserError, quoted
from jaxdd.fields import flat, override
from jaxdd.learners.context import Context
from jaxdd.learners.spans import Spans
from jaxdd.methods.build import build
from jaxdd.methods.presets import preset
from jaxdd.methods.recipe import Recipe
from jaxdd.methods.recipes import METHODS
from jaxdd.nets import make_network
from jaxdd.objectives.contrastive import ContrastiveMatching
from jaxdd.synthetic.decoder import make_decoder
from jaxdd.types import (
    Decoder,
    Inputs,
    Method,
    MethodState,
    Network,
    Params,
    RealData,
    Space,
    Span,
    Synthetic,
)

BASES = ("dc", "dsa", "dcc", "dsac", "idc", "dm", "mtt", "ftd", "tesla", "datm")
SDC = "+sdc"  # behind a method: with the difficulty correction
ALL = (*BASES, "dsa" + SDC)
# D4A is IDC in segments; one of its steps is one of IDC's. RDED takes none, and those
# of SRe2L and CDA need a teacher.
KNOWN = tuple(name for name in METHODS if name not in ("d4a", "rded", "sre2l", "cda"))


@dataclass(frozen=True)
class Setting:
    """What is distilled, with what network.

    Attributes:
        dataset: whose presets count.
        shape: [H, W, C] of an image.
        width, depth: of the ConvNet.
        classes: K.
        per_class: real images of a class.
    """

    name: str
    dataset: str
    shape: tuple[int, int, int]
    width: int
    depth: int
    classes: int = 10
    per_class: int = 256


SETTINGS = {
    "standard": Setting("standard", "cifar10", (32, 32, 3), 128, 3),
    "small": Setting("small", "digits", (8, 8, 1), 32, 2),
}
# Pixels [0, 1] of images with mean 1/2 and standard deviation 1/4.
PIXEL_MEAN, PIXEL_STD = 0.5, 0.25
PIXELS = Space(
    lambda images: images * PIXEL_STD + PIXEL_MEAN,
    lambda stored: (stored - PIXEL_MEAN) / PIXEL_STD,
    PIXEL_MEAN,
)


class Case(NamedTuple):
    """A method at a setting, with all that a step needs."""

    name: str  # "dsa", "dsa+sdc"
    setting: Setting
    recipe: Recipe
    ipc: int
    microbatch: int | None
    network: Network
    method: Method
    state: MethodState
    inputs: Inputs
    params: Params  # of a new network


def settings_named(text: str, width: int | None = None) -> list[Setting]:
    """ "standard,small" to settings; `width` replaces theirs.

    Raises:
        UserError: an unknown name, or no width.
    """
    if width is not None and width < 1:
        raise UserError(f"--width must be at least 1, not {width}")
    chosen = [SETTINGS[name] for name in known(text, tuple(SETTINGS), "setting")]
    if width is None:
        return chosen
    return [dataclasses.replace(setting, width=width) for setting in chosen]


def methods_named(text: str) -> list[str]:
    """ "all" or "dsa,dsa+sdc" to names.

    Raises:
        UserError: an unknown name.
    """
    if text == "all":
        return list(ALL)
    names = text.split(",")
    known(",".join(name.removesuffix(SDC) for name in names), KNOWN, "method")
    return names


def known(text: str, options: tuple[str, ...], what: str) -> list[str]:
    """Names joined by commas, all of them known.

    Raises:
        UserError: an unknown one.
    """
    names = text.split(",")
    for name in names:
        if name not in options:
            raise UserError(
                f"unknown {what} {quoted(name)}: choose from {', '.join(options)}"
            )
    return names


def recipe_of(name: str, dataset: str, ipc: int, student_steps: int) -> Recipe:
    """A method's preset, which runs without a bank of experts."""
    recipe = preset(name.removesuffix(SDC), dataset, ipc).recipe
    changes: dict[str, Any] = {}
    if isinstance(recipe.learner, Spans):
        changes["student_steps"] = student_steps
        if recipe.learner.max_start is None:
            changes["max_start"] = 1
    if isinstance(recipe.objective, ContrastiveMatching):
        # Or the first steps would all match class by class.
        changes["warmup_networks"] = 0
    if name.endswith(SDC):
        changes |= {"sdc_weight": 0.1, "sdc_relative": True}
    return override(recipe, changes)


def changed(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """A recipe with some flags changed; those of choices that it lacks do not count."""
    for _ in range(2):  # the first turn may open a choice whose flags follow
        known = flat(recipe)
        recipe = override(recipe, {k: v for k, v in changes.items() if k in known})
    return recipe


def decoder_of(recipe: Recipe) -> Decoder:
    """The decoder of a recipe, with `PIXELS` as the space of pixels."""
    space = recipe.images.stored_in(PIXELS)
    return make_decoder(recipe.labels.name, recipe.formation, space)


def make_case(
    name: str,
    setting: Setting,
    ipc: int,
    student_steps: int = 20,
    changes: Mapping[str, Any] | None = None,
    microbatch: int | None = None,
    dtype: Any = jnp.float32,
) -> Case:
    """A method with a state and inputs of random tensors; the same for the same words.

    Args:
        name: a method, perhaps with "+sdc".
        setting: what is distilled.
        ipc: synthetic images per class.
        student_steps: N, where trajectories are matched.
        changes: flags by name; see `changed`.
        microbatch: chunk length of gradients; None for the policy's.
        dtype: of all floating-point arrays.

    Raises:
        UserError: bad numbers.
    """
    if ipc < 1 or student_steps < 1:
        raise UserError(
            f"ipc {ipc} and student steps {student_steps} must be at least 1"
        )
    recipe = recipe_of(name, setting.dataset, ipc, student_steps)
    recipe = changed(recipe, changes or {})
    network = make_network(
        "convnet",
        setting.shape,
        setting.classes,
        width=setting.width,
        depth=setting.depth,
    )
    microbatch = microbatch or policy.microbatch_for(setting.shape, setting.width)
    method = build(network, recipe, Context(microbatch, experts=1, pixels=PIXELS))
    real = _cast(random_real(setting), dtype)
    params = [_cast(network.init(jax.random.key(i))[0], dtype) for i in (0, 1)]
    # A target nearby, as an expert's would be.
    target = jax.tree.map(lambda a, b: a + 0.05 * (b - a), *params)
    span = Span(params[0], target) if recipe.needs_experts else None
    start = _cast(random_set(setting, ipc, recipe.step_size), dtype)
    state = method.init(jax.random.key(2), start)
    inputs = Inputs(real, real, span)
    return Case(
        name, setting, recipe, ipc, microbatch, network, method, state, inputs,
        params[0],
    )  # fmt: skip


def random_real(setting: Setting) -> RealData:
    """Real images, class by class."""
    count = setting.classes * setting.per_class
    rng = np.random.default_rng(0)
    images = rng.normal(size=(count, *setting.shape)).astype(np.float32)
    labels = np.repeat(np.arange(setting.classes), setting.per_class)
    return real_data(images, labels, setting.classes)


def random_set(setting: Setting, ipc: int, step_size: float) -> Synthetic:
    """A synthetic set with hard labels."""
    rng = np.random.default_rng(1)
    images = rng.normal(size=(setting.classes, ipc, *setting.shape))
    labels = jnp.broadcast_to(
        jnp.eye(setting.classes)[:, None], (setting.classes, ipc, setting.classes)
    )
    return Synthetic(jnp.asarray(images), jnp.array(labels), jnp.asarray(step_size))


def _cast(tree, dtype):
    def one(x):
        return x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x

    return jax.tree.map(one, tree)
