"""Optimisers of the codes: images, labels and step size have one each."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxdd.errors import UserError, quoted
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


def make_optimizer(
    image_lr: float,
    image_momentum: float,
    order: str = "joint",
    label_lr: float = 0.0,
    label_momentum: float = 0.0,
    step_size_lr: float = 0.0,
    gate: float = 0.0,
) -> optax.GradientTransformationExtraArgs:
    """One SGD for the images, one for the labels, one for the step size.

    With a gate, a step whose matching loss lies above it changes neither them nor their
    momentum (DATM). A loss that is not a number is not gated: it ends the run.

    Args:
        image_lr, image_momentum: of the images.
        order: "joint" or "sequential", see `sequential_sgd`.
        label_lr, label_momentum: of learned labels; a rate of 0 keeps them.
        step_size_lr: of the student's learning rate; 0 keeps it.
        gate: the largest matching loss that updates anything; 0 for no gate.

    Raises:
        UserError: an unknown order.
    """
    if order not in IMAGE_STEPS:
        raise UserError(
            f"unknown image steps {quoted(order)}: choose one of "
            f"{', '.join(IMAGE_STEPS)}"
        )

    def sgd(rate: float, momentum: float) -> optax.GradientTransformation:
        return optax.sgd(rate, momentum=momentum) if rate else optax.set_to_zero()

    of_images = sequential_sgd if order == "sequential" else sgd
    parts = Synthetic(
        of_images(image_lr, image_momentum),
        sgd(label_lr, label_momentum),
        sgd(step_size_lr, STEP_SIZE_MOMENTUM),
    )
    names: Any = Synthetic._fields
    whole = optax.partition(parts._asdict(), Synthetic(*names))
    if not gate:
        return whole
    return optax.conditionally_mask(
        whole, lambda step, value: value <= gate, forward_extra_args=True
    )
