"""Keyword arguments of a function, checked as the flags of a program are."""

import dataclasses
import difflib
import numbers
from typing import Any, TypeVar

from jaxdd.errors import UserError, quoted
from jaxdd.fields import plain, type_of

T = TypeVar("T")

_KINDS = {int: "an integer", float: "a number", str: "a text", bool: "true or false"}


def from_keywords(kind: type[T], **values: Any) -> T:
    """A configuration from keyword arguments, whose names are those of its flags.

    NumPy's and JAX's scalars become Python's, and paths become texts.

    Args:
        kind: a dataclass whose fields are made by `fields.option`.
        values: by field; None for a field that may be None or has another default.

    Returns:
        The configuration; `fields.check` is left to whoever uses it.

    Raises:
        UserError: there is no such field, or a value has another type.

    Example:
        >>> import numpy as np
        >>> from dataclasses import dataclass
        >>> @dataclass
        ... class Config:
        ...     steps: int = 10
        >>> from_keywords(Config, steps=np.int64(3))
        Config(steps=3)
    """
    known = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            guess = f", perhaps {close[0]}" if close else ""
            raise UserError(f"there is no keyword {quoted(name)}{guess}")
    return kind(**{name: _typed(known[name], value) for name, value in values.items()})


def _typed(field: dataclasses.Field, value: Any) -> Any:
    """The value in the field's own type.

    Raises:
        UserError: it has another.
    """
    kind = type_of(field)
    if value is None and (field.default is None or type(None) in _members(field)):
        return None
    value = plain(value)
    if isinstance(value, bool) == (kind is bool):
        if kind is float and isinstance(value, numbers.Real):
            return float(value)
        if isinstance(value, kind):
            return value
    raise UserError(
        f"--{field.name} must be {_KINDS.get(kind, kind)}, not {quoted(value)}"
    )


def _members(field: dataclasses.Field) -> tuple[Any, ...]:
    return getattr(field.type, "__args__", ())
