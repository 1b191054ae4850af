"""The precisions of products in networks, and which devices have them.

float32    operands as they are; on NVIDIA GPUs JAX would round them to TF32 by itself
tf32       operands rounded to 10 bits, on NVIDIA GPUs of compute capability 8 and more
bfloat16   operands rounded to 7 bits, sums in float32: convolutions and dense layers,
           forward and in derivatives of any order
auto       what `policy.TABLE` has for the device, where the device has it at speed,
           else float32

Parameters, images, losses, norms, solves and the states of optimisers are float32 in
all of them. `policy.resolved` turns a name into one of the first three.
"""

import functools
from pathlib import Path

import jax

PRECISIONS = ("float32", "tf32", "bfloat16")
AUTO = "auto"
# What JAX's products are asked for; those of bfloat16 are `nets.rounded`'s.
_IN_JAX = {"float32": "float32", "tf32": "tensorfloat32"}
# The least compute capability of a GPU with products in TF32 and bfloat16: Ampere's.
_AMPERE = 8.0


def has(name: str) -> bool:
    """Whether the device in use makes products of a precision at full speed."""
    backend = jax.default_backend()
    if name == "float32":
        return True
    if backend == "gpu":
        return _capability() >= _AMPERE
    if backend == "cpu":
        return name == "bfloat16" and "amx_bf16" in _processor_flags()
    return name == "bfloat16" and backend == "tpu"


def unspecified() -> str:
    """The precision of files that name none, of versions before there was a choice.

    It was JAX's own: TF32 on NVIDIA GPUs that have it, else float32.
    """
    return "tf32" if has("tf32") else "float32"


def in_jax(name: str) -> str | None:
    """What JAX's products get as their `precision` for float32 and tf32.

    None on a CPU, where JAX's default is float32.
    """
    return None if jax.default_backend() == "cpu" else _IN_JAX[name]


@functools.cache
def _processor_flags() -> frozenset[str]:
    """The capabilities of this machine's processor; empty where Linux does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    flags = next((line for line in lines if line.startswith("flags")), "")
    return frozenset(flags.partition(":")[2].split())


def _capability() -> float:
    """The compute capability of an NVIDIA GPU, 0 for other devices."""
    try:
        return float(getattr(jax.devices()[0], "compute_capability", 0))
    except ValueError:  # AMD's are names
        return 0.0
