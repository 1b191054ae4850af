"""JSON files read by a schema: a file on disk is hostile until it is checked.

A schema is a function of a value and of its place in the file that raises ValueError
with a phrase if the value does not fit, for example
`mapping(steps=integer(0), config=mapping())`.
"""

import dataclasses
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Container
from pathlib import Path
from typing import Any

from jaxdd.errors import LARGEST_INTEGER, UserError, quoted
from jaxdd.storage.paths import existing_file, reason, shown

LARGEST_FILE = 256 * 2**20  # bytes; a metrics.jsonl of a million lines is half of it
_DEEPEST = 32  # levels of nesting; ours have six
_LARGEST_FLOAT = 1e30  # float32 holds it, and its products with usual numbers

Schema = Callable[[Any, str], None]


def anything(value: Any, where: str) -> None:
    """Any JSON value."""


def integer(low: int = 0, high: int = LARGEST_INTEGER) -> Schema:
    """A whole number in [low, high]."""

    def check(value: Any, where: str) -> None:
        if type(value) is not int or not low <= value <= high:
            raise _wrong(where, value, f"a whole number from {low} to {high}")

    return check


def number(low: int | float = -math.inf, high: int | float = math.inf) -> Schema:
    """A finite number in [low, high]."""

    def check(value: Any, where: str) -> None:
        if type(value) not in (int, float) or not _within(value, low, high):
            bounds = "" if (low, high) == (-math.inf, math.inf) else (
                f" from {low:g} to {high:g}"
            )  # fmt: skip
            raise _wrong(where, value, f"a finite number{bounds}")

    return check


def _within(value: int | float, low: int | float, high: int | float) -> bool:
    try:
        return math.isfinite(float(value)) and low <= value <= high
    except OverflowError:
        return False


def text(longest: int = 4096) -> Schema:
    """A string of at most `longest` characters."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, str) or len(value) > longest:
            raise _wrong(where, value, f"a text of at most {longest} characters")

    return check


def matching(pattern: str, what: str) -> Schema:
    """A string that a regular expression matches as a whole.

    Args:
        pattern: the expression.
        what: it describes, for the sentence that refuses another one.
    """

    def check(value: Any, where: str) -> None:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise _wrong(where, value, what)

    return check


def flag(value: Any, where: str) -> None:
    """True or false."""
    if not isinstance(value, bool):
        raise _wrong(where, value, "true or false")


def one_of(*choices: Any) -> Schema:
    """One of the given values, of the same type."""

    def check(value: Any, where: str) -> None:
        if not any(type(value) is type(c) and value == c for c in choices):
            raise _wrong(where, value, " or ".join(map(repr, choices)))

    return check


def name_in(table: Container[str], named: str) -> Schema:
    """A name in a table that others may add to: as it is when a value is checked.

    Args:
        table: what has the names.
        named: what it is called, for the sentence.
    """

    def check(value: Any, where: str) -> None:
        if not isinstance(value, str) or value not in table:
            raise _wrong(where, value, f"a name in {named}")

    return check


def maybe(schema: Schema) -> Schema:
    """Null, or a value by the schema."""

    def check(value: Any, where: str) -> None:
        if value is not None:
            schema(value, where)

    return check


def list_of(schema: Schema, shortest: int = 0, longest: int = 10**6) -> Schema:
    """A list with a number of entries in [shortest, longest], each by the schema."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, list) or not shortest <= len(value) <= longest:
            size = f"{shortest}" if shortest == longest else f"{shortest} to {longest}"
            raise _wrong(where, value, f"a list of {size} entries")
        for index, entry in enumerate(value):
            schema(entry, f"{where}[{index}]")

    return check


