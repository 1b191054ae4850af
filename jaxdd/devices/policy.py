"""Choices that depend on the device, in one table: forms of mapped axes and layers.

Measured on two CPU cores: mapping classes, experts or networks one after another beats
`vmap` by 2-8 times, because batched weights turn convolutions into grouped ones. NVIDIA
GPUs are slow at grouped convolutions too, and only what shares its weights is batched
there.

`python -m benchmarks.accelerator` measures the forms on the device of this machine; the
entry that it prints last can be pasted into `TABLE`. No choice changes a result beyond
rounding, except the precision of products: see `precision`.
"""

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp

from jaxdd.devices import mesh as devices
from jaxdd.devices.precision import AUTO, PRECISIONS, has
from jaxdd.errors import UserError, quoted

NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Choices:
    """The fastest forms on one kind of device.

    Attributes:
        measured: the machine and versions of the measurement, or `NOT_MEASURED`.
        classes: classes whose gradients of the parameters are matched at once; 1 for a
            loop over single classes.
        feature_classes: classes whose features are matched at once. They share the
            weights, so that several are one larger batch.
        experts: experts that are trained at once on one device.
        networks: networks that are evaluated, or at which difficulty is measured, at
            once.
        samples: samples whose gradients exist at the same time (gradient norms).
        microbatch: images in one chunk of a gradient, or None for the whole batch.
        microbatch_from: (width, height): least width of a network and height of an
            image for which `microbatch` is used.
        convolution: form of convolutions from 3x3 on, one of
            `nets.conv.IMPLEMENTATIONS`.
        small_convolution: form of convolutions that are 1x1, strided, or have few
            input channels.
        precision: of the products in networks where nothing else is asked for, one of
            `precision.PRECISIONS`: the fastest one at which accuracy was shown to hold.
        steps: largest number of steps in one dispatch.
        read_ahead: steps before it is computed at which the images of a step are read,
            where they are on the disk and memory does not hold them; 0 for no reading
            ahead. Only CPUs were measured.

    Raises:
        UserError: `precision` is none of `PRECISIONS`.
    """

    measured: str = NOT_MEASURED
    classes: int = 32
    feature_classes: int = 10
    experts: int = 32
    networks: int = 32
    samples: int = 8
    microbatch: int | None = None
    microbatch_from: tuple[int, int] = (64, 24)
    convolution: str = "lax"
    small_convolution: str = "lax"
    precision: str = "float32"
    steps: int = 256
    read_ahead: int = 2

    def __post_init__(self):
        # "auto" is a name of these choices, and none of theirs.
        if self.precision not in PRECISIONS:
            raise UserError(
                f"the precision {quoted(self.precision)} is not one of "
                f"{', '.join(PRECISIONS)}"
            )

    def form(self, small: bool) -> str:
        """The form of a convolution; `small` as of `small_convolution`.

        In bfloat16 it is `rounded`, or a product of patches: no other form rounds the
        operands of every derivative.
        """
        if self.precision == "bfloat16":
            return "im2col" if small else "rounded"
        return self.small_convolution if small else self.convolution


# The key is the kind of a device as JAX names it, or a backend ("cpu", "gpu", "tpu").
TABLE: dict[str, Choices] = {
    "cpu": Choices(
        measured="two cores of a server, JAX 0.10.2",
        classes=1,
        feature_classes=1,
        experts=1,
        networks=1,
        samples=8,
        # Eight images stay in cache at 32x32 and width 128. Only wide networks gain:
        # 2.1-2.4 times at that size, nothing at 8x8 and width 32.
        microbatch=8,
        microbatch_from=(64, 24),
        convolution="canonical",
        small_convolution="im2col",
        # `python -m benchmarks.precision` is the measurement that bfloat16 waits for.
        precision="float32",
        steps=256,
        # Where memory does not hold the file, steps of DM take 1.04 and 1.22 of their
        # time in memory instead of 1.17 and 1.53.
        read_ahead=2,
    ),
    # Batched weights make grouped convolutions, which cuDNN is slow at: one class after
    # another takes 0.56 of the time of all at once in a step of DSA, one expert after
    # another 0.22 (width 128, 32x32). Where classes share the weights it is the other
    # way round: a step of DM takes 3.7 ms with all of ten classes and 7.0 one by one
    # (two H200 on two days, not in turn).
    "NVIDIA H100 80GB HBM3": Choices(
        measured="classes and experts, NVIDIA H100, JAX 0.11.2, 2026-11-26; others as "
        "of an H200",
        classes=1,
        experts=1,
        samples=64,
        precision="tf32",
    ),
    # bfloat16 takes 0.71 to 1.03 of TF32's time in a step, 0.47 in gradient norms. In
    # small runs accuracy differs by no more than chance. Of published cells MTT alone
    # ran in full in bfloat16, below its band: a pair of full runs has to show that
    # bfloat16 is not why. Networks one by one take 0.87 of the time of 32 at once: a
    # tie. Ten steps of DSA give other bits when they run again.
    "NVIDIA H200": Choices(
        measured="steps, networks and norms, NVIDIA H200, JAX 0.11.2, 2026-11-27; "
        "classes and experts as of an H100",
        classes=1,
        experts=1,
        samples=64,
        precision="tf32",
    ),
    # JAX's own precision on NVIDIA GPUs that have it; forms as of those two.
    "gpu": Choices(
        measured=NOT_MEASURED, classes=1, experts=1, samples=64, precision="tf32"
    ),
    "tpu": Choices(measured=NOT_MEASURED),
}

