"""When images are streamed: where memory would not hold them."""

import math

import jax

from jaxdd.devices.memory import capacity, host_memory

STREAM = ("auto", "always", "never")
HELP = (
    "where decoded images are: on disk, from which every batch is read (always), in "
    "memory (never), or on disk if they would take more than a quarter of it (auto); "
    "batches are the same"
)
# In memory there are the images as they were read, those of a split, and, where the
# device has no memory of its own, those on the device.
COPIES = 3
# The most of the memory that images may take; networks and batches need the rest.
SHARE = 0.25


def streams(stream: str, count: int, shape: tuple[int, ...], itemsize: int = 1) -> bool:
    """Whether images stay on disk.

    Args:
        stream: one of `STREAM`.
        count, shape, itemsize: of the images, bytes of a value.

    Example:
        >>> streams("auto", 60_000, (28, 28, 1)), streams("auto", 10**9, (64, 64, 3))
        (False, True)
    """
    if stream != "auto":
        return stream == "always"
    size = count * math.prod(shape) * itemsize
    on_host = COPIES if jax.default_backend() == "cpu" else COPIES - 1
    limits = ((on_host * size, host_memory()), (size, capacity()))
    return any(there is not None and x > SHARE * there for x, there in limits)
