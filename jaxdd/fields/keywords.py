"""Sentences about flags, for callers who give keywords.

The library writes its sentences for the programs, `--sdc_weight=1`; who calls
`jaxdd.distill` writes `sdc_weight=1`, and reads so.
"""

import dataclasses
import inspect
import re
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from jaxdd.fields.options import type_of

F = TypeVar("F", bound=Callable[..., Any])

# A command for the shell, with its flags, is left as it is.
_COMMAND = r"python -m \S+(?: \(?(?:and )?--\S+)*"
# A flag, and its value, which ends at a blank or at a sign that ends a part of a
# sentence; a quoted one ends at its quote.
_FLAG = re.compile(
    _COMMAND
    + r"""|(?<![\w.'"/-])--([a-z][a-z0-9_]*)(?:=('[^']*'|"[^"]*"|[^\s,:;()'"]+"""
    r"""(?:[,:][^\s,:;()'"]+)*))?"""
)
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def in_keywords(
    text: str, options: type | None, renamed: Mapping[str, str] = MappingProxyType({})
) -> str:
    """A sentence with keywords in the place of flags.

    Args:
        text: the sentence.
        options: a dataclass with a field for every flag that is a keyword; other flags,
            such as those of a command for the shell, stay. None has no fields.
        renamed: {flag: argument} of those that have another name or no field.

    Example:
        >>> @dataclasses.dataclass
        ... class Options:
        ...     zca: bool
        ...     labels: str
        >>> in_keywords("--labels=soft needs --zca: leave out --nozca", Options)
        "labels='soft' needs zca=True: leave out zca=False"
        >>> in_keywords("there is no --depth beside --labels", Options)
        'there is no --depth beside labels'
    """
    fields = dataclasses.fields(options) if options is not None else ()  # type: ignore[arg-type]
    switches = {field.name: type_of(field) is bool for field in fields}
    switches = {**dict.fromkeys(renamed, False), **switches}

    def keyword(match: re.Match[str]) -> str:
        name, value = match.groups()
        if name is None:
            return match[0]
        if name not in switches and switches.get(name.removeprefix("no")):
            name, value = name.removeprefix("no"), "False"
        if name not in switches:
            return match[0]
        is_subject = text[match.end() :].startswith(" must ")
        if value is None and switches[name] and not is_subject:
            value = "True"
        word = renamed.get(name, name)
        return word if value is None else f"{word}={_value(value)}"

    return _FLAG.sub(keyword, text)


def takes(options: type, without: Collection[str] = ()) -> Callable[[F], F]:
    """Tell whoever asks which keywords a function takes as `**flags`.

    Notebooks complete them, and `help` lists them.

    Args:
        options: a dataclass with a field for each of them.
        without: fields that are no keywords of the function.

    Example:
        >>> @dataclasses.dataclass
        ... class Options:
        ...     steps: int = 3
        ...     workdir: str = "runs"
        >>> @takes(Options, without=("workdir",))
        ... def function(data, **flags): ...
        >>> print(inspect.signature(function))
        (data, *, steps: int | None = None)
    """

    def with_signature(function: F) -> F:
        plain = inspect.signature(function)
        own = [p for p in plain.parameters.values() if p.kind is not p.VAR_KEYWORD]
        known = {*plain.parameters, *without}
        further = [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=type_of(field) | None,
            )
            for field in dataclasses.fields(options)  # type: ignore[arg-type]
            if field.name not in known
        ]
        full = plain.replace(parameters=[*own, *further])
        function.__signature__ = full  # type: ignore[attr-defined]
        return function

    return with_signature


def _value(text: str) -> str:
    """The value of a flag as Python has it: names are texts."""
    plain = text in ("True", "False", "None") or not _NAME.fullmatch(text)
    return text if plain else repr(text)
