"""Optimisers of the codes: images, labels and step size have one each."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxdd.errors import UserError, quoted
from jaxdd.methods.settings import Settings
from jaxdd.types import Synthetic

STEP_SIZE_MOMENTUM = 0.5  # of every trajectory method
IMAGE_STEPS = ("joint", "sequential")


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


def optimizer_of(settings: Settings) -> optax.GradientTransformationExtraArgs:
    """One SGD for the images, one for the labels, one for the step size.

    With a gate, a step whose matching loss lies above it changes neither them nor their
    momentum (DATM). A loss that is not a number is not gated: it ends the run.

    Raises:
        UserError: an unknown kind of image steps.
    """
    if settings.image_steps not in IMAGE_STEPS:
        raise UserError(
            f"unknown image steps {quoted(settings.image_steps)}: choose one of "
            f"{', '.join(IMAGE_STEPS)}"
        )

    def sgd(rate: float, momentum: float) -> optax.GradientTransformation:
        return optax.sgd(rate, momentum=momentum) if rate else optax.set_to_zero()

    of_images = sequential_sgd if settings.image_steps == "sequential" else sgd
    parts = Synthetic(
        of_images(settings.image_lr, settings.image_momentum),
        sgd(settings.label_lr if settings.labels == "soft" else 0.0,
            settings.label_momentum),
        sgd(settings.step_size_lr, STEP_SIZE_MOMENTUM),
    )  # fmt: skip
    names: Any = Synthetic._fields
    whole = optax.partition(parts._asdict(), Synthetic(*names))
    if not settings.gate:
        return whole
    return optax.conditionally_mask(
        whole, lambda step, value: value <= settings.gate, forward_extra_args=True
    )
