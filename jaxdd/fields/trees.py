"""Trees of choices: their flags, what flags change in them, and their values."""

import dataclasses
import functools
import math
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from jaxdd.errors import UserError, quoted
from jaxdd.fields.code import code_of, known_by
from jaxdd.fields.names import unknown_keyword
from jaxdd.fields.options import (
    FieldError,
    Misfit,
    check_dataset,
    check_type,
    local,
    none_of,
    plain,
    plain_of,
    type_of,
)

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Flag:
    """A field somewhere in a tree of choices, as a flag.

    Attributes:
        name: of the flag.
        path: the fields that lead from the tree to the choice.
        owners: the classes that have the field at that place.
        field: the field, of the first of them.
        selector: the name under which it is stored which of several choices is there;
            None where there is only one.
    """

    name: str
    path: tuple[str, ...]
    owners: tuple[Any, ...]
    field: dataclasses.Field
    selector: str | None = None

    @property
    def group(self) -> str:
        """The choice that the flag belongs to."""
        return self.path[-1] if self.path else ""


@functools.cache
def flags_of(tree: type) -> dict[str, Flag]:
    """Every option in a tree of choices, by flag."""
    return _flags(tree, (), None)


def _flags(tree: type, path: tuple[str, ...], selector: str | None) -> dict[str, Flag]:
    flags: dict[str, Flag] = {}

    def add(flag: Flag) -> None:
        known = flags.get(flag.name)
        if known is not None:
            assert known.path == flag.path, f"two places have the flag {flag.name}"
            flag = dataclasses.replace(known, owners=known.owners + flag.owners)
        flags[flag.name] = flag

    hints = typing.get_type_hints(tree)
    for field in dataclasses.fields(tree):
        if "help" in field.metadata:
            name = field.metadata["flag"] or field.name
            add(Flag(name, path, (tree,), field, selector))
        elif field.metadata.get("selected_by"):
            add(Flag(field.metadata["variant"], path, (tree,), field, selector))
        for kind in _choices(hints[field.name]):
            inside = field.metadata.get("variant")
            for flag in _flags(kind, (*path, field.name), inside).values():
                add(flag)
    return flags


def _choices(hint: Any) -> list[type]:
    """The dataclasses that a field may hold."""
    kinds = typing.get_args(hint) or (hint,)
    return [kind for kind in kinds if dataclasses.is_dataclass(kind)]  # type: ignore[misc]


class TreeMisfit(Misfit):
    """Choices of a tree do not fit together.

    Args:
        tree: the tree.
        sentence: as of `Misfit`, with the flags of the tree in the place of fields.
    """

    def _flag(self, name: str) -> Flag:
        return flags_of(type(self.choice))[name]  # type: ignore[arg-type]

    def _in_python(self, name: str, value: Any) -> str:
        flag = self._flag(name)
        variants = flag.field.metadata.get("selected_by")
        if variants and value in variants:
            return f"{flag.field.name}={variants[value].__name__}()"
        return f"{flag.owners[0].__name__}.{flag.field.name}={value!r}"

    def _named_in_python(self, name: str) -> str:
        flag = self._flag(name)
        return f"{flag.owners[0].__name__}.{flag.field.name}"

    def _as_flag(self, name: str) -> str:
        return f"--{name}"

    def _value(self, name: str) -> Any:
        return flat(self.choice)[name]


def override(tree: T, given: Mapping[str, Any], who: str = "this method") -> T:
    """A tree with some flags changed.

    Args:
        tree: choices, such as a recipe.
        given: {flag: value}; a value of None is not given.
        who: what a refusal calls the tree, such as "--method=dsa".

    Raises:
        UserError: there is no such flag, a value is impossible, or the flag belongs to
            a choice that this tree does without.
    """
    flags = flags_of(type(tree))  # type: ignore[arg-type]
    unknown = sorted(set(given) - set(flags))
    if unknown:
        raise unknown_keyword(unknown[0], flags)
    values = {
        name: typed(flags[name], value)
        for name, value in given.items()
        if value is not None
    }
    return _rebuilt(tree, (), values, flags, who)


