"""Pipelines of ops, and two ways to lift them to batches.

Each call picks ONE op of every group, uniformly, for the whole batch. The lift decides
on the parameters of the op: `per_image` draws them for every image, `siamese` once for
all images of all batches (Zhao & Bilen 2021, "Dataset Condensation with Differentiable
Siamese Augmentation", eq. 5).
"""

from collections.abc import Callable, Collection
from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax

from jaxdd.augment.frepo import OPS as FREPO_OPS
from jaxdd.augment.ops import OPS, Op, cutout
from jaxdd.augment.sequences import OPS as SEQUENCE_OPS
from jaxdd.errors import UserError, quoted
from jaxdd.modality import SEQUENCE
from jaxdd.types import Array, Batch, Key

Pipeline: TypeAlias = tuple[tuple[Op, ...], ...]  # groups; one op of each is applied


def dsa(strategy: str, mode: str = "single") -> Pipeline:
    """DSA's pipeline for a strategy such as "color_crop_cutout_flip_scale_rotate".

    Source: Zhao & Bilen 2021, official `DiffAugment`, modes S and M.

    Args:
        strategy: names of ops joined by "_"; "none" and "" are the identity.
        mode: "single" applies one of the ops per call, "multiple" all of them in the
            order of the strategy.

    Raises:
        UserError: an op or the mode is unknown.

    Example:
        >>> len(dsa("crop_flip")[0]), len(dsa("crop_flip", mode="multiple"))
        (2, 2)
    """
    ops = tuple(OPS[name] for name in _names(strategy))
    if mode not in ("single", "multiple"):
        raise UserError(f"the DSA mode is {quoted(mode)}: choose single or multiple")
    if mode == "multiple":
        return tuple((op,) for op in ops)
    return (ops,) if ops else ()


def idc(strategy: str) -> Pipeline:
    """IDC's pipeline: flip, then color, then one of the other ops, then cutout.

    Every group that the strategy names is applied in every call. Source: Kim et al.
    2022, official `misc/augment.py`. Its grids are torch's `align_corners=False`, ours
    those of DSA: the pixels are the same on square images; rotations of other images
    differ.

    Args:
        strategy: names of ops joined by "_".

    Raises:
        UserError: an op is unknown.
    """
    names = _names(strategy)
    middle = tuple(OPS[n] for n in names if n not in ("flip", "color", "cutout"))
    first = tuple((OPS[name],) for name in ("flip", "color") if name in names)
    last = ((cutout,),) if "cutout" in names else ()
    return first + ((middle,) if middle else ()) + last


def frepo(strategy: str) -> Pipeline:
    """FRePo's pipeline: one of its operations per call, see `augment.frepo`.

    Args:
        strategy: names of its ops joined by "_".

    Raises:
        UserError: an op is unknown.

    Example:
        >>> len(frepo("flip_crop_translate")[0])
        3
    """
    ops = tuple(FREPO_OPS[name] for name in _names(strategy, FREPO_OPS))
    return (ops,) if ops else ()


def frepo_strategy(dataset_name: str, colour: bool = True) -> str:
    """The strategy of the evaluation of FRePo and RCIG; digits are never mirrored.

    Args:
        dataset_name: its name.
        colour: whether MNIST's and Fashion-MNIST's brightness and contrast change:
            FRePo's official code does that, RCIG's does not. That of the small digits
            stays (ours).

    Example:
        >>> [frepo_strategy("mnist", x) for x in (True, False)]
        ['color_crop_rotate_translate_cutout', 'crop_rotate_translate_cutout']
    """
    name = dataset_name.lower()
    if name.startswith(("mnist", "fashion", "digits")):
        plain = "crop_rotate_translate_cutout"
        coloured = colour and not name.startswith("digits")
        return f"color_{plain}" if coloured else plain
    flip = "" if name.startswith("svhn") else "flip_"
    return f"{flip}color_crop_rotate_translate_cutout"


def sequence(strategy: str) -> Pipeline:
    """The pipeline of sequences [L, C]: every named operation in each call (ours).

    Args:
        strategy: names of ops of `augment.sequences` joined by "_".

    Raises:
        UserError: an op is unknown.

    Example:
        >>> [len(group) for group in sequence("jitter_shift")]
        [1, 1]
    """
    return tuple((SEQUENCE_OPS[name],) for name in _names(strategy, SEQUENCE_OPS))


def pipeline(name: str) -> Pipeline:
    """DSA's pipeline for a strategy; others after "idc:", "frepo:" and "sequence:".

    Example:
        >>> len(pipeline("color_crop_cutout")), len(pipeline("idc:color_crop_cutout"))
        (1, 3)
    """
    if name.startswith("idc:"):
        return idc(name.removeprefix("idc:"))
    if name.startswith("frepo:"):
        return frepo(name.removeprefix("frepo:"))
    if name.startswith(SEQUENCE):
        return sequence(name.removeprefix(SEQUENCE))
    return dsa(name)


