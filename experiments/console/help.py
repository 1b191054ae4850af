"""The help text of a program: its flags by subject, the most needed first."""

import dataclasses
import textwrap
from collections.abc import Iterable, Mapping

from jaxdd.fields import type_of

WIDTH = 88
# Headings of the groups, by the choice that a flag belongs to.
_HEADINGS = {
    "data": "Data",
    "scaling": "Preprocessing",
    "task": "Run",
    "arithmetic": "Run",
    "length": "Run",
    "network": "Network",
    "objective": "Match",
    "distance": "Match",
    "views": "Match",
    "learner": "Networks that are matched",
    "images": "Images",
    "crops": "Images",
    "optimizer": "Images",
    "labels": "Labels",
    "recipe": "Labels",
    "sdc": "Difficulty correction (SDC)",
    "window": "Window over the real samples (FIEX)",
    "mask": "Mask of what is matched (FIEM)",
    "segments": "Segments (D4A)",
    "experts": "Experts",
    "evaluation": "Evaluation",
    "records": "Records",
}
_OFTEN, _OTHERS = "Most needed", "Flags"
EVERYWHERE = "Several devices and processes"


def help_text(title: str, config_type: type, everywhere: Mapping[str, str]) -> str:
    """The text of --help.

    Args:
        title: what the program does, as its docstring says.
        config_type: its configuration, a dataclass of `option`s.
        everywhere: {flag: help} of the flags that are no part of it.
    """
    groups: dict[str, list[str]] = {_OFTEN: []}
    for field in dataclasses.fields(config_type):
        heading = _HEADINGS.get(field.metadata.get("group") or "", _OTHERS)
        if field.metadata.get("often"):
            heading = _OFTEN
        groups.setdefault(heading, []).append(_entry(field))
    groups[EVERYWHERE] = [
        _wrapped(f"--{name}", text) for name, text in everywhere.items()
    ]
    order = [_OFTEN, _OTHERS, *dict.fromkeys(_HEADINGS.values()), EVERYWHERE]
    parts = [title.strip()]
    for heading in order:
        if groups.get(heading):
            parts.append("\n".join([f"{heading}:", *groups[heading]]))
    return "\n\n".join(parts) + "\n"


def _entry(field: dataclasses.Field) -> str:
    boolean = type_of(field) is bool
    name = f"--[no]{field.name}" if boolean else f"--{field.name}=…"
    text = field.metadata["help"]
    if field.default is dataclasses.MISSING:
        text += " (required)"
    elif field.default is not None:
        default = str(field.default).lower() if boolean else field.default
        text += f" (default: {default})"
    return _wrapped(name, text)


def _wrapped(name: str, text: str) -> str:
    first, indent = f"  {name}", " " * 6
    lines: Iterable[str] = textwrap.wrap(
        text, WIDTH - len(indent), break_on_hyphens=False
    )
    return "\n".join([first, *(indent + line for line in lines)])