def tuple_of(*schemas: Schema) -> Schema:
    """A list with one entry per schema."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, list) or len(value) != len(schemas):
            raise _wrong(where, value, f"a list of {len(schemas)} entries")
        for index, (schema, entry) in enumerate(zip(schemas, value, strict=True)):
            schema(entry, f"{where}[{index}]")

    return check


def mapping(
    *, others: Schema | None = anything, optional: dict[str, Schema] | None = None,
    **required: Schema,
) -> Schema:  # fmt: skip
    """A JSON object.

    Args:
        others: schema of fields that are not named; None refuses such fields.
        optional: schemas of fields that may be absent.
        required: schemas of fields that must be present.
    """
    schemas = {**(optional or {}), **required}

    def check(value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise _wrong(where, value, "an object with fields")
        for name in required:
            if name not in value:
                raise ValueError(f"{_place(where)} lacks {name!r}")
        for name, entry in value.items():
            schema = schemas.get(name, others)
            if schema is None:
                raise ValueError(
                    f"{_place(where)} has the unknown field {quoted(name)}"
                )
            schema(entry, f"{where}.{name}" if where else name)

    return check


def fields_of(kind: type, **special: Schema) -> dict[str, Schema]:
    """Schemas of a dataclass's fields by their types.

    Numbers must be finite and not negative; lists may have a thousand entries.

    Args:
        kind: the dataclass.
        special: schemas of fields that are stricter than their type.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass
        ... class Schedule:
        ...     epochs: int
        ...     rate: float = 0.1
        >>> parse('{"epochs": 3}', mapping(optional=fields_of(Schedule)))
        {'epochs': 3}
    """
    by_type: dict[Any, Schema] = {
        int: integer(),
        float: number(0, _LARGEST_FLOAT),
        bool: flag,
        str: text(),
        tuple[int, ...]: list_of(integer(), longest=1000),
    }
    return {
        field.name: special[field.name]
        if field.name in special
        else by_type[field.type]
        for field in dataclasses.fields(kind)
    }


def read_json(path: str | Path, schema: Schema, remedy: str) -> Any:
    """Parse a JSON file and check all of it.

    Args:
        path: the file.
        schema: schema of its content.
        remedy: end of the message that says what to do if the file cannot be used.

    Raises:
        UserError: it is no regular file, too large, no JSON, or does not fit the
            schema.
    """
    return _read(path, lambda content: parse(content, schema), remedy)


def read_lines(path: str | Path, schema: Schema, remedy: str) -> list[Any]:
    """Parse a file with a JSON value per line, and check all of them.

    Args:
        path: the file.
        schema: schema of every line.
        remedy: end of the message that says what to do if the file cannot be used.

    Raises:
        UserError: it is no regular file, too large, or a line does not fit the schema.
    """

    def parsed(content: bytes) -> list[Any]:
        values = []
        for count, line in enumerate(content.splitlines(), 1):
            try:
                values.append(parse(line, schema))
            except ValueError as error:
                raise ValueError(f"line {count}: {error}") from None
        return values

    return _read(path, parsed, remedy)


def _read(path: str | Path, parsed: Callable[[bytes], Any], remedy: str) -> Any:
    place = existing_file(path, "the file", remedy)
    try:
        if place.stat().st_size > LARGEST_FILE:
            raise ValueError(f"it is larger than {LARGEST_FILE} bytes")
        return parsed(place.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(
            f"cannot use {shown(place)} ({reason(error)}): {remedy}"
        ) from error


def parse(content: str | bytes, schema: Schema) -> Any:
    """A checked value from JSON.

    Raises:
        ValueError: the content is no JSON or does not fit; the message is a phrase.
    """
    try:
        value = json.loads(
            content,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            object_pairs_hook=_once_each,
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None
    _check_depth(value, _DEEPEST)
    schema(value, "")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"it contains {name}, which is not a number of JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError(f"it contains {quoted(digits)}, which no float can hold")
    return value


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, of which no reader may choose between two values."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"it has the field {quoted(twice)} more than once")
    return fields


def _check_depth(value: Any, left: int) -> None:
    if not isinstance(value, dict | list):
        return
    if left == 0:
        raise ValueError(f"it is nested more than {_DEEPEST} levels deep")
    for entry in value.values() if isinstance(value, dict) else value:
        _check_depth(entry, left - 1)


def _wrong(where: str, value: Any, expected: str) -> ValueError:
    return ValueError(f"{_place(where)} is {quoted(value)}, not {expected}")


def _place(where: str) -> str:
    return quoted(where) if where else "it"
