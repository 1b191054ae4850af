"""The origin of a result: versions and device."""

import platform
from importlib.metadata import PackageNotFoundError, version

import jax

from jaxdd.devices import mesh as devices

PACKAGES = ("jaxdd", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages on which the bits of a result depend."""
    by_name = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            by_name[package] = version(package)
        except PackageNotFoundError:  # jaxdd run from its source folder
            by_name[package] = "source"
    return by_name


def device() -> str:
    """Kind and number of the devices in use, e.g. "cpu x1"."""
    return f"{jax.devices()[0].device_kind} x{devices.spread_over()}"
