"""Views of images: one random part of all of them, enlarged, mirrored, rolled.

Unlike the augmentation of a match, a view may become harder in the course of a run.
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from jaxdd.fields import Choice, Misfit, option
from jaxdd.primitives.horizons import last_step
from jaxdd.types import Array, Key

# Width by height of a part (RandomResizedCrop).
RATIOS = 3 / 4, 4 / 3
SCHEDULES = ("constant", "cosine")


class View(NamedTuple):
    """What is seen of an image.

    Attributes:
        box: [4], top, left, height and width as shares of the image's sides.
        mirrored: [] bool, whether left and right are exchanged.
        shift: [2] int32, by how many rows and columns the view is rolled on.
    """

    box: Array
    mirrored: Array
    shift: Array


@dataclass(frozen=True)
class Views(Choice):
    """Random views of the images, one draw for a whole batch (SRe2L, CDA).

    Attributes:
        area: the least share of an image's area that a view shows.
        flip: whether views are mirrored, one in two.
        roll: the most pixels by which a view is rolled on along each axis.
        schedule: of the least share: "constant", or a "cosine" from whole images down
            to it, an order from easy to hard views (CDA).
        horizon: the step at which the cosine ends; None for the last one of the
            published run.
    """

    subject: ClassVar[str] = "views of the synthetic images"

    area: float = option(
        0.08,
        "least share of a synthetic image's area that a view of it shows; 1 for whole "
        "images",
        flag="view_area",
        above=0,
        at_most=1,
    )
    flip: bool = option(
        True, "whether one in two views of the images is mirrored", flag="view_flip"
    )
    roll: int = option(
        4,
        "most pixels by which a view of the images is rolled on along each axis",
        flag="view_roll",
        at_least=0,
    )
    schedule: str = option(
        "constant",
        "least share of an image that a view shows over the run: constant, or falling "
        "like a cosine from 1 to --view_area (cosine)",
        flag="view_schedule",
        choices=SCHEDULES,
    )
    horizon: int | None = option(
        None,
        "step at which the cosine of --view_schedule=cosine ends; default: the last "
        "one of the published run",
        flag="view_horizon",
        above=0,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.horizon is not None and self.schedule == "constant":
            raise Misfit(
                self,
                "{horizon=} is where a cosine ends, and views have the same least area "
                "all along: add {schedule=cosine}, or leave it out",
            )

    def with_horizon(self, horizon: int) -> "Views":
        """The same with a cosine that ends at step `horizon` where none is set."""
        if self.schedule == "constant" or self.horizon is not None:
            return self
        return replace(self, horizon=horizon)

    def least_area(self, step: Array) -> Array:
        """The least share of an image's area at a step.

        Args:
            step: [] int32.

        Example:
            >>> views = Views(area=0.5, schedule="cosine", horizon=100)
            >>> steps = map(jnp.int32, (0, 50, 100, 200))
            >>> [round(float(views.least_area(t)), 3) for t in steps]
            [1.0, 0.75, 0.5, 0.5]
        """
        if self.schedule == "constant":
            return jnp.float32(self.area)
        share = jnp.clip(step / max(last_step(self.horizon), 1), 0.0, 1.0)
        return self.area + (1 - self.area) * 0.5 * (1 + jnp.cos(jnp.pi * share))

    def draw(self, key: Key, step: Array) -> View:
        """A random view, as torchvision's RandomResizedCrop draws its box.

        Its area is uniform and the logarithm of its ratio too. The ratio is cut at the
        last one with which a part of that area fits, where torchvision draws again,
        and places are not whole pixels (ours).

        Args:
            key: consumed.
            step: [] int32.
        """
        key_area, key_ratio, key_place, key_flip, key_roll = jax.random.split(key, 5)
        least = self.least_area(step)
        area = least + (1 - least) * jax.random.uniform(key_area)
        low, high = (math.log(ratio) for ratio in RATIOS)
        ratio = jnp.exp(jax.random.uniform(key_ratio, minval=low, maxval=high))
        ratio = jnp.clip(ratio, area, 1 / area)
        sides = jnp.minimum(jnp.sqrt(jnp.stack([area / ratio, area * ratio])), 1)
        place = jax.random.uniform(key_place, (2,)) * (1 - sides)
        mirrored = jax.random.bernoulli(key_flip) & self.flip
        shift = jax.random.randint(key_roll, (2,), 0, self.roll + 1)
        return View(jnp.concatenate([place, sides]), mirrored, shift)


def seen(view: View, images: Array) -> Array:
    """Images in one view, at their own size: cut, then mirrored, then rolled on.

    Differentiable with respect to the images; parts are enlarged bilinearly.

    Args:
        view: of all of them.
        images: [B, H, W, C].

    Example:
        >>> whole = View(jnp.array([0.0, 0.0, 1.0, 1.0]), jnp.array(True),
        ...              jnp.array([1, 0]))
        >>> seen(whole, jnp.arange(4.0).reshape(1, 2, 2, 1)).ravel().tolist()
        [3.0, 2.0, 1.0, 0.0]
    """
    box = view.box.astype(images.dtype)
    size = jnp.array(images.shape[1:3], images.dtype)
    scale = 1 / box[2:]
    offset = -box[:2] * size * scale

    def cut(image: Array) -> Array:
        return jax.image.scale_and_translate(
            image, image.shape, (0, 1), scale, offset, "linear"
        )

    parts = jax.vmap(cut)(images)
    parts = jnp.where(view.mirrored, parts[:, :, ::-1], parts)
    return jnp.roll(parts, view.shift, (1, 2))
