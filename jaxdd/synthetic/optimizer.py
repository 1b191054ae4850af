"""Optimisers of the codes: images, labels and step size have one each.

The optimiser of the images is a choice of a recipe; labels that are learned beside them
take the same one, at a rate of their own.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdd.fields import Choice, option
from jaxdd.primitives.trees import global_norm
from jaxdd.types import Array, Scalar, Synthetic

STEP_SIZE_MOMENTUM = 0.5  # of every trajectory method
IMAGE_STEPS = ("joint", "sequential")
SCHEDULES = ("constant", "cosine", "annealed")
# Where a cosine ends, as a share of the rate it starts from (FRePo's official code).
FINAL_SHARE = 0.1
# Share of the past in the running norm by which gradients are clipped (RaT-BPTT).
NORM_DECAY = 0.9

Rate = float | optax.Schedule


def scheduled(schedule: str, rate: float, horizon: int) -> Rate:
    """The learning rate over the updates of a run.

    Args:
        schedule: "constant"; "cosine", from `rate` to a tenth of it (FRePo, Zhou et
            al. 2022, official code); or "annealed", the same to 0 (SRe2L).
        rate: at the start.
        horizon: the update at which the cosine ends.

    Example:
        >>> rate = scheduled("cosine", 2.0, horizon=100)
        >>> [round(float(rate(t)), 3) for t in (0, 50, 100, 200)]
        [2.0, 1.1, 0.2, 0.2]
    """
    if schedule == "constant":
        return rate
    final = FINAL_SHARE if schedule == "cosine" else 0.0
    return optax.cosine_decay_schedule(rate, max(horizon, 1), alpha=final)


@dataclass(frozen=True)
class SGD(Choice):
    """Stochastic gradient descent with momentum (DC and most others).

    Attributes:
        momentum: of the updates.
        order: "joint", one update of all classes; "sequential", as if classes were
            updated one after another by one optimiser (IDC).
    """

    name: ClassVar[str] = "sgd"
    subject: ClassVar[str] = "SGD on the images"
    remedy: ClassVar[str] = "add --image_optimizer=sgd, or leave it out"

    momentum: float = option(
        0.5,
        "momentum of the updates of the synthetic images",
        flag="image_momentum",
        at_least=0,
    )
    order: str = option(
        "joint",
        "order of the updates of the images: all classes at once (joint), or one "
        "after another (sequential)",
        flag="image_steps",
        choices=IMAGE_STEPS,
    )

    def make(self, rate: Rate) -> optax.GradientTransformation:
        """The optimiser at a rate that may follow a schedule."""
        if self.order == "joint":
            return optax.sgd(rate, momentum=self.momentum)
        if not callable(rate):
            return sequential_sgd(rate, self.momentum)
        unscaled = sequential_sgd(1.0, self.momentum)
        return optax.chain(unscaled, optax.scale_by_schedule(rate))


@dataclass(frozen=True)
class Adam(Choice):
    """Adam, by default with its usual decays, 0.9 and 0.999 (RaT-BPTT).

    Attributes:
        beta1, beta2: the shares of the past in its two moments (SRe2L: 0.5 and 0.9).
    """

    name: ClassVar[str] = "adam"
    subject: ClassVar[str] = "Adam on the images"
    remedy: ClassVar[str] = "add --image_optimizer=adam, or leave it out"

    beta1: float = option(
        0.9,
        "share of the past in the mean of gradients (--image_optimizer=adam)",
        flag="image_beta1",
        at_least=0,
        below=1,
    )
    beta2: float = option(
        0.999,
        "share of the past in the mean of squared gradients (--image_optimizer=adam)",
        flag="image_beta2",
        at_least=0,
        below=1,
    )

    def make(self, rate: Rate) -> optax.GradientTransformation:
        """The optimiser at a rate that may follow a schedule."""
        return optax.adam(rate, self.beta1, self.beta2)


@dataclass(frozen=True)
class AdamW(Choice):
    """Adam with decoupled weight decay (NCFM).

    Attributes:
        decay: of the images.
    """

    name: ClassVar[str] = "adamw"
    subject: ClassVar[str] = "AdamW on the images"
    remedy: ClassVar[str] = "add --image_optimizer=adamw, or leave it out"

    decay: float = option(
        5e-4,
        "decoupled weight decay of the synthetic images (--image_optimizer=adamw)",
        flag="image_decay",
        at_least=0,
    )

    def make(self, rate: Rate) -> optax.GradientTransformation:
        """The optimiser at a rate that may follow a schedule."""
        return optax.adamw(rate, weight_decay=self.decay)


@dataclass(frozen=True)
class LAMB(Choice):
    """Adam whose update of a tensor is scaled by the tensor's norm (FRePo)."""

    name: ClassVar[str] = "lamb"

    def make(self, rate: Rate) -> optax.GradientTransformation:
        """The optimiser at a rate that may follow a schedule."""
        return optax.lamb(rate)


