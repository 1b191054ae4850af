"""One field: its help text, bounds and flag, and the checks of its values."""

import ast
import contextlib
import dataclasses
import math
import os
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from jaxdd.errors import UserError, check_integer, quoted
from jaxdd.storage.paths import local_path

LARGEST_SEED = 2**32 - 1
# How a dataset's path is to be read, before the path itself.
_READERS = ("folder:", "npz:", "table:")

T = TypeVar("T")
# A field in the sentence of a `Misfit`, with "=" its value, which may be another.
_FIELD = re.compile(r"\{(\w+)(?:(=)([^}]*))?\}")


class FieldError(UserError):
    """A field has a value that it cannot have.

    Attributes:
        name: what the sentence calls the field.
        tail: the sentence after that.
    """

    def __init__(self, name: str, tail: str):
        super().__init__(f"{name} {tail}")
        self.name, self.tail = name, tail


class Misfit(UserError):
    """Fields of a choice do not fit together.

    Args:
        choice: the choice.
        sentence: what is wrong, in which `{horizon}` stands for a field, `{horizon=}`
            for it and its value, and `{schedule=cosine}` for another value.

    Example:
        >>> @dataclasses.dataclass
        ... class Rate:
        ...     end: int = option(5, "when it ends", flag="image_horizon")
        ...     shape: str = option("constant", "how it changes", flag="schedule")
        >>> error = Misfit(Rate(), "{end=} is no end of {shape=}: use {shape=cosine}")
        >>> print(error)
        Rate: end=5 is no end of shape='constant': use shape='cosine'
        >>> print(error.in_flags())
        --image_horizon=5 is no end of --schedule=constant: use --schedule=cosine
    """

    def __init__(self, choice: Any, sentence: str):
        self.choice, self.sentence = choice, sentence
        said = self._with(self._named_in_python, self._in_python)
        super().__init__(f"{type(choice).__name__}: {said}")

    def in_flags(self) -> str:
        """The sentence with flags in the place of fields."""

        def valued(name: str, value: Any) -> str:
            shown = f"{value:g}" if isinstance(value, float) else value
            return f"{self._as_flag(name)}={shown}"

        return self._with(self._as_flag, valued)

    def _with(
        self, named: Callable[[str], str], valued: Callable[[str, Any], str]
    ) -> str:
        def field(match: re.Match[str]) -> str:
            name, equals, value = match.groups()
            if equals is None:
                return named(name)
            return valued(name, _literal(value) if value else self._value(name))

        return _FIELD.sub(field, self.sentence)

    def _named_in_python(self, name: str) -> str:
        return name

    def _in_python(self, name: str, value: Any) -> str:
        return f"{name}={value!r}"

    def _as_flag(self, name: str) -> str:
        fields = {x.name: x for x in dataclasses.fields(self.choice)}
        return f"--{fields[name].metadata.get('flag') or name}"

    def _value(self, name: str) -> Any:
        return getattr(self.choice, name)


def _literal(text: str) -> Any:
    """A number or a truth as such, and other texts as they are."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def option(
    default: Any,
    text: str,
    kind: str | None = None,
    *,
    flag: str | None = None,
    above: int | float | None = None,
    at_least: int | float | None = None,
    below: int | float | None = None,
    at_most: int | float | None = None,
    choices: Sequence[str] | Mapping[str, Any] | None = None,
    parse: Callable[[str], Any] | None = None,
    opens: bool = False,
    closes: Any = None,
    about: str | None = None,
    often: bool = False,
    beside: Mapping[str, Sequence[Any] | None] | None = None,
):
    """A field with its help text; `...` as default for a required one.

    Args:
        default: the value of a field that is not given.
        text: the help text, which has to stand alone.
        kind: "path", "dataset", "seed" or "size" (of images); None for what the type
            says.
        flag: the name of the flag; by default that of the field.
        above, at_least, below, at_most: bounds of a number.
        choices: the names that a text may be, or a mapping of them.
        parse: turns the text of a flag into the value of the field.
        opens: whether the flag creates its choice where that is absent.
        closes: the value at which the flag removes its choice again.
        about: what the field is about, for a refusal; by default the subject of its
            choice.
        often: whether `--help` lists the flag among those that most people need.
        beside: {field of the same choice: values}: the flag has an effect beside these
            values alone, or, for None, beside any but the default.
    """
    metadata = {
        "help": text, "kind": kind, "flag": flag, "above": above, "at_least": at_least,
        "below": below, "at_most": at_most, "choices": choices, "parse": parse,
        "opens": opens, "closes": closes, "about": about, "often": often,
        "beside": beside or {},
    }  # fmt: skip
    if default is ...:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def variant(
    default: Any, text: str, flag: str, selected_by: Mapping[str, type] | None = None
):
    """A field that holds one of several choices, each with fields of its own.

    Args:
        default: the choice where none is given.
        text: the help text.
        flag: the name under which the variant's `name` is stored.
        selected_by: the choices by name, where the flag selects among them; None where
            only code does.
    """
    metadata = {"variant": flag, "text": text, "selected_by": selected_by}
    return dataclasses.field(default=default, metadata=metadata)


class Choice:
    """Base of frozen dataclasses of options, which checks their values.

    Attributes:
        subject: what the choice is about, for the refusal of a flag of it.
        remedy: what to do about such a flag.
        name: what selects this variant, where there are several.
    """

    subject: ClassVar[str] = ""
    remedy: ClassVar[str] = "leave it out"
    name: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            if "help" in field.metadata:
                name = f"{type(self).__name__}.{field.name}"
                check_value(name, field, getattr(self, field.name))


def type_of(field: dataclasses.Field) -> Any:
    """The type of a field's values, None apart."""
    kind: Any = field.type
    if typing.get_origin(kind) is types.UnionType:  # X | None: unset means preset
        kind = next(t for t in typing.get_args(kind) if t is not type(None))
    return kind


