"""Fields of configurations: what they are about, and what their values may be.

A configuration is a frozen dataclass whose fields are made by `option`. Whatever is
true of a kind of field, in every program, is said here once: paths are of this machine
and `~` is expanded, integers fit into arrays, seeds are what JAX takes.
"""

import dataclasses
import math
import types
import typing
from typing import Any, TypeVar

from jaxdd.errors import UserError, check_integer, quoted
from jaxdd.storage.paths import local_path

LARGEST_SEED = 2**32 - 1
# How a dataset's path is to be read, before the path itself.
_READERS = ("folder:", "npz:")

T = TypeVar("T")


def option(default, text: str, kind: str | None = None):
    """A configuration field with its help text; `...` as default for a required one.

    Args:
        kind: "path", "dataset" or "seed"; None for what its type says.
    """
    metadata = {"help": text, "kind": kind}
    if default is ...:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def type_of(field: dataclasses.Field) -> Any:
    """The type of a field's values, None apart."""
    kind: Any = field.type
    if typing.get_origin(kind) is types.UnionType:  # X | None: unset means preset
        kind = next(t for t in typing.get_args(kind) if t is not type(None))
    return kind


def check_seed(seed: int, name: str = "--seed") -> None:
    """Raise UserError for a seed that JAX or NumPy cannot use."""
    if not 0 <= seed <= LARGEST_SEED:
        raise UserError(
            f"{name} must lie between 0 and {LARGEST_SEED}, not {quoted(seed)}"
        )


def check(config: Any) -> None:
    """Refuse values that no program can use, whatever they are for.

    Raises:
        UserError: an integer or a seed out of bounds, a number that is not finite, or
            a path that is none.
    """
    _understood(config)


def understood(config: T) -> T:
    """The same configuration with its paths as they are on this machine.

    Raises:
        UserError: as `check`.
    """
    return dataclasses.replace(config, **_understood(config))  # type: ignore[type-var]


def _understood(config: Any) -> dict[str, str]:
    """Fields of paths, expanded; everything is checked."""
    paths = {}
    for field in dataclasses.fields(config):
        name, value = f"--{field.name}", getattr(config, field.name)
        kind = field.metadata.get("kind")
        if value is None:
            continue
        if kind == "seed":
            check_seed(value, name)
        elif kind == "path":
            paths[field.name] = str(local_path(value, name))
        elif kind == "dataset":
            _check_dataset(value, name)
        elif isinstance(value, int) and not isinstance(value, bool):
            check_integer(name, value)
        elif isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{name} must be a finite number, not {value}")
    return paths


def _check_dataset(text: str, name: str) -> None:
    """Its path, if it has one; the text stays, since runs are compared by it."""
    for prefix in _READERS:
        if text.startswith(prefix):
            local_path(text.removeprefix(prefix), f"the path in {name}")
            return
    local_path(text, name)  # a name has no slashes to trip over
