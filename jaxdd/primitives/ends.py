"""Which part of an order from easy to hard is kept."""

from typing import Any

ENDS = ("easy", "median", "hard")


def first_of(end: str, spare: Any) -> Any:
    """The place in an order from easy to hard at which what is kept begins.

    Args:
        end: a name in `ENDS`.
        spare: how many are left out; an integer, or integers in an array.

    Example:
        >>> [first_of(end, 4) for end in ENDS]
        [0, 2, 4]
    """
    return {"easy": 0 * spare, "median": spare // 2, "hard": spare}[end]