@dataclass(frozen=True)
class AdaBelief(Choice):
    """AdaBelief with its usual decays, 0.9 and 0.999 (RCIG)."""

    name: ClassVar[str] = "adabelief"

    def make(self, rate: Rate) -> optax.GradientTransformation:
        """The optimiser at a rate that may follow a schedule."""
        return optax.adabelief(rate)


OPTIMIZERS = {kind.name: kind for kind in (SGD, Adam, AdamW, LAMB, AdaBelief)}


def sequential_sgd(rate: float, momentum: float) -> optax.GradientTransformation:
    """SGD with momentum that steps after every class, seen once per round of classes.

    IDC's official code updates the whole set after the gradient of each class, so that
    the momentum of a class moves it on while the others have their turn. The network is
    the same for the whole round and a class depends on its own images alone, so when
    its turn comes again K steps later exactly this has happened:

        b <- m^K b + g,    x <- x - rate (1 + m + ... + m^(K-1)) b

    Within a round, later classes have not moved on yet where the official code saves or
    clips (K = axis 0 of every leaf).

    Example:
        >>> images = jnp.zeros((2, 1))
        >>> optimizer = sequential_sgd(0.1, momentum=0.5)
        >>> updates, _ = optimizer.update(jnp.ones((2, 1)), optimizer.init(images))
        >>> [round(float(x), 3) for x in updates.ravel()]
        [-0.15, -0.15]
    """

    def init(params):
        return jax.tree.map(jnp.zeros_like, params)

    def update(gradients, buffers, params=None):
        del params
        turn = lambda b, g: momentum ** g.shape[0] * b + g
        buffers = jax.tree.map(turn, buffers, gradients)

        def move(b):
            travelled = sum(momentum**i for i in range(b.shape[0]))
            return -rate * travelled * b

        return jax.tree.map(move, buffers), buffers

    return optax.GradientTransformation(init, update)


class RunningNorm(NamedTuple):
    """The state of `clip_by_running_norm`."""

    mean: Scalar  # the running norm of the gradients, 0 before the first
    gradients: Array  # [] int32: how many there were


def clip_by_running_norm(factor: float) -> optax.GradientTransformation:
    """Scale gradients down whose norm is far above what it has been.

    Feng, Vedantam, Kempe, "Embarrassingly Simple Dataset Distillation", ICLR 2024
    (official code): the norm r of a gradient enters the running norm n, which is r at
    the first one and 0.9 n + 0.1 r afterwards; the gradient is then scaled by
    min(1, factor n / r).

    Example:
        >>> clip = clip_by_running_norm(2.0)
        >>> state = clip.init(jnp.zeros(2))
        >>> _, state = clip.update(jnp.array([1.0, 0.0]), state)
        >>> clipped, _ = clip.update(jnp.array([10.0, 0.0]), state)
        >>> round(float(clipped[0]), 3)
        3.8
    """

    def init(params):
        kind = jnp.result_type(*jax.tree.leaves(params))
        return RunningNorm(jnp.zeros((), kind), jnp.int32(0))

    def update(gradients, state: RunningNorm, params=None):
        del params
        norm = global_norm(gradients)
        moved = NORM_DECAY * state.mean + (1 - NORM_DECAY) * norm
        mean = jnp.where(state.gradients == 0, norm, moved)
        scale = jnp.minimum(1, factor * mean / jnp.where(norm > 0, norm, 1))
        clipped = jax.tree.map(lambda g: (scale * g).astype(g.dtype), gradients)
        mean = mean.astype(state.mean.dtype)
        return clipped, RunningNorm(mean, state.gradients + 1)

    return optax.GradientTransformation(init, update)


def make_optimizer(
    images: optax.GradientTransformation,
    labels: optax.GradientTransformation | None = None,
    step_size: optax.GradientTransformation | None = None,
    gate: float = 0.0,
) -> optax.GradientTransformationExtraArgs:
    """One optimiser for the images, one for the labels, one for the step size.

    With a gate, a step whose matching loss lies above it changes neither them nor their
    momentum (DATM). A loss that is not a number is not gated: it ends the run.

    Args:
        images: of the images, e.g. `SGD().make(0.1)`.
        labels: of learned labels; None keeps them.
        step_size: of the student's learning rate; None keeps it.
        gate: the largest matching loss that updates anything; 0 for no gate.

    Example:
        >>> codes = Synthetic(jnp.ones((2, 1)), jnp.ones((2, 1)), jnp.float32(1))
        >>> optimizer = make_optimizer(SGD().make(0.1))
        >>> updates, _ = optimizer.update(codes, optimizer.init(codes), codes)
        >>> [bool(jnp.any(update)) for update in updates]
        [True, False, False]
    """
    kept = optax.set_to_zero()
    parts = Synthetic(
        *(kept if part is None else part for part in (images, labels, step_size))
    )  # type: ignore[arg-type]
    names: Any = Synthetic._fields
    whole = optax.partition(parts._asdict(), Synthetic(*names))
    if not gate:
        return whole
    return optax.conditionally_mask(
        whole, lambda step, value: value <= gate, forward_extra_args=True
    )
