"""Augmentations of a network's training by name, as settings and artifacts have it."""

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
    """Lift (key, images) -> images to batches; labels stay.

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

    "dc" is DC's own evaluation of MNIST, "dc:crop_noise" the same by other operations;
    anything else a strategy of `augment.pipeline`, "none" included. "+cutmix=P" behind
    it mixes a batch with probability P.

    An artifact stores this name. One that says "dc" and was made up to revision 0532496
    is evaluated again with a rotation that turns the other way and a canvas of the
    scale that was not square, so its accuracy may differ from the stored one.

    Raises:
        UserError: an unknown name, or a P outside [0, 1].

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
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found <= 1:
        raise UserError(
            f"the augmentation {quoted(name)} must end with a probability of CutMix "
            f"in [0, 1], not {quoted(text)}"
        )
    return found
