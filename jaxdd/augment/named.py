"""Augmentations of a network's training by name, as flags and artifacts store it."""

from collections.abc import Callable
from typing import TypeAlias

import jax

from jaxdd.augment.dc import dc_evaluation
from jaxdd.augment.mixing import cutmix
from jaxdd.augment.pipelines import per_image, pipeline
from jaxdd.errors import UserError, quoted
from jaxdd.types import Array, Batch, Key

Augment: TypeAlias = Callable[[Key, Batch], Batch]

MIXED = "+cutmix="
DC = "dc:"


def on_images(augment: Callable[[Key, Array], Array]) -> Augment:
    """Lift (key, images) -> images to batches; labels are unchanged.

    Example:
        >>> import jax.numpy as jnp
        >>> darker = on_images(lambda key, images: images - 1)
        >>> batch = Batch(jnp.ones((2, 8, 8, 1)), jnp.eye(2))
        >>> float(darker(jax.random.key(0), batch).images.max())
        0.0
    """
    return lambda key, batch: batch._replace(images=augment(key, batch.images))


def training(name: str) -> Augment:
    """The augmentation of a training run by name.

    "dc" is DC's own evaluation of MNIST, and "dc:crop_noise" the same with other
    operations; any other name is a strategy of `augment.pipeline`, including "none".
    With the suffix "+cutmix=P" a batch is mixed with probability P.

    An artifact stores this name. An artifact with "dc" from revision 0532496 or earlier
    was evaluated with the opposite direction of rotation and a canvas of the scale
    that was not square, so its accuracy may differ from the stored one.

    Raises:
        UserError: the name is unknown, or P is outside [0, 1].

    Example:
        >>> import jax.numpy as jnp
        >>> augment = training("idc:color_crop+cutmix=0.5")
        >>> batch = Batch(jnp.ones((4, 8, 8, 1)), jnp.eye(4))
        >>> augment(jax.random.key(0), batch).labels.sum(axis=-1).tolist()
        [1.0, 1.0, 1.0, 1.0]
    """
    strategy, mixes, share = name.partition(MIXED)
    images = on_images(_of_images(strategy))
    if not mixes:
        return images
    probability = _probability(name, share)

    def mixed(key: Key, batch: Batch) -> Batch:
        key_images, key_mix = jax.random.split(key)
        return cutmix(key_mix, images(key_images, batch), probability)

    return mixed


def _of_images(strategy: str) -> Callable[[Key, Array], Array]:
    if strategy == "dc":
        return dc_evaluation()
    if strategy.startswith(DC):
        return dc_evaluation(strategy.removeprefix(DC))
    return per_image(pipeline(strategy))


def _probability(name: str, text: str) -> float:
    try:
        probability = float(text)
    except ValueError:
        probability = -1.0
    if not 0 <= probability <= 1:
        raise UserError(
            f"the augmentation {quoted(name)} must end with a probability of CutMix "
            f"in [0, 1], not {quoted(text)}"
        )
    return probability
