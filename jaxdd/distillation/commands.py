"""The command or the call that a run was started by, as text to copy."""

import dataclasses
import shlex
from collections.abc import Mapping
from typing import Any

from jaxdd.distillation.options import Config
from jaxdd.methods.recipe import Recipe


def command_of(
    method: str | Recipe, flags: Mapping[str, Any], workdir: str | None, named: bool
) -> str:
    """How a run was started.

    Args:
        method: its name, or a recipe of your own.
        flags: {flag: value}; those with their default are left out, except for what
            every run is known by.
        workdir: its folder, None without one.
        named: whether the data have a name that `--dataset` takes.

    Returns:
        A command of a shell; a call in Python where the data or the method are objects.

    Example:
        >>> command_of("dm", {"dataset": "digits", "ipc": 1, "seed": 0}, "x", True)
        'python -m experiments.distill --dataset=digits --method=dm --ipc=1 --workdir=x'
        >>> command_of("dm", {"ipc": 1, "steps": 5}, None, False)
        "jaxdd.distill(data, method='dm', ipc=1, steps=5)"
    """
    usual = {field.name: field.default for field in dataclasses.fields(Config)}
    changed = {
        name: value
        for name, value in flags.items()
        if value is not None
        and name not in ("dataset", "ipc")
        and value != usual.get(name)
    }
    values = {"ipc": flags.get("ipc", usual["ipc"]), **changed}
    if workdir is not None:
        values["workdir"] = workdir
    if named and isinstance(method, str):
        values = {"dataset": flags.get("dataset", "digits"), "method": method, **values}
        words = (f"--{k}={shlex.quote(str(v))}" for k, v in values.items())
        return " ".join(("python -m experiments.distill", *words))
    data = repr(str(flags.get("dataset"))) if named else "data"
    name = repr(method) if isinstance(method, str) else "recipe"
    given = (f"{k}={v!r}" for k, v in values.items())
    return f"jaxdd.distill({', '.join((data, f'method={name}', *given))})"
