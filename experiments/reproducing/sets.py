"""The sets beside a ledger: the file of a run, or its slim form where that is large."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from jaxdd.progress import say
from jaxdd.storage.paths import reason

# The matrices of a whitening alone are larger than all other sets together.
LARGEST_SET = 2 * 10**6
MEGABYTES = f"{LARGEST_SET / 1e6:g} MB"
WHOLE, SLIM = "distilled.npz", "slim.npz"


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def kept(record: dict[str, Any], workdir: Path) -> Path | None:
    """The file in a workdir that is the set of a record, and small; None for none.

    It has the record's `sha256`, or, where it is slim, its `set_sha256`.
    """
    for name, hashed in ((SLIM, "set_sha256"), (WHOLE, "sha256")):
        path = workdir / name
        if hashed not in record or not path.is_file():
            continue
        if path.stat().st_size <= LARGEST_SET and digest(path) == record[hashed]:
            return path
    return None


def with_set(record: dict[str, Any], workdir: Path) -> dict[str, Any]:
    """The record, with the hash of a slim set where the run's own file is too large.

    The slim set is written beside it. Where there is none either, this is said.

    Args:
        record: of the run.
        workdir: of the run.
    """
    whole = workdir / WHOLE
    if kept(record, workdir) is not None or not whole.is_file():
        return record
    if digest(whole) != record["sha256"]:
        say(f"{workdir.name}: {WHOLE} is not that of the record, and is left out")
        return record
    path = workdir / SLIM
    refusal = _convert(whole, path)
    if refusal is not None:
        why = refusal.removeprefix("error: ")
        say(f"{workdir.name}: its set is left out, larger than {MEGABYTES}; {why}")
        return record
    if path.stat().st_size > LARGEST_SET:
        path.unlink()
        say(f"{workdir.name}: its set is left out, even slim larger than {MEGABYTES}")
        return record
    return {**record, "set_sha256": digest(path)}


def _convert(whole: Path, path: Path) -> str | None:
    """Write the slim form of a set; why there is none, or None.

    In a process of its own, on the processor: the devices are left to the runs.
    """
    flags = [f"--source={whole}", "--slim", f"--out={path}"]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "experiments.convert", *flags],
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
            process_group=0,
        )
    except OSError as error:
        return reason(error)
    if done.returncode == 0:
        return None
    return (done.stderr.strip().splitlines() or ["it has no slim form"])[-1]
