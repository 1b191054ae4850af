"""Configurations: dataclasses of options that a program or a function is given."""

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from jaxdd.errors import UserError, quoted
from jaxdd.fields.names import unknown_keyword
from jaxdd.fields.options import (
    check_dataset,
    check_type,
    check_value,
    local,
    option,
    optional,
    plain_of,
    type_of,
)
from jaxdd.fields.trees import Flag, flags_of

T = TypeVar("T")


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
        value = getattr(config, field.name)
        if value is not None:
            clean = _clean(f"--{field.name}", field, value)
            if field.metadata.get("kind") == "path":
                paths[field.name] = clean
    return paths


def _clean(name: str, field: dataclasses.Field, value: Any) -> Any:
    """A value, checked; a path is expanded.

    Raises:
        UserError: no program can use it.
    """
    rule = field.metadata
    if rule["kind"] == "path":
        return local(value, name)
    if rule["kind"] == "dataset":
        check_type(name, str, value)
        check_dataset(value, name)
    else:
        check_value(name, field, value)
    return value


def config_class(
    name: str,
    doc: str,
    bases: tuple[type, ...],
    tree: type,
    unset: Callable[[Flag], bool],
    names: Mapping[str, str] | None = None,
) -> Any:
    """A frozen dataclass with a field per flag of a tree, for programs.

    Args:
        name: of the class.
        doc: its docstring.
        bases: dataclasses whose fields come first.
        tree: the type of a tree of choices.
        unset: whether a flag has the default None, since a preset decides.
        names: {flag: name in this program} of the flags that it has; by default all.
    """
    fields: list[tuple[str, Any, Any]] = []
    flags = flags_of(tree)
    names = dict(zip(flags, flags, strict=True)) if names is None else names
    for flag in (flags[name] for name in names):
        rule = flag.field.metadata
        if "variant" in rule:
            kind, default = str, None
            rule = option(None, rule["text"]).metadata
        else:
            parsed = rule["parse"] is not None
            kind = str if parsed else type_of(flag.field)
            # A default that is no text is left to the field.
            default = None if parsed or unset(flag) else flag.field.default
        optional = kind | None if default is None else kind
        metadata = {**rule, "group": flag.group, "choices": None, "above": None,
                    "at_least": None, "below": None, "at_most": None}  # fmt: skip
        field = dataclasses.field(default=default, metadata=metadata)
        fields.append((names[flag.name], optional, field))
    config = dataclasses.make_dataclass(
        name, fields, bases=bases, frozen=True, kw_only=True
    )
    config.__doc__ = doc
    return config


def from_keywords(
    kind: type[T], flags: Mapping[str, Any] = MappingProxyType({}), **values: Any
) -> T:
    """A configuration from keyword arguments, whose names are those of its flags.

    NumPy's and JAX's scalars become Python's, and paths become texts.

    Args:
        kind: a dataclass whose fields are made by `fields.option`.
        flags: further keywords that a caller was given, none of which is a value here.
        values: by field; None for a field that may be None or has another default.

    Returns:
        The configuration; `fields.check` is left to whoever uses it.

    Raises:
        UserError: there is no such field, a flag is among the values, or a value has
            another type.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass
        ... class Config:
        ...     steps: int = 10
        >>> from_keywords(Config, steps=np.int64(3))
        Config(steps=3)
    """
    known = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for name in flags:
        if name in values:
            raise UserError(
                f"{quoted(name)} is no keyword here: it has an argument of another "
                "name, or is for the program alone"
            )
    values |= flags
    for name in values:
        if name not in known:
            raise unknown_keyword(name, known)
    return kind(**{name: _typed(known[name], value) for name, value in values.items()})


def _typed(field: dataclasses.Field, value: Any) -> Any:
    """The value in the field's own type.

    Raises:
        UserError: it has another.
    """
    kind = type_of(field)
    if value is None and (field.default is None or optional(field)):
        return None
    value = plain_of(field, value)
    check_type(f"--{field.name}", kind, value)
    return float(value) if kind is float else value
