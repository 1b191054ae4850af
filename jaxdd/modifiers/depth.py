"""How deep the leaves of a tree lie, by the names of the parts of a network."""

import re
from collections.abc import Collection, Sequence
from typing import Any

from jaxdd.errors import UserError, quoted

# Within a layer the weights come before the bias, as in PyTorch's definition order.
_LAST = ("bias", "b")
# Parts that say how deep they are: ours, and the places of a list or tuple.
_PART = re.compile(r"block\d+|head|\d+")
# Leaves of one layer, which need no depth.
_OF_LAYER = re.compile(r"kernel|scale|weight|w|bias|b|mean|variance|var")


def depth_order(names: Sequence[str], order: Sequence[str] | None = None) -> list[str]:
    """Paths of leaves from shallow to deep: block0, block1, ..., head.

    What all paths begin with says nothing, such as Flax's `params`, and so does the
    `value` at their end of NNX. Numbers are compared as numbers; within a block conv1,
    norm1, conv2, norm2, then a shortcut; within a layer kernel or scale come before
    bias. The parts of a list or tuple are in their order.

    Args:
        names: the paths, with slashes.
        order: the parts of a network from shallow to deep, where they are called
            otherwise: paths, such as "Conv_0", with or without the common beginning.

    Raises:
        UserError: there are several parts before the head, and some are called
            otherwise, so that nothing says how deep they are; or a leaf is in none of
            the parts in `order`.

    Example:
        >>> depth_order(["params/Conv_0/kernel", "params/Stem_0/kernel"],
        ...             order=["Stem_0", "Conv_0"])
        ['params/Stem_0/kernel', 'params/Conv_0/kernel']
    """
    short = _without_what_all_have(names)
    if order is None:
        _check_known(short.values())
    part_of = {name: _part(name, short[name], order) for name in names}

    def position(name: str) -> tuple:
        place, inner = part_of[name]
        *inside, leaf = inner.split("/")
        numbers = [int("0" + re.sub(r"\D", "", layer)) for layer in inside]
        shortcut = [layer.startswith("shortcut") for layer in inside]
        return *place, shortcut, numbers, inside, leaf in _LAST, natural(leaf)

    return sorted(names, key=position)


def _without_what_all_have(names: Sequence[str]) -> dict[str, str]:
    """{path: the same without a common beginning or end that is no part}."""
    paths = {name: name.split("/") for name in names}
    while paths and all(len(p) > 2 and p[-1] == "value" for p in paths.values()):
        paths = {name: path[:-1] for name, path in paths.items()}
    while len({path[0] for path in paths.values()}) == 1:
        if any(len(p) < 2 or _PART.fullmatch(p[0]) for p in paths.values()):
            break
        paths = {name: path[1:] for name, path in paths.items()}
    return {name: "/".join(path) for name, path in paths.items()}


def _check_known(names: Collection[str]) -> None:
    """Raise UserError where several parts do not say how deep they are."""
    parts = {name.partition("/")[0] for name in names}
    parts = {part for part in parts if not _OF_LAYER.fullmatch(part)} - {"head"}
    others = {part for part in parts if not _PART.fullmatch(part)}
    if len(parts) == 1:  # one part before the head is the shallow one
        inside = {
            "/".join(name.split("/")[:2]) for name in names if name.count("/") > 1
        }
        others = {x for x in inside if x.partition("/")[0] in others}
        others = others if len(others) > 1 else set()
    if others:
        raise UserError(
            f"the depth of {', '.join(sorted(others))} is not known: call the parts of "
            "a network block0, block1, ... and head, from shallow to deep, or give "
            "make_mask their order"
        )


def _part(
    name: str, short: str, order: Sequence[str] | None
) -> tuple[tuple[Any, ...], str]:
    """The place of the part that a leaf is in, and the rest of its path."""
    if order is not None:
        for place, part in enumerate(order):
            for path in (short, name):
                if path == part or path.startswith(f"{part}/"):
                    return (place,), path.removeprefix(part).removeprefix("/")
        raise UserError(
            f"{quoted(name)} is in none of the parts {', '.join(map(str, order))}, "
            "which say how deep a leaf is: name all of them"
        )
    part, slash, inner = short.partition("/")
    if not slash:
        own = () if _OF_LAYER.fullmatch(short) else natural(short)
        return (False, (), own), short
    return (part == "head", (1,), natural(part)), inner


def natural(name: str) -> tuple:
    """A key by which numbers in names are compared as numbers."""
    return tuple(int(x) if x.isdigit() else x for x in re.split(r"(\d+)", name))


def layer_of(name: str) -> str:
    """The layer that a leaf belongs to, e.g. "block0/conv"; a bare leaf is its own."""
    return name.removesuffix("/value").rpartition("/")[0] or name
