"""Compiled programs on disk, which the next process need not compile again."""

import os
from pathlib import Path

import jax

from jaxdd.errors import UserError
from jaxdd.storage.paths import local_path

_USUAL = "~/.cache/jaxdd"


def cache_folder() -> Path:
    """The folder of what may be made again: JAXDD_CACHE, or ~/.cache/jaxdd.

    Raises:
        UserError: there is no such folder, as where a user has no home.
    """
    return local_path(os.environ.get("JAXDD_CACHE") or _USUAL, "JAXDD_CACHE")


def keep_compiled_programs(folder: str | Path | None = None) -> Path | None:
    """Keep compiled programs on disk, for later calls and other processes.

    Every run compiles its programs, and a second one of the same shapes finds them
    again: the second seed of a sweep starts in seconds. The programs in `experiments`
    call this; a notebook or another program does so once, before its first run. It sets
    `jax_compilation_cache_dir`, unless that is set already, for all of JAX.

    Args:
        folder: where they are kept; default: `xla` in JAXDD_CACHE, or in
            ~/.cache/jaxdd.

    Returns:
        The folder in use; None for an account without a home folder, which compiles
        anew every time.

    Raises:
        UserError: `folder` or JAXDD_CACHE names no path.

    Source: ours.
    """
    known = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    if known is not None:
        return Path(known)
    if folder is not None:
        root = local_path(folder, "folder")
    else:
        try:
            root = cache_folder() / "xla"
        except UserError:
            if os.environ.get("JAXDD_CACHE"):
                raise
            return None
    jax.config.update("jax_compilation_cache_dir", str(root))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    return root