_replacement: ContextVar[Choices | None] = ContextVar("choices", default=None)


def choices() -> Choices:
    """The choices for the device in use: its own entry, its backend's, or a GPU's."""
    replacement = _replacement.get()
    if replacement is not None:
        return replacement
    backend = jax.default_backend()
    # CPUs of all kinds share one entry.
    kind = backend if backend == "cpu" else jax.devices()[0].device_kind
    entry = choices_for(kind, backend)
    # An entry is for devices of several generations.
    return entry if has(entry.precision) else replace(entry, precision="float32")


def choices_for(kind: str, backend: str) -> Choices:
    """The entry of `TABLE` for a kind of device, else its backend, else GPUs."""
    return TABLE.get(kind) or TABLE.get(backend) or TABLE["gpu"]


@contextlib.contextmanager
def using(replacement: Choices) -> Iterator[None]:
    """Use other choices for functions that are traced while the context lasts.

    A function that `jax.jit` has already traced for the same shapes keeps the choices
    of that time.

    Source: ours.

    Example:
        >>> import dataclasses
        >>> one_by_one = dataclasses.replace(choices(), classes=1)
        >>> with using(one_by_one):
        ...     choices().classes
        1
    """
    token = _replacement.set(replacement)
    try:
        yield
    finally:
        _replacement.reset(token)


def in_precision(name: str) -> AbstractContextManager[None]:
    """Trace networks in a precision while the context lasts.

    Args:
        name: one of `PRECISIONS`, also one that this device lacks, or "auto" for what
            is in force already.

    Source: ours.

    Raises:
        UserError: the name is unknown.
    """
    own = choices()
    return using(own if name == AUTO else replace(own, precision=name))


def resolved(name: str) -> str:
    """The precision that a name stands for on the device in use, never "auto".

    Source: ours.

    Raises:
        UserError: the name is unknown, or tf32 on a device without it. bfloat16 is
            allowed everywhere: the results are those of a device that has it, only not
            faster than float32.

    Example:
        >>> resolved("bfloat16")
        'bfloat16'
    """
    if name == AUTO:
        return choices().precision
    if name not in PRECISIONS:
        raise UserError(
            f"precision={quoted(name)} is not one of {', '.join((*PRECISIONS, AUTO))}"
        )
    if name == "tf32" and not has(name):
        raise UserError(
            "--precision=tf32 is of NVIDIA GPUs from compute capability 8 on, and this "
            f"machine computes on {quoted(jax.devices()[0].device_kind)}: use float32, "
            "bfloat16 or auto"
        )
    return name


def map_axis(function, xs, chunk: int):
    """Apply `function` to every slice of `xs` along axis 0 and stack the results.

    On one device. Slices are computed one after another if `chunk` is 1, else `chunk`
    at a time. The results do not depend on the choice beyond rounding.
    """
    if chunk == 1:
        return jax.lax.map(function, xs)
    size = jax.tree.leaves(xs)[0].shape[0]
    if size <= chunk:
        return jax.vmap(function)(xs)
    return jax.lax.map(function, xs, batch_size=chunk)


def spread_axis(function, xs, *shared, chunk: int | None = None):
    """`map_axis` over all devices in use, see `mesh.use`.

    Meant for the outermost axis of a computation: classes, experts, networks, seeds.

    Args:
        function: (slice of xs, *shared) -> pytree. It must not close over traced
            arrays; pass those that all slices need as `shared`.
        xs: pytree of [size, ...].
        shared: pytrees that are replicated on every device.
        chunk: slices at a time on each device; None for `choices().networks`.
    """
    at_once = choices().networks if chunk is None else chunk

    def part(xs, *shared):
        return map_axis(lambda x: function(x, *shared), xs, at_once)

    if devices.spread_over() == 1:
        return part(xs, *shared)
    return devices.spread(part, xs, *shared)


def networks_at_once(count: int) -> int:
    """Of `count` networks, how many are worked on at once, on all devices.

    Example:
        >>> networks_at_once(1)
        1
    """
    return min(count, choices().networks * devices.spread_over())


def map_chunks(function, count: int, chunk: int):
    """Apply `function` to the indices 0..count-1 in chunks of equal length.

    Args:
        function: (indices [chunk]) -> [chunk, ...], one result per index.
        count: number of indices; the last chunk is filled up with repeated ones.
        chunk: largest number of indices at a time.

    Returns:
        [count, ...].
    """
    size = min(chunk, count)
    indices = jnp.resize(jnp.arange(count), (-(-count // size), size))
    results = jax.lax.map(function, indices)
    return results.reshape(-1, *results.shape[2:])[:count]


def microbatch_for(image_shape: tuple[int, ...], width: int) -> int | None:
    """Chunk length for gradients over a batch, or None for the whole batch at once."""
    chosen = choices()
    least_width, least_height = chosen.microbatch_from
    if width >= least_width and image_shape[0] >= least_height:
        return chosen.microbatch
    return None
