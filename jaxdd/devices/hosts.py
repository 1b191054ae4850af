"""Several processes, one program: all compute, the first one writes.

Every process runs the same commands on the same numbers. Files are written by the
primary process alone, and all meet before and after, so that nobody reads what another
has not written yet, or what it wrote too early. What the processes could see
differently, times and signals, they agree on.
"""

import jax
import numpy as np
from jax.experimental import multihost_utils


def several() -> bool:
    """Whether there are other processes. Does not start the backend."""
    return jax.distributed.is_initialized() and jax.process_count() > 1


def primary() -> bool:
    """Whether this process is the one that writes and prints."""
    return not several() or jax.process_index() == 0


def meet() -> None:
    """Wait until all processes are here."""
    if several():
        multihost_utils.sync_global_devices("jaxdd")


def most(value: float) -> float:
    """The largest value that any of the processes has."""
    if not several():
        return value
    return float(np.max(multihost_utils.process_allgather(np.float64(value))))
