"""The code of a class or function of one's own, by which a run knows it again."""

import ast
import hashlib
import inspect
import textwrap
from collections.abc import Callable
from typing import Any

_LIBRARY = f"{__package__.partition('.')[0]}."


def own_codes(written: dict[str, Callable[..., Any]]) -> dict[str, str | None]:
    """Hashes of those that are not of the library, whose versions stand for theirs.

    Example:
        >>> from jaxdd.fields import flat
        >>> own_codes({"flat": flat, "mine": len})
        {'mine': None}
    """
    return {
        name: code_of(one)
        for name, one in written.items()
        if not str(getattr(one, "__module__", "")).startswith(_LIBRARY)
    }


def code_of(kind: Callable[..., Any]) -> str | None:
    """A hash of a class or function as it is written, 16 characters; None where that is
    not known.

    Comments, formatting and docstrings do not count, nor does what the class calls.

    Example:
        >>> from jaxdd.fields import Flag
        >>> code_of(int) is None, len(code_of(Flag))
        (True, 16)
    """
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    except (OSError, TypeError, SyntaxError):  # typed into a console, say
        return None
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_text(body[0]):
            del body[0]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:16]


def _is_text(node: ast.AST) -> bool:
    """Whether a statement is a text alone, such as a docstring."""
    constant = node.value if isinstance(node, ast.Expr) else None
    return isinstance(constant, ast.Constant) and isinstance(constant.value, str)
