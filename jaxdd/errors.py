"""The exception that means "the input is wrong", not "the program is wrong"."""

from collections.abc import Mapping
from typing import Any

# Counts, sizes and steps live in int32 arrays on the device; beyond this they wrap.
LARGEST_INTEGER = 2**31 - 1

_LONGEST_QUOTE = 120  # characters


class UserError(ValueError):
    """Something the user gave cannot be used.

    The message is one sentence: what is wrong, where, and what to do. Experiment
    modules print it without a traceback and exit with code 2.
    """


class NotWritten(UserError):
    """A picture is drawn, but the disk refuses it."""


class Diverged(UserError):
    """The numbers of a run end it at the same step, however often it is started."""


def check_integer(name: str, value: int) -> None:
    """Refuse an integer that arrays on the device cannot hold.

    Args:
        name: what it is, as the user wrote it (`--steps`).
        value: the integer.

    Raises:
        UserError: it lies beyond `LARGEST_INTEGER` in either direction.
    """
    if not -LARGEST_INTEGER <= value <= LARGEST_INTEGER:
        raise UserError(
            f"{name} must lie between {-LARGEST_INTEGER} and {LARGEST_INTEGER}, not "
            f"{quoted(value)}: give a number that a run can reach"
        )


def quoted(value: object) -> str:
    """A value for a sentence: its `repr`, cut where it is long.

    Surrogates and control characters, which not every terminal takes, are escaped.

    Example:
        >>> quoted("x" * 1000)[-4:]
        "...'"
        >>> quoted([1, 2])
        '[1, 2]'
    """
    if isinstance(value, int) and not -(10**50) < value < 10**50:
        return "a number of over 50 digits"
    if isinstance(value, str) and len(value) > _LONGEST_QUOTE:
        value = value[:_LONGEST_QUOTE] + "..."
    try:
        text = _printable(repr(value))
    except RecursionError:
        return "something deeply nested"
    return text if len(text) <= 2 * _LONGEST_QUOTE else text[:_LONGEST_QUOTE] + "..."


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def choose(what: str, name: str, options: Mapping[str, Any]) -> Any:
    """`options[name]`.

    Raises:
        UserError: there is no such name; the sentence lists those that there are.
    """
    if name not in options:
        raise UserError(
            f"unknown {what} {quoted(name)}: choose one of {', '.join(options)}"
        )
    return options[name]
