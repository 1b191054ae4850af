"""Every published recipe on a toy problem, with its loops cut short."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxdd.data.real import take
from jaxdd.fields import flat, override
from jaxdd.learners.context import Context
from jaxdd.methods.build import build
from jaxdd.methods.recipe import Recipe
from jaxdd.methods.recipes import METHODS
from jaxdd.training.fit import Training, make_fit
from jaxdd.types import (
    Inputs,
    Learner,
    Method,
    Network,
    Outputs,
    Space,
    Span,
    Synthetic,
)
from tests.helpers import (
    new_learner,
    smooth_network,
    toy_inputs,
    toy_start,
    with_convolution,
)

# RDED takes no step; those that it could take are DM's. CDA's are SRe2L's, in views
# that `test_views` is about.
STEPPING = {name: x for name, x in METHODS.items() if name not in ("rded", "cda")}
VARIANTS = {
    "plain": {},
    "mean": {"sdc_weight": 0.5},
    "per_sample": {"sdc_weight": 0.5, "sdc_norm": "per_sample"},
}
EXPERTS = 4  # all of them like the one below
MATCHES = 3
# Pixels whose range images do not leave: clipping has tests of its own.
PIXELS = Space(lambda z: 0.5 + 0.05 * z, lambda x: (x - 0.5) / 0.05, 0.5)
CONTEXT = Context(experts=EXPERTS, pixels=PIXELS)


# Quick to compile; ConvNets come with batch norm in `test_pools`.
NETWORK = with_convolution(smooth_network())


def inputs_with_span() -> Inputs:
    """The toy data, and an expert that was trained on it; few methods look at it."""
    inputs, start = toy_inputs(), new_learner(NETWORK)
    fit = jax.jit(make_fit(NETWORK, Training(6, 0.05, batch_size=12), fetch=take))
    end, _ = fit(jax.random.key(3), start, inputs.full)
    return inputs._replace(span=Span(start.params, end.params))


INPUTS = inputs_with_span()


def normed_network(features=64, hidden=8) -> Network:
    """A layer, batch norm with fixed statistics, a smooth step; quick to compile."""
    plain = smooth_network(features, hidden)

    def init(key):
        params, _ = plain.init(key)
        statistics = {"mean": jnp.zeros(hidden), "variance": jnp.ones(hidden)}
        return params, {"body": {"norm": statistics}}

    def apply(params, stats, images, train):
        rows = images.reshape(images.shape[0], -1)
        inside = rows @ params["body"]["kernel"] + params["body"]["bias"][None]
        mean, variance = jnp.mean(inside, axis=0), jnp.var(inside, axis=0)
        moments = {"body": {"norm": {"mean": mean, "variance": variance}}}
        known = moments if train else stats
        mean, variance = (known["body"]["norm"][x][None] for x in ("mean", "variance"))
        out = jnp.tanh((inside - mean) / jnp.sqrt(variance + 1e-5))
        logits = out @ params["head"]["kernel"] + params["head"]["bias"][None]
        outputs = Outputs(logits, (rows, out), (), () if train else moments)
        return outputs, moments if train else stats

    return Network(init, apply)


NORMED = normed_network()


def toy_teacher(images=None) -> Learner:
    """The expert above, with the statistics of images, by default all of the toy data.

    Args:
        images: [B, H, W, C].
    """
    params = jax.tree.map(np.asarray, INPUTS.span.target)
    kernel = params["body"]["kernel"]
    params["body"]["kernel"] = kernel.reshape(-1, kernel.shape[-1])
    images = np.asarray(INPUTS.full.images if images is None else images)
    inside = images.reshape(len(images), -1) @ params["body"]["kernel"]
    inside = inside + params["body"]["bias"]
    statistics = {"mean": inside.mean(axis=0), "variance": inside.var(axis=0)}
    stats = {"body": {"norm": statistics}}
    return Learner(*jax.tree.map(jnp.asarray, (params, stats)))


def network_of(recipe: Recipe) -> Network:
    """The toy network, or one with batch norm where a method needs it."""
    return NORMED if recipe.taught else NETWORK


def earlier_set() -> Synthetic:
    """Two images per class of an earlier segment, and an empty slot for a third."""
    start = toy_start(INPUTS, ipc=3, kind="real", seed=9)
    return start._replace(labels=start.labels.at[:, 2].set(0))


EARLIER = INPUTS._replace(earlier=earlier_set())


def inputs_of(recipe: Recipe) -> Inputs:
    """What a step may look at; D4A's is one of a later segment."""
    if recipe.taught:
        return INPUTS._replace(teacher=toy_teacher())
    return EARLIER if recipe.count > 1 else INPUTS