def dsa_strategy(dataset_name: str) -> str:
    """The strategy DSA uses for a dataset: digits are never mirrored."""
    digits = dataset_name.lower().startswith(("mnist", "svhn", "digits"))
    return f"color_crop_cutout_{'' if digits else 'flip_'}scale_rotate"


def idc_strategy(dataset_name: str) -> str:
    """The strategy of IDC's evaluation: DSA's with CutMix in place of cutout."""
    return dsa_strategy(dataset_name).replace("cutout_", "")


def _names(strategy: str, known: Collection[str] = OPS) -> list[str]:
    names = [] if strategy in ("", "none") else strategy.split("_")
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UserError(
            f"the augmentation strategy {quoted(strategy)} names an unknown operation "
            f"{quoted(unknown[0])}: join some of {', '.join(known)} by underscores, "
            "or give none"
        )
    return names


def per_image(pipeline: Pipeline) -> Callable[[Key, Array], Array]:
    """`augment(key, images [B, H, W, C]) -> [B, H, W, C]`, parameters per image.

    The choice within a group is shared by the batch. The parameters of image i depend
    on the key and on i, not on B, so padding a batch changes no other image.

    Raises:
        UserError: in `augment`, if images are not floating point or have axes that
            the operations are not for.

    Example:
        >>> augment = per_image(dsa("crop_flip"))
        >>> augment(jax.random.key(0), jnp.ones((4, 8, 8, 1))).shape
        (4, 8, 8, 1)
    """

    def lift(op: Op, key: Key, images: Array) -> Array:
        def augment_one(i: Array, image: Array) -> Array:
            drawn = op.draw(jax.random.fold_in(key, i), image.shape)
            return op.apply(drawn, image)

        return jax.vmap(augment_one)(jnp.arange(images.shape[0]), images)

    def augment(key: Key, images: Array) -> Array:
        _check(pipeline, (images,))
        return _run(pipeline, lift, key, images)

    return augment


def siamese(pipeline: Pipeline) -> Callable[..., tuple[Array, ...]]:
    """`augment(key, *batches [B_i, H, W, C]) -> tuple of the same`, all alike.

    One choice and one draw serve every image of every batch, whatever their sizes and
    order. Source: Zhao & Bilen 2021, eq. 5.

    Raises:
        UserError: in `augment`, if batches are not floating point, have axes that the
            operations are not for, or differ in the shape of a sample.

    Example:
        >>> augment = siamese(dsa("crop_flip"))
        >>> real, synthetic = jnp.ones((4, 8, 8, 1)), jnp.ones((1, 8, 8, 1))
        >>> a, b = augment(jax.random.key(0), real, synthetic)
        >>> bool((a[0] == b[0]).all())
        True
    """

    def lift(op: Op, key: Key, batches: tuple[Array, ...]) -> tuple[Array, ...]:
        drawn = op.draw(key, batches[0].shape[1:])
        return tuple(jax.vmap(partial(op.apply, drawn))(batch) for batch in batches)

    def augment(key: Key, *batches: Array) -> tuple[Array, ...]:
        _check(pipeline, batches)
        return _run(pipeline, lift, key, batches)

    return augment


def augment_both(
    key: Key, augment: Callable[..., tuple[Array, ...]], real: Batch, synthetic: Batch
) -> tuple[Batch, Batch]:
    """A real and a synthetic batch, both augmented alike by what `siamese` makes.

    Args:
        key: consumed.
        augment: (key, images, images) -> both.
        real, synthetic: [B, ...] each, whose labels stay.
    """
    real_images, images = augment(key, real.images, synthetic.images)
    return real._replace(images=real_images), synthetic._replace(images=images)


def _run(pipeline: Pipeline, lift: Callable, key: Key, images: Any) -> Any:
    for i, group in enumerate(pipeline):
        choice_key, draw_key = jax.random.split(jax.random.fold_in(key, i))
        choice = jax.random.randint(choice_key, (), 0, len(group))
        branches = [partial(lift, op) for op in group]
        images = lax.switch(choice, branches, draw_key, images)
    return images


def _check(pipeline: Pipeline, batches: tuple[Array, ...]) -> None:
    """Refuse batches that the ops of a pipeline are not for.

    Raises:
        UserError: samples differ in shape, have other axes or are no floats; or the
            pipeline is a name.
    """
    if isinstance(pipeline, str):
        raise UserError(
            f"{quoted(pipeline)} is the name of an augmentation: jaxdd.dsa(name) makes "
            "its operations"
        )
    shapes = {batch.shape[1:] for batch in batches}
    ranks = {op.rank for group in pipeline for op in group}
    if len(shapes) != 1 or not {len(shape) for shape in shapes} >= ranks:
        listed = ", ".join(str(batch.shape) for batch in batches) or "none"
        axes = "L, C" if ranks == {2} else "H, W, C"
        raise UserError(
            f"augmentation needs batches [B, {axes}] of one size, not {listed}"
        )
    for batch in batches:
        if not jnp.issubdtype(batch.dtype, jnp.floating):
            raise UserError(
                f"augmentation needs preprocessed images of floats, not {batch.dtype}"
            )
