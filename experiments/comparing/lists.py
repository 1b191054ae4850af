"""Flags that hold a name, or several values joined by commas."""

from collections.abc import Collection

from jaxdd.errors import UserError, check_integer, quoted
from jaxdd.fields import check_seed


def check_name(name: str, flag: str, choices: Collection[str]) -> None:
    """Refuse an unknown name.

    Args:
        name: the value of the flag, or one of its values.
        flag: the flag's name, for the message.
        choices: the names that it may hold.

    Raises:
        UserError: the name is not among them.
    """
    if name not in choices:
        raise UserError(
            f"unknown {quoted(name)} in --{flag}: choose from {', '.join(choices)}"
        )


def names(text: str, flag: str, choices: Collection[str]) -> list[str]:
    """ "dsa,mtt" to ["dsa", "mtt"].

    Args:
        text: the value of the flag.
        flag: its name, for messages.
        choices: the names that it may hold.

    Raises:
        UserError: a name is unknown or appears twice.
    """
    parts = text.split(",")
    for part in parts:
        check_name(part, flag, choices)
        if parts.count(part) > 1:
            raise UserError(f"--{flag} names {quoted(part)} twice")
    return parts


def numbers(text: str, flag: str, kind: type) -> list:
    """ "0,1,2" to [0, 1, 2].

    Args:
        text: the value of the flag.
        flag: its name, for messages.
        kind: `int` or `float`.

    Raises:
        UserError: a part is no such number, or an integer that no array can hold.
    """
    parts = _parse(text, flag, kind)
    if kind is int:
        for number in parts:
            check_integer(f"--{flag}", number)
    return parts


def _parse(text: str, flag: str, kind: type) -> list:
    """Numbers without bounds."""
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError as error:
        raise UserError(
            f"--{flag} must be numbers joined by commas, not {quoted(text)}"
        ) from error


def seeds(text: str) -> list[int]:
    """The seeds of a comparison.

    Raises:
        UserError: a part is no seed, or a seed appears twice.
    """
    parts = _parse(text, "seeds", int)
    for seed in parts:
        check_seed(seed, "--seeds")
    if len(set(parts)) != len(parts):
        raise UserError(f"--seeds names a seed twice: {quoted(text)}")
    return parts