def optional(field: dataclasses.Field) -> bool:
    return type(None) in typing.get_args(field.type)


KINDS: dict[Any, str] = {int: "an integer", float: "a number", str: "a text",
                          bool: "true or false"}  # fmt: skip


def check_value(name: str, field: dataclasses.Field, value: Any) -> None:
    """Refuse a value that a field cannot have.

    Raises:
        FieldError: the value has another type, is an unknown name or a number that is
            out of bounds, not finite, or larger than arrays hold.
    """
    if value is None and optional(field):
        return
    rule, kind = field.metadata, type_of(field)
    check_type(name, kind, value)
    try:
        if rule["kind"] == "seed":
            check_seed(value, name)
        elif kind is int:
            check_integer(name, value)
    except UserError as error:
        raise FieldError(name, str(error).removeprefix(f"{name} ")) from error
    for broken, what in (
        (rule["above"] is not None and not value > rule["above"], _above(rule)),
        (rule["at_least"] is not None and not value >= rule["at_least"],
         f"at least {rule['at_least']}"),
        (rule["below"] is not None and not value < rule["below"],
         f"below {rule['below']}"),
        (rule["at_most"] is not None and not value <= rule["at_most"],
         f"at most {rule['at_most']}"),
    ):  # fmt: skip
        if broken:
            raise FieldError(name, f"must be {what}, not {quoted(value)}")
    choices = rule["choices"]
    if choices is not None and value not in choices:
        raise FieldError(name, none_of(choices, value))


def none_of(choices: Iterable[str], value: Any) -> str:
    return f"must be one of {', '.join(choices)}, not {quoted(value)}"


def _above(rule: Mapping[str, Any]) -> str:
    return "positive" if rule["above"] == 0 else f"above {rule['above']}"


def _is_finite(value: int | float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond every float
        return False


def check_type(name: str, kind: Any, value: Any) -> None:
    if not _fits(kind, value):
        what = KINDS.get(kind, str(kind))
        raise FieldError(name, f"must be {what}, not {quoted(value)}")
    if kind is float and not _is_finite(value):
        raise FieldError(name, f"must be a finite number, not {quoted(value)}")


def _fits(kind: Any, value: Any) -> bool:
    """Whether a value has the type of a field."""
    if typing.get_origin(kind) is tuple:
        kinds = typing.get_args(kind)
        if not isinstance(value, tuple):
            return False
        if kinds[-1] is Ellipsis:
            return all(_fits(kinds[0], part) for part in value)
        return len(value) == len(kinds) and all(map(_fits, kinds, value))
    if kind not in KINDS:
        return True
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float if kind is float else kind)


def check_seed(seed: int, name: str = "--seed") -> None:
    """Raise UserError for a seed that JAX or NumPy cannot use."""
    if not 0 <= seed <= LARGEST_SEED:
        raise UserError(
            f"{name} must lie between 0 and {LARGEST_SEED}, not {quoted(seed)}"
        )


def plain(value: Any) -> Any:
    """Scalars of NumPy and JAX as Python's, and a path as a text."""
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        # A key of random numbers has no item: it stays as it is, and no kind fits it.
        with contextlib.suppress(NotImplementedError):
            return value.item()
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def plain_of(field: dataclasses.Field, value: Any) -> Any:
    """As `plain`; and a size that is a number or a pair of them as the flag's text.

    Example:
        >>> size = option(None, "a size", kind="size")
        >>> plain_of(size, 8), plain_of(size, (8, 10)), plain_of(size, "8x10")
        ('8', '8x10', '8x10')
    """
    value = plain(value)
    if field.metadata.get("kind") != "size" or isinstance(value, bool):
        return value
    sides = value if isinstance(value, list | tuple) else [value]
    sides = [plain(side) for side in sides]
    if len(sides) in (1, 2) and all(type(side) is int for side in sides):
        return "x".join(map(str, sides))
    return value


def local(value: Any, name: str) -> str:
    """A path on this machine.

    Raises:
        UserError: it is no path.
    """
    if not isinstance(value, str | os.PathLike):
        raise FieldError(name, f"must be a path, not {quoted(value)}")
    return str(local_path(value, name))


def check_dataset(text: str, name: str) -> None:
    """Its path, if it has one; the text stays, since runs are compared by it."""
    for prefix in _READERS:
        if text.startswith(prefix):
            local_path(text.removeprefix(prefix), f"the path in {name}")
            return
    local_path(text, name)  # a name has no slashes to trip over
