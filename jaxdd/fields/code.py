"""The code of a class or function of one's own, by which a run knows it again."""

import ast
import functools
import hashlib
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_LIBRARY = f"{__package__.partition('.')[0]}."


def is_ours(one: Any) -> bool:
    """Whether a class or function is of the library, whose version stands for it."""
    return str(getattr(one, "__module__", "")).startswith(_LIBRARY)


def own_codes(written: dict[str, Callable[..., Any]]) -> dict[str, str | None]:
    """Hashes of those that are not of the library, whose versions stand for theirs.

    Example:
        >>> from jaxdd.fields import flat
        >>> own_codes({"flat": flat, "mine": len})
        {'mine': None}
    """
    return {name: code_of(one) for name, one in written.items() if not is_ours(one)}


def code_of(kind: Callable[..., Any]) -> str | None:
    """A hash of a class or function as it is written, 16 characters; None where that is
    not known.

    Values that a `functools.partial` or a closure holds count too, if they are numbers,
    texts, functions, or lists and dicts of such; with others the code is not known.
    Comments, formatting and docstrings do not count, nor does what the class calls.

    Example:
        >>> from jaxdd.fields import Flag
        >>> code_of(int) is None, len(code_of(Flag))
        (True, 16)
    """
    try:
        return _code_of(kind)
    # Typed into a console, say, or a function that holds itself.
    except (OSError, TypeError, ValueError, SyntaxError, RecursionError):
        return None


def _code_of(kind: Callable[..., Any]) -> str:
    if isinstance(kind, functools.partial):
        return _digest(f"{_text(kind.func)}{_text(kind.args)}{_text(kind.keywords)}")
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_text(body[0]):
            del body[0]
    held = dict(_held(kind))
    return _digest(ast.dump(tree) + (_text(held) if held else ""))


def _held(kind: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    """What functions hold from where they were made, by name."""
    parts = vars(kind).values() if isinstance(kind, type) else [kind]
    for part in parts:
        function = inspect.unwrap(part) if callable(part) else None
        if not inspect.isfunction(function):
            continue
        if function.__code__.co_filename == "<string>":  # made by `dataclass`
            continue
        names = function.__code__.co_freevars
        for name, cell in zip(names, function.__closure__ or (), strict=True):
            if name != "__class__":  # the class itself, for super()
                yield name, cell.cell_contents


def _text(value: Any) -> str:
    """A value as text that is the same in every process.

    Raises:
        TypeError: there is none, such as of an array.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    if isinstance(value, tuple | list):
        return f"[{','.join(map(_text, value))}]"
    if isinstance(value, Mapping):
        return _text([[str(name), value[name]] for name in sorted(value, key=str)])
    if not callable(value):
        raise TypeError(f"{type(value).__name__} has no text")
    return f"{value.__module__}.{value.__qualname__}" if is_ours(value) else (
        _code_of(value)
    )  # fmt: skip


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _is_text(node: ast.AST) -> bool:
    """Whether a statement is a text alone, such as a docstring."""
    constant = node.value if isinstance(node, ast.Expr) else None
    return isinstance(constant, ast.Constant) and isinstance(constant.value, str)
