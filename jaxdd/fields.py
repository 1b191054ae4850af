"""Options: fields of frozen dataclasses that know their help, bounds and flag.

A *choice* is a frozen dataclass whose fields are made by `option`; its values are
checked when it is made. A *tree* is a dataclass of choices, such as a recipe. The type
of a tree gives its flags (`flags_of`), a tree and some flags give another tree
(`override`), and a tree gives the value of every flag (`flat`). There is no other list
of names.
"""

import dataclasses
import difflib
import functools
import math
import os
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from jaxdd.errors import UserError, check_integer, quoted
from jaxdd.storage.paths import local_path

LARGEST_SEED = 2**32 - 1
# How a dataset's path is to be read, before the path itself.
_READERS = ("folder:", "npz:")

T = TypeVar("T")


class FieldError(UserError):
    """A field has a value that it cannot have.

    Attributes:
        tail: the sentence after the field's name.
    """

    def __init__(self, name: str, tail: str):
        super().__init__(f"{name} {tail}")
        self.tail = tail


def option(
    default: Any,
    text: str,
    kind: str | None = None,
    *,
    flag: str | None = None,
    above: int | float | None = None,
    at_least: int | float | None = None,
    below: int | float | None = None,
    choices: Sequence[str] | Mapping[str, Any] | None = None,
    parse: Callable[[str], Any] | None = None,
    opens: bool = False,
    closes: Any = None,
    about: str | None = None,
    often: bool = False,
):
    """A field with its help text; `...` as default for a required one.

    Args:
        default: the value of a field that is not given.
        text: the help text, which has to stand alone.
        kind: "path", "dataset" or "seed"; None for what the type says.
        flag: the name of the flag; by default that of the field.
        above, at_least, below: bounds of a number.
        choices: the names that a text may be, or a mapping of them.
        parse: turns the text of a flag into the value of the field.
        opens: whether the flag creates its choice where that is absent.
        closes: the value at which the flag removes its choice again.
        about: what the field is about, for a refusal; by default the subject of its
            choice.
        often: whether `--help` lists the flag among those that most people need.
    """
    metadata = {
        "help": text, "kind": kind, "flag": flag, "above": above, "at_least": at_least,
        "below": below, "choices": choices, "parse": parse, "opens": opens,
        "closes": closes, "about": about, "often": often,
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
                _check(name, field, getattr(self, field.name))


def type_of(field: dataclasses.Field) -> Any:
    """The type of a field's values, None apart."""
    kind: Any = field.type
    if typing.get_origin(kind) is types.UnionType:  # X | None: unset means preset
        kind = next(t for t in typing.get_args(kind) if t is not type(None))
    return kind


def _optional(field: dataclasses.Field) -> bool:
    return type(None) in typing.get_args(field.type)


_KINDS: dict[Any, str] = {int: "an integer", float: "a number", str: "a text",
                          bool: "true or false"}  # fmt: skip


def _check(name: str, field: dataclasses.Field, value: Any) -> None:
    """Refuse a value that a field cannot have.

    Raises:
        FieldError: the value has another type, is an unknown name or a number that is
            out of bounds, not finite, or larger than arrays hold.
    """
    if value is None and _optional(field):
        return
    rule, kind = field.metadata, type_of(field)
    _check_type(name, kind, value)
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
    ):  # fmt: skip
        if broken:
            raise FieldError(name, f"must be {what}, not {quoted(value)}")
    choices = rule["choices"]
    if choices is not None and value not in choices:
        raise FieldError(name, _none_of(choices, value))


def _none_of(choices: Iterable[str], value: Any) -> str:
    return f"must be one of {', '.join(choices)}, not {quoted(value)}"


def _above(rule: Mapping[str, Any]) -> str:
    return "positive" if rule["above"] == 0 else f"above {rule['above']}"


def _is_finite(value: int | float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond every float
        return False


def _check_type(name: str, kind: Any, value: Any) -> None:
    if not _fits(kind, value):
        what = _KINDS.get(kind, str(kind))
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
    if kind not in _KINDS:
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


# --- The flags of a tree --------------------------------------------------------------


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
        raise UserError(f"there is no flag {unknown[0]}: {_nearest(unknown[0], flags)}")
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
    value = plain(value)
    if "variant" in rule:
        kind = str
    elif rule["kind"] == "path" or (rule["parse"] and isinstance(value, str)):
        return value  # `_parsed` checks it
    elif rule["parse"]:
        value = _tupled(value)
    _check_type(f"--{flag.name}", kind, value)
    return float(value) if kind is float else value


def plain(value: Any) -> Any:
    """Scalars of NumPy and JAX as Python's, and a path as a text."""
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        return value.item()
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _tupled(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(map(_tupled, value))
    return value


def _nearest(name: str, flags: Mapping[str, Flag]) -> str:
    close = difflib.get_close_matches(name, flags, 1)
    return f"perhaps {close[0]} is meant" if close else "see the list of flags"


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
                raise UserError(
                    f"--{flag.name} is about "
                    f"{flag.field.metadata.get('about') or flag.owners[0].subject}, "
                    f"which {who} does without: {flag.owners[0].remedy}"
                )
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
        field_name = str(error).split()[0].rpartition(".")[2]
        flag_name = names.get(field_name) or field_name
        raise UserError(f"--{flag_name} {error.tail}") from error


def _parsed(name: str, rule: Mapping[str, Any], value: Any) -> Any:
    """The value of a field from that of its flag.

    Raises:
        UserError: it is not understood, or it is no name that the flag takes, of which
            the one that removes the choice is no value of the field.
    """
    choices = rule["choices"]
    if rule["opens"] and choices is not None and value not in choices:
        raise UserError(f"--{name} {_none_of((rule['closes'], *choices), value)}")
    if rule["parse"] is not None and isinstance(value, str):
        return rule["parse"](value)
    if rule["kind"] == "path":
        return _local(value, f"--{name}")
    if rule["kind"] == "dataset":
        _check_dataset(value, f"--{name}")
    return value


def _local(value: Any, name: str) -> str:
    """A path on this machine.

    Raises:
        UserError: it is no path.
    """
    if not isinstance(value, str | os.PathLike):
        raise FieldError(name, f"must be a path, not {quoted(value)}")
    return str(local_path(value, name))


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
        raise UserError(f"--{rule['variant']} {_none_of(variants, name)}")
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
                values[f"{name}_fields"] = dataclasses.asdict(value)
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
            return values.get(flag.selector) in names
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


# --- Configurations: what a program is given ------------------------------------------


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
        return _local(value, name)
    if rule["kind"] == "dataset":
        _check_type(name, str, value)
        _check_dataset(value, name)
    else:
        _check(name, field, value)
    return value


def _check_dataset(text: str, name: str) -> None:
    """Its path, if it has one; the text stays, since runs are compared by it."""
    for prefix in _READERS:
        if text.startswith(prefix):
            local_path(text.removeprefix(prefix), f"the path in {name}")
            return
    local_path(text, name)  # a name has no slashes to trip over


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
                    "at_least": None, "below": None}  # fmt: skip
        field = dataclasses.field(default=default, metadata=metadata)
        fields.append((names[flag.name], optional, field))
    config = dataclasses.make_dataclass(
        name, fields, bases=bases, frozen=True, kw_only=True
    )
    config.__doc__ = doc
    return config
