"""Flags that have an effect only beside another one."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

from jaxdd.errors import UserError
from jaxdd.fields.trees import Flag, flags_of


def refuse_idle(tree: Any, given: Mapping[str, Any]) -> None:
    """Refuse flags that have no effect beside the other fields of their choice.

    Args:
        tree: choices, such as a recipe, with the flags in them.
        given: {flag: value}; a value of None is not given.

    Raises:
        UserError: with the flag, and what it needs.
    """
    kind: type = type(tree)
    for name, flag in flags_of(kind).items():
        if given.get(name) is None:
            continue
        needed = idle(tree, flag)
        if needed is not None:
            raise UserError(
                f"--{name} has no effect here: add --{needed}, or leave it out"
            )


def idle(tree: Any, flag: Flag) -> str | None:
    """What a flag needs to have an effect in a tree of choices.

    Args:
        tree: choices, such as a recipe or a run.
        flag: one of them.

    Returns:
        The flag that is lacking, with a value where it has to have one; None where the
        flag has an effect, or another one closes its choice.
    """
    needs = flag.field.metadata.get("beside")
    if not needs:
        return None
    choice = functools.reduce(getattr, flag.path, tree)
    if choice is None:  # closed by another flag
        return None
    siblings = {field.name: field for field in dataclasses.fields(choice)}
    for sibling, values in needs.items():
        field = siblings[sibling]
        needed = field.metadata["flag"] or sibling
        value = getattr(choice, sibling)
        if values is None and value == field.default:
            return needed
        if values is not None and value not in values:
            return f"{needed}={values[0]}"
    return None
