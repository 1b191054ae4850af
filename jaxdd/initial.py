"""The images that distillation starts from."""

import jax
import jax.numpy as jnp

from jaxdd.errors import UserError
from jaxdd.types import Key, RealData, Synthetic
from jaxdd.windows import sample_classes

INITIALS = ("noise", "real")


def initial_set(key: Key, kind: str, real: RealData, ipc: int) -> Synthetic:
    """A start for distillation, with hard labels.

    Args:
        key: consumed.
        kind: "noise", standard normal in preprocessed space; "real", distinct random
            real images of the class.
        real: where images (or just their shape) come from.
        ipc: images per class.

    Raises:
        UserError: an unknown kind.

    Example:
        >>> import jax, jaxdd, numpy as np
        >>> images = np.ones((6, 8, 8, 1), np.float32)
        >>> real = jaxdd.real_data(images, np.arange(6) % 3, 3)
        >>> key = jax.random.key(0)
        >>> initial_set(key, "noise", real, ipc=2).images.shape
        (3, 2, 8, 8, 1)
    """
    if kind not in INITIALS:
        raise UserError(
            f"unknown initial images {kind!r}: choose one of {', '.join(INITIALS)}"
        )
    classes, shape = real.table.shape[0], real.images.shape[1:]
    if kind == "noise":
        images = jax.random.normal(key, (classes, ipc, *shape), real.scale.dtype)
    else:
        images = sample_classes(key, real, ipc).images
    labels = jnp.broadcast_to(
        jnp.eye(classes, dtype=images.dtype)[:, None], (classes, ipc, classes)
    )
    # A copy per leaf: the state's buffers are donated, and aliases would break that.
    return Synthetic(images, jnp.array(labels), jnp.zeros((), images.dtype))
