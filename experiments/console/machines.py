"""The devices that a program runs on: those of one machine, or of several."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import jax
from absl import flags

from experiments.console import rendezvous
from jaxdd.devices import mesh as devices
from jaxdd.errors import UserError, check_integer
from jaxdd.storage.paths import reason, shown

# Name -> type, as `flags` speaks of them.
KINDS = {
    "devices": "a positive number or all",
    "coordinator": "HOST:PORT or auto",
    "num_processes": "an integer",
    "process_id": "an integer",
}


def define_flags() -> None:
    """The flags of every program. They are no part of a run's configuration."""
    here: Any = {"module_name": sys.argv[0]}
    flags.DEFINE_string(
        "devices",
        None,
        "number of devices over which classes, experts and networks are spread, or "
        "all; default: 1, and all with several processes",
        **here,
    )
    flags.DEFINE_string(
        "coordinator",
        None,
        "HOST:PORT of the first of several processes, or auto on a cluster that JAX "
        "knows (SLURM, Open MPI, Kubernetes, Cloud TPU)",
        **here,
    )
    flags.DEFINE_integer(
        "num_processes",
        None,
        "number of processes, with --coordinator=HOST:PORT",
        **here,
    )
    flags.DEFINE_integer("process_id", None, "rank of this process, from 0", **here)


@contextlib.contextmanager
def in_use() -> Iterator[None]:
    """Join the other processes, if any, and spread mapped axes as the flags say.

    Raises:
        UserError: flags that do not fit together or the machine.
    """
    given = {name: flags.FLAGS[name].value for name in KINDS}
    join(given["coordinator"], given["num_processes"], given["process_id"])
    several = jax.distributed.is_initialized() and jax.process_count() > 1
    count = devices.parse(given["devices"] or ("all" if several else "1"))
    with devices.use(count):
        yield


def join(coordinator: str | None, processes: int | None, index: int | None) -> None:
    """Start this process's part of a program of several; nothing without coordinator.

    Raises:
        UserError: flags that do not fit together, a port that is taken, or a process
            that does not come.
    """
    if coordinator is None:
        if processes is not None or index is not None:
            raise UserError(
                "--num_processes and --process_id need --coordinator=HOST:PORT"
            )
        return
    automatic = coordinator == "auto"
    if not automatic and (processes is None or index is None):
        raise UserError(
            "--coordinator=HOST:PORT needs --num_processes and --process_id; on a "
            "cluster that JAX knows use --coordinator=auto"
        )
    for name, value in (("num_processes", processes), ("process_id", index)):
        if value is not None:
            check_integer(f"--{name}", value)
    if processes is not None and not 0 <= (index or 0) < processes:
        raise UserError(
            f"--process_id={index} must lie in 0 ... {processes - 1}, for "
            f"--num_processes={processes}"
        )
    if not automatic:
        assert processes is not None
        assert index is not None
        rendezvous.meet(coordinator, processes, index)
    try:
        jax.distributed.initialize(None if automatic else coordinator, processes, index)
    except (ValueError, RuntimeError) as error:
        raise UserError(
            f"the processes cannot be joined at --coordinator={shown(coordinator)} "
            f"({reason(error)}): start one process per machine with the same flags but "
            "--process_id"
        ) from error
