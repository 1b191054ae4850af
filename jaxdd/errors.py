"""Exceptions for wrong input, as opposed to faults of the program."""

from collections.abc import Mapping
from typing import Any

# Counts, sizes and steps live in int32 arrays on the device; beyond this they wrap.
LARGEST_INTEGER = 2**31 - 1

_LONGEST_QUOTE = 120  # characters


class UserError(ValueError):
    """Input that cannot be used: a flag, an argument or a file.

    The message is one sentence: what is wrong, where, and what to do about it. The
    programs print it without a traceback and exit with code 2.
    """


class NotWritten(UserError):
    """A picture was drawn, but the disk refuses to store it."""


class Diverged(UserError):
    """A run that fails at the same step however often it is started.

    Its numbers stopped being finite, so that starting it again cannot help.

    Attributes:
        fault: what went wrong at which step, without the remedy of a single run.
    """

    def __init__(self, fault: str, remedy: str):
        super().__init__(f"{fault}: {remedy}")
        self.fault = fault


def check_integer(name: str, value: int) -> None:
    """Refuse an integer that arrays on the device cannot hold.

    Args:
        name: name of the value in the message, as the user wrote it (`--steps`).
        value: the integer.

    Raises:
        UserError: the value lies beyond `LARGEST_INTEGER` in either direction.
    """
    if not -LARGEST_INTEGER <= value <= LARGEST_INTEGER:
        raise UserError(
            f"{name} must lie between {-LARGEST_INTEGER} and {LARGEST_INTEGER}, not "
            f"{quoted(value)}: give a number that a run can reach"
        )


def quoted(value: object) -> str:
    """The `repr` of a value, shortened for use in a message.

    Surrogates and control characters, which not every terminal prints, are escaped, and
    lines are joined.

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
        text = _printable(" ".join(repr(value).split("\n")))
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
