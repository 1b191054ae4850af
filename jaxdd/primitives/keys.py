"""Independent random streams of one seed."""

import zlib

import jax

from jaxdd.types import Key


def named_key(seed: int, name: str) -> Key:
    """An independent random stream of a seed, e.g. named_key(0, "evaluate")."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))
