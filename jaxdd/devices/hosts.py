"""Several processes run one program: all compute, and the first one writes.

Every process runs the same commands on the same numbers. Only the primary process
writes files; all processes meet before and after, so that none reads a file that is
missing yet or already newer. Times and signals, which differ between processes, are
agreed on.
"""

import jax
import numpy as np
from jax.experimental import multihost_utils


def several() -> bool:
    """Whether other processes take part. Does not start the backend."""
    return jax.distributed.is_initialized() and jax.process_count() > 1


def primary() -> bool:
    """Whether this is the process that writes and prints."""
    return not several() or jax.process_index() == 0


def meet() -> None:
    """Wait until all processes have reached this point."""
    if several():
        multihost_utils.sync_global_devices("jaxdd")


def most(value: float) -> float:
    """The largest of the values that the processes pass."""
    if not several():
        return value
    return float(np.max(multihost_utils.process_allgather(np.float64(value))))
