"""Every method of the registry on a toy problem, with its loops cut short."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxdd.methods.settings import METHODS, Settings

from jaxdd.data.real import take
from jaxdd.methods.build import build
from jaxdd.training.fit import Training, make_fit
from jaxdd.types import Inputs, Method, Space, Span, Synthetic
from tests.helpers import (
    new_learner,
    smooth_network,
    toy_inputs,
    toy_start,
    with_convolution,
)

VARIANTS = {
    "plain": {},
    "mean": {"sdc_weight": 0.5},
    "per_sample": {"sdc_weight": 0.5, "sdc_norm": "per_sample"},
}
EXPERTS = 4  # all of them like the one below
MATCHES = 3
# Pixels whose range images do not leave: clipping has tests of its own.
PIXELS = Space(lambda z: 0.5 + 0.05 * z, lambda x: (x - 0.5) / 0.05, 0.5)


# Quick to compile; ConvNets come with batch norm in `test_pools`.
NETWORK = with_convolution(smooth_network())


def inputs_with_span() -> Inputs:
    """The toy data, and an expert that was trained on it; few methods look at it."""
    inputs, start = toy_inputs(), new_learner(NETWORK)
    fit = jax.jit(make_fit(NETWORK, Training(6, 0.05, batch_size=12), fetch=take))
    end, _ = fit(jax.random.key(3), start, inputs.full)
    return inputs._replace(span=Span(start.params, end.params))


INPUTS = inputs_with_span()


def earlier_set() -> Synthetic:
    """Two images per class of an earlier segment, and an empty slot for a third."""
    found = toy_start(INPUTS, ipc=3, kind="real", seed=9)
    return found._replace(labels=found.labels.at[:, 2].set(0))


EARLIER = INPUTS._replace(earlier=earlier_set())


def inputs_of(settings: Settings) -> Inputs:
    """What a step may look at; D4A's is one of a later segment."""
    return EARLIER if settings.segments > 1 else INPUTS


def toy_settings(method: str, variant="plain", **changes) -> Settings:
    """A published method with its loops cut short; `test_augment` has all the ops."""
    base = METHODS[method]
    options = {
        "batch_real": 8,
        "matches": MATCHES if base.source in ("pool", "real_pool") else 1,
        "inner_epochs": 2,
        "network_lr": 0.05,
        "augmentation": "none" if base.augmentation == "none" else "crop_flip",
    }
    if base.source == "real_pool":
        options |= {
            "augmentation": "idc:crop_flip",
            "pool_augmentation": "idc:crop_flip+cutmix=0.5",
            "pool_samples": 24,
            "pool_batch": 10,
            "batch_syn": 6,  # of the eight images per class
            "image_lr": 1e-4,
        }
    if base.source == "spans":
        options |= {
            "student_steps": 3,
            "batch_syn": 4,
            "max_start": 5,
            "image_lr": 3.0,
            "step_size": 0.1,
            "step_size_lr": 1e-4,
            "label_lr": 0.3,
            # The loss starts above 1; the gate has tests of its own.
            "gate": 10 * base.gate,
            "ema_decay": 0.9 if base.ema_decay else 0.0,
            "mask_ratio": 0.25 if base.mask != "none" else 0.0,
        }
    return dataclasses.replace(base, **{**options, **VARIANTS[variant], **changes})


def toy_method(settings: Settings) -> Method:
    return build(NETWORK, settings, experts=EXPERTS, pixels=PIXELS)


def start_for(settings: Settings) -> Synthetic:
    start = toy_start(INPUTS)
    return start._replace(step_size=jnp.float32(settings.step_size))


def is_new(learner) -> bool:
    """Biases are zero in a new network and move in training."""
    return not np.any(learner.params["body"]["bias"])