def typed(flag: Flag, value: Any) -> Any:
    """The value of a flag with the type that its field or its text has.

    Scalars of NumPy and JAX become numbers, integers floats where a float is meant,
    and lists tuples.

    Raises:
        FieldError: it has another type.
    """
    rule, kind = flag.field.metadata, type_of(flag.field)
    value = plain_of(flag.field, value)
    if "variant" in rule:
        kind = str
    elif rule["kind"] == "path" or (rule["parse"] and isinstance(value, str)):
        return value  # `_parsed` checks it
    elif rule["parse"]:
        value = _tupled(value)
    check_type(f"--{flag.name}", kind, value)
    return float(value) if kind is float else value


def _tupled(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(map(_tupled, value))
    return value


def _rebuilt(
    tree: Any,
    path: tuple[str, ...],
    given: Mapping[str, Any],
    flags: Mapping[str, Flag],
    who: str,
) -> Any:
    """A choice, or a tree of them, with the flags at and below a place.

    All changes are made at once, since choices are checked against each other.
    """
    changes: dict[str, Any] = {}
    trees = {f.name for f in dataclasses.fields(tree) if "help" not in f.metadata}
    for name in given:
        # A choice within a choice, of which another variant has no such part.
        beyond = flags[name].path[len(path) :]
        if flags[name].path[: len(path)] == path and beyond and beyond[0] not in trees:
            raise _absent(flags[name], who)
    for field in dataclasses.fields(tree):
        rule, below = field.metadata, (*path, field.name)
        if "help" in rule:
            name = rule["flag"] or field.name
            if name in given:
                changes[field.name] = _parsed(name, rule, given[name])
            continue
        value = getattr(tree, field.name)
        if rule.get("selected_by") and rule["variant"] in given:
            value = _selected(value, rule, given[rule["variant"]])
        inner = [f for f in flags.values() if f.path[: len(below)] == below]
        inner = [f for f in inner if f.name in given]
        value = _opened(value, [f for f in inner if f.path == below], given)
        for flag in inner:
            if flag.path == below and not isinstance(value, flag.owners):
                if _closing(flag, given):
                    continue
                raise _absent(flag, who)
        if inner and value is not None:
            value = _rebuilt(value, below, given, flags, who)
        if value is not getattr(tree, field.name):
            changes[field.name] = value
    if not changes:
        return tree
    try:
        return dataclasses.replace(tree, **changes)
    except FieldError as error:
        names = {f.name: f.metadata.get("flag") for f in dataclasses.fields(tree)}
        field_name = error.name.rpartition(".")[2]
        flag_name = names.get(field_name) or field_name
        raise UserError(f"--{flag_name} {error.tail}") from error
    except Misfit as error:
        raise UserError(error.in_flags()) from error


def _absent(flag: Flag, who: str) -> UserError:
    """The refusal of a flag whose choice is not there."""
    about = flag.field.metadata.get("about") or flag.owners[0].subject
    return UserError(
        f"--{flag.name} is about {about}, which {who} does without: "
        f"{flag.owners[0].remedy}"
    )


def _parsed(name: str, rule: Mapping[str, Any], value: Any) -> Any:
    """The value of a field from that of its flag.

    Raises:
        UserError: it is not understood, or it is no name that the flag takes, of which
            the one that removes the choice is no value of the field.
    """
    choices = rule["choices"]
    if rule["opens"] and choices is not None and value not in choices:
        raise UserError(f"--{name} {none_of((rule['closes'], *choices), value)}")
    if rule["parse"] is not None and isinstance(value, str):
        return rule["parse"](value)
    if rule["kind"] == "path":
        return local(value, f"--{name}")
    if rule["kind"] == "dataset":
        check_dataset(value, f"--{name}")
    return value


def _closing(flag: Flag, given: Mapping[str, Any]) -> bool:
    """Whether a flag removes its choice."""
    rule = flag.field.metadata
    return bool(rule.get("opens")) and given[flag.name] == rule["closes"]


def _opened(value: Any, flags: Sequence[Flag], given: Mapping[str, Any]) -> Any:
    """A choice created or removed by the flag that does so, if that is given."""
    for flag in flags:
        if flag.field.metadata.get("opens"):
            if _closing(flag, given):
                return None
            if value is None:
                return flag.owners[0]()
    return value


def _selected(value: Any, rule: Mapping[str, Any], name: Any) -> Any:
    """Another variant of a choice; the one that is there already stays."""
    variants = rule["selected_by"]
    if name not in list(variants):  # a list has no hash
        raise UserError(f"--{rule['variant']} {none_of(variants, name)}")
    return value if value.name == name else variants[name]()


def flat(tree: Any) -> dict[str, Any]:
    """{flag: value} of all choices that a tree has; an absent one has its closing
    value."""
    values: dict[str, Any] = {}
    hints = typing.get_type_hints(type(tree))
    for field in dataclasses.fields(tree):
        value = getattr(tree, field.name)
        if "help" in field.metadata:
            values[field.metadata["flag"] or field.name] = value
            continue
        if "variant" in field.metadata:
            name = field.metadata["variant"]
            values[name] = value.name
            if type(value) not in _choices(hints[field.name]):  # one of your own
                values[f"{name}{FIELDS}"] = {
                    field.name: storable(getattr(value, field.name), field.name)
                    for field in dataclasses.fields(value)
                }
                values[f"{name}_code"] = code_of(type(value))
                continue
        if dataclasses.is_dataclass(value):
            values |= flat(value)
        elif value is None:
            for kind in _choices(hints[field.name]):
                for inner in dataclasses.fields(kind):
                    if inner.metadata.get("opens"):
                        name = inner.metadata["flag"] or inner.name
                        values[name] = inner.metadata["closes"]
    return values


# In the place of a function whose code cannot be read.
UNKNOWN = "unknown code"
FIELDS = "_fields"  # names of the fields of choices of one's own end so


def storable(value: Any, name: str) -> Any:
    """A field of one's own as a file of a run has it.

    A function or class is known by its name in a package, or by its code; where that
    cannot be read it is `UNKNOWN`.

    Args:
        value: of the field.
        name: of the field, for the message.

    Raises:
        UserError: it is an array, an infinite number, or something else that JSON has
            not.
    """
    value = plain(value)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, list | tuple):
        return [storable(x, name) for x in value]
    if isinstance(value, Mapping):
        return {str(key): storable(x, name) for key, x in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {x.name: storable(getattr(value, x.name), name) for x in fields}
    if callable(value):
        return known_by(value) or UNKNOWN
    raise UserError(
        f"the field {name}={quoted(value)} cannot be stored with a run: use finite "
        "numbers, texts, functions, and lists or dicts of them"
    )


def stored(tree: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the choices that stored values have, with defaults for new fields.

    Args:
        tree: the type of the tree that the values are of.
        values: as `flat` gives them, perhaps by an earlier version, which may have
            fields of absent choices.

    Returns:
        {flag: value} without the fields of choices that are absent.
    """
    flags = flags_of(tree)
    openers = {f.path: f for f in flags.values() if f.field.metadata.get("opens")}

    def is_there(flag: Flag) -> bool:
        if flag.selector is not None:
            names = [getattr(owner, "name", None) for owner in flag.owners]
            selector = flags.get(flag.selector)  # a new one stands at its default
            usual = None if selector is None else _default(selector.field)
            return values.get(flag.selector, usual) in names
        opener = openers.get(flag.path)
        if opener is None or opener is flag:
            return True
        closing = opener.field.metadata["closes"]
        return values.get(opener.name, closing) != closing

    return {
        name: values.get(name, _default(flag.field))
        for name, flag in flags.items()
        if is_there(flag)
    }


def _default(field: dataclasses.Field) -> Any:
    """The value that stands for a field that is not stored."""
    if field.metadata.get("opens"):
        return field.metadata["closes"]
    if "variant" in field.metadata:
        return field.default.name
    return field.default
