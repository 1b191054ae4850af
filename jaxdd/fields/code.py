"""The code of a class or function of one's own, by which a run knows it again."""

import ast
import functools
import hashlib
import inspect
import sys
import sysconfig
import textwrap
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_LIBRARY = f"{__package__.partition('.')[0]}."
_INSTALLED = tuple(
    sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")
)
# Typed into a console; an array; two lambdas on a line; a function that holds itself.
_NOT_KNOWN = (
    OSError, TypeError, AttributeError, ValueError, SyntaxError, RecursionError
)  # fmt: skip


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
    texts, functions, modules, or lists and dicts of such; with others the code is not
    known. Of functions of installed packages the name counts.
    Comments, formatting and docstrings do not count, nor does what the class calls.

    Example:
        >>> from jaxdd.fields import Flag
        >>> code_of(int) is None, len(code_of(Flag))
        (True, 16)
    """
    try:
        return _code_of(kind)
    except _NOT_KNOWN:
        return None


def known_by(value: Callable[..., Any]) -> str | None:
    """The name of a function or class of a package, else its code; None if not known.

    Example:
        >>> known_by(code_of)
        'jaxdd.fields.code.code_of'
    """
    try:
        return _text(value)
    except _NOT_KNOWN:
        return None


def _code_of(kind: Callable[..., Any]) -> str:
    if isinstance(kind, functools.partial):
        return _digest(f"{_text(kind.func)}{_text(kind.args)}{_text(kind.keywords)}")
    tree: ast.AST = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    if getattr(kind, "__name__", "") == "<lambda>":
        (tree,) = (x for x in ast.walk(tree) if isinstance(x, ast.Lambda))
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
        TypeError: there is none, such as of an array or an instance of a class.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    if isinstance(value, tuple | list):
        return f"[{','.join(map(_text, value))}]"
    if isinstance(value, set | frozenset):
        return _text(sorted(value, key=repr))
    if isinstance(value, Mapping):
        return _text([[str(name), value[name]] for name in sorted(value, key=str)])
    if inspect.ismodule(value):
        return value.__name__
    if isinstance(value, functools.partial):
        return _code_of(value)
    if not hasattr(value, "__qualname__"):
        raise TypeError(f"{type(value).__name__} has no text")
    return _name(value) if _has_name(value) else _code_of(value)


def _name(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"


def _has_name(value: Any) -> bool:
    """Whether a class or function is known by its name: it belongs to the library or
    to another package that is installed, and is no function made by a function."""
    if "<" in value.__qualname__:
        return False
    module = sys.modules.get(value.__module__)
    path = getattr(module, "__file__", None) or ""
    return is_ours(value) or any(path.startswith(x) for x in _INSTALLED)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _is_text(node: ast.AST) -> bool:
    """Whether a statement is a text alone, such as a docstring."""
    constant = node.value if isinstance(node, ast.Expr) else None
    return isinstance(constant, ast.Constant) and isinstance(constant.value, str)
