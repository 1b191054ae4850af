"""Where a result comes from: versions and device."""

import platform
from importlib.metadata import PackageNotFoundError, version

import jax

from jaxdd.devices import mesh as devices

PACKAGES = ("jaxdd", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a result's bits."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # jaxdd run from its source folder
            found[package] = "source"
    return found


def device() -> str:
    """Kind and number of the devices in use, e.g. "cpu x1"."""
    return f"{jax.devices()[0].device_kind} x{devices.spread_over()}"
