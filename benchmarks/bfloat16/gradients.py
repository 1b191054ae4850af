"""How far derivatives in bfloat16 are from those in float32, at one random point."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np

from benchmarks.bfloat16.records import BOTH, Line, Records
from benchmarks.parts.cases import PIXELS, Setting, decoder_of, make_case
from benchmarks.reference.races import BATCH, batch_of
from jaxdd.devices import policy
from jaxdd.learners.context import Context
from jaxdd.methods.build import loss_at
from jaxdd.primitives import batch_gradient, per_sample_gradient_norms
from jaxdd.primitives.losses import mean_loss


def training(setting: Setting) -> Any:
    """Of the loss on 256 images, by the parameters."""
    case = make_case("dc", setting, 1)
    gradient = jax.jit(batch_gradient(mean_loss(case.network), case.microbatch))
    return gradient(case.params, batch_of(case, BATCH), {})


def norms(setting: Setting) -> Any:
    """Of every sample's gradient: a vector of 256."""
    case = make_case("dc", setting, 1)
    compute = jax.jit(per_sample_gradient_norms(mean_loss(case.network)))
    return compute(case.params, batch_of(case, BATCH), {})


def images(method: str) -> Callable[[Setting], Any]:
    """Of a method's loss, by the images."""

    def gradient(setting: Setting) -> Any:
        case = make_case(method, setting, 1, 20)
        decoder = decoder_of(case.recipe)
        context = Context(case.microbatch, experts=1, pixels=PIXELS)
        loss = loss_at(case.network, case.recipe, context)

        def value(codes, inputs):
            return loss(jax.random.key(3), decoder.decode(codes), inputs)

        return jax.jit(jax.grad(value))(case.state.codes, case.inputs).images

    return gradient


ROWS: dict[str, tuple[str, Callable[[Setting], Any]]] = {
    "training": ("parameters, 256 images", training),
    "norms": ("gradient norms of 256 images", norms),
    **{
        name: (f"images, {text}", images(name))
        for name, text in (
            ("dsa", "DSA"), ("idc", "IDC"), ("dm", "DM"), ("mtt", "MTT, N = 20"),
        )
    },
}  # fmt: skip


def compared(
    what: str, gradient: Callable[[Setting], Any], setting: Setting
) -> dict[str, Any]:
    """The record of a row: relative error (L2) and cosine."""
    found = {}
    for name in BOTH:
        with policy.in_precision(name):
            leaves = jax.tree.leaves(gradient(setting))
        parts = [np.ravel(np.asarray(x, np.float64)) for x in leaves]
        found[name] = np.concatenate(parts)
    exact, rounded = found["float32"], found["bfloat16"]
    size = np.linalg.norm(exact)
    error = float(np.linalg.norm(rounded - exact) / size)
    cosine = float(rounded @ exact / (size * np.linalg.norm(rounded)))
    compared = f"relative error {error:.2g}, cosine {cosine:.5f}"
    return {
        "error": error,
        "cosine": cosine,
        "line": Line(f"gradient: {what}", compared=compared),
    }


def run(records: Records, setting: Setting) -> None:
    for name, (what, gradient) in ROWS.items():
        key = {"row": name, "setting": setting.name, "width": setting.width}
        records.measure(key, what, partial(compared, what, gradient, setting))
