"""What there is: memory of the device and of the host, and disk."""

import os
import resource
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import jax

from jaxdd.data.streaming.places import cache_folder
from jaxdd.devices.memory import host_memory
from jaxdd.errors import UserError
from jaxdd.storage.paths import shown


@dataclass(frozen=True)
class Room:
    """Bytes that a run may take; None where nobody tells.

    Attributes:
        device, host, disk: of the device, of the host, and on the disk of the workdir.
        cache: on the disk of JAXDD_CACHE; None where that is the same disk.
    """

    device: int | None
    host: int | None
    disk: int | None
    cache: int | None = None


def room_for(folder: Path) -> Room:
    """What there is for a run in a folder, which need not exist."""
    host, place, cache = host_memory(), nearest(folder), _above(cache_folder())
    is_other = cache.stat().st_dev != place.stat().st_dev
    return Room(
        _device(host),
        host,
        shutil.disk_usage(place).free,
        shutil.disk_usage(cache).free if is_other else None,
    )


def _above(folder: Path) -> Path:
    """The folder itself, or the nearest one above it that exists."""
    target = folder.expanduser().absolute()
    return next(x for x in (target, *target.parents) if x.exists())


def nearest(folder: Path) -> Path:
    """The folder itself, or the nearest one above it that exists.

    Raises:
        UserError: nothing can be written there.
    """
    there = _above(folder)
    if not (there.is_dir() and os.access(there, os.W_OK)):
        why = "Permission denied" if there.is_dir() else "Not a directory"
        raise UserError(
            f"cannot write to the folder {shown(folder)}: {why}; choose another "
            "--workdir"
        )
    return there


def _device(host: int | None) -> int | None:
    """Free memory of the first device, this process counted as free."""
    device = jax.devices()[0]
    stats = device.memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"]
    return host if device.platform == "cpu" else None


def peak_resident() -> int:
    """The largest resident set of this process so far, in bytes."""
    # Bytes on macOS, kilobytes elsewhere.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