# Flags that cut the loops of a recipe short, by the name of its learner source; a
# recipe takes those that it has.
SHORT = {
    "fresh": {"batch_real": 8},
    "pool": {
        "batch_real": 8,
        "matches": MATCHES,
        "inner_epochs": 2,
        "network_lr": 0.05,
    },
    "real_pool": {
        "batch_real": 8,
        "batch_syn": 6,  # of the eight images per class
        "matches": MATCHES,
        "network_lr": 0.05,
        "pool_augmentation": "idc:crop_flip+cutmix=0.5",
        "pool_samples": 24,
        "pool_batch": 10,
        "image_lr": 1e-4,
    },
    "windows": {
        "augmentation": "flip",  # one operation compiles quickest
        "batch_mixed": 16,
        "student_steps": 3,
        "horizon": 5,
        "student_lr": 0.05,
        "image_lr": 0.05,
    },
    "interpolated": {"batch_real": 8, "cf_frequencies": 16, "image_lr": 2e-3},
    "aged_pool": {
        "batch_mixed": 18,
        "pool_networks": 2,
        "most_steps": 2,
        "network_lr": 0.01,
        "ridge": 0.01,  # few features and almost as many images
        "image_lr": 0.05,
        "label_lr": 0.05,
        "solver_steps": 3,
        "temperature_lr": 0.1,
    },
    "teacher": {"image_lr": 0.02, "view_area": 0.5, "view_roll": 1},
    "spans": {
        "student_steps": 3,
        "batch_syn": 4,
        "max_start": 5,
        "image_lr": 3.0,
        "step_size": 0.1,
        "step_size_lr": 1e-4,
        "label_lr": 0.3,
        "mask_ratio": 0.25,
    },
}


def toy_recipe(method: str, variant="plain", **flags) -> Recipe:
    """A published recipe cut short; `test_augment` has all the operations."""
    recipe = METHODS[method]
    here = flat(recipe)
    short = {n: v for n, v in SHORT[recipe.learner.name].items() if n in here}
    if recipe.objective.augmentation != "none":
        of_idc = recipe.objective.augmentation.startswith("idc:")
        short.setdefault("augmentation", "idc:crop_flip" if of_idc else "crop_flip")
    if "kernel" in here:
        short["image_lr"] = 1e-3  # of pixels that are not clipped
    if recipe.images.gate:
        # The loss starts above 1; the gate has tests of its own.
        short["gate"] = 10 * recipe.images.gate
    if recipe.images.ema_decay:
        short["ema_decay"] = 0.9
    return override(recipe, {**short, **VARIANTS[variant], **flags})


def toy_method(recipe: Recipe) -> Method:
    return build(network_of(recipe), recipe, CONTEXT)


def start_for(recipe: Recipe) -> Synthetic:
    start = toy_start(INPUTS)
    return start._replace(
        labels=recipe.labels.begin(start.labels),
        step_size=jnp.float32(recipe.step_size),
    )


def is_new(learner) -> bool:
    """Biases are zero in a new network and move in training."""
    return not np.any(learner.params["body"]["bias"])
