"""The memory of this machine, and sizes as text."""

import os
from pathlib import Path

import jax


def size_text(size: float | int) -> str:
    """A number of bytes in a handy unit.

    Example:
        >>> size_text(682), size_text(6.53e9)
        ('682 B', '6.53 GB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def capacity() -> int | None:
    """Bytes that an array could at most take: the device's, on CPUs the machine's.

    Returns:
        The device's limit, or the machine's memory and swap; None if unknown.
    """
    device = jax.devices()[0]
    if device.platform != "cpu":
        stats = device.memory_stats()
        return stats.get("bytes_limit") if stats else None
    try:
        whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None
    return whole + (_field("/proc/meminfo", "SwapTotal") or 0)


def host_memory() -> int | None:
    """Memory that programs may still take, this process counted as free."""
    available = _field("/proc/meminfo", "MemAvailable")
    if available is not None:
        return available + (_field("/proc/self/status", "VmRSS") or 0)
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def peak() -> int | None:
    """The most bytes that this process has used: of its device, on CPUs resident."""
    # Of several processes each knows its own devices' memory alone.
    stats = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in stats:
        return stats["peak_bytes_in_use"]
    return _field("/proc/self/status", "VmHWM")


def _field(path: str, name: str) -> int | None:
    """The value of a line `name:  1234 kB` in a file of Linux, in bytes."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return None
    kilobytes = [x.split()[1] for x in lines if x.startswith(f"{name}:")]
    return int(kilobytes[0]) * 1024 if kilobytes else None
