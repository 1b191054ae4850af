"""The tables of comparisons, which are written as Markdown, as parts of a page.

Only what those tables use is understood: headings, tables, lists, blocks of code and
paragraphs; inside them bold text, code and nothing else. All of it is escaped.
"""

import re
from collections.abc import Sequence
from itertools import groupby

from jaxdd.report import page

_HEADING = re.compile(r"^#+ (.*)$")
_INLINE = re.compile(r"\*\*(.+?)\*\*|`(.+?)`")


def html_of(text: str) -> str:
    """Markdown as HTML, without its first heading, which is the page's own.

    Example:
        >>> html_of("# Title\\n\\n- **no**: <x>\\n")
        '<ul><li><strong>no</strong>: &lt;x&gt;</li></ul>'
    """
    parts: list[str] = []
    inside_code = False
    lines: list[tuple[str, str]] = []
    for line in text.splitlines():
        if line.startswith("```"):
            inside_code = not inside_code
            lines.append(("", ""))
        else:
            lines.append(("code" if inside_code else _kind(line), line))
    for kind, group in groupby(lines, key=lambda x: x[0]):
        parts += _block(kind, [line for _, line in group])
    if title_of(text):
        parts = parts[1:]
    return "\n".join(parts)


def title_of(text: str) -> str:
    """The first heading, where the text begins with one, else nothing.

    Example:
        >>> title_of("# DSA on digits\\n"), title_of("none")
        ('DSA on digits', '')
    """
    heading = _HEADING.match(text.split("\n", 1)[0])
    return heading[1] if heading else ""


def _kind(line: str) -> str:
    if not line.strip():
        return ""
    if _HEADING.match(line):
        return "heading"
    if line.startswith("|"):
        return "table"
    return "list" if line.startswith("- ") else "paragraph"


def _block(kind: str, lines: Sequence[str]) -> list[str]:
    match kind:
        case "heading":
            return [page.heading(line.lstrip("#").strip()) for line in lines]
        case "table":
            return [_table(lines)]
        case "list":
            items = "".join(f"<li>{_inline(line[2:])}</li>" for line in lines)
            return [f"<ul>{items}</ul>"]
        case "code":
            return [page.code("\n".join(lines))]
        case "paragraph":
            return [f"<p>{_inline(' '.join(lines))}</p>"]
    return []


def _table(lines: Sequence[str]) -> str:
    header, *rows = (_cells(line) for line in lines)
    body = [row for row in rows if not all(set(cell) <= set(":-") for cell in row)]
    full = [(row + [""] * len(header))[: len(header)] for row in body]
    return page.table(header, full)


def _cells(line: str) -> list[str]:
    """The cells of a row; a vertical bar in one is written with a backslash."""
    inner = line.strip().removeprefix("|").removesuffix("|")
    cells = re.split(r"(?<!\\)\|", inner)
    return [_INLINE.sub(r"\1\2", x.strip().replace("\\|", "|")) for x in cells]


def _inline(text: str) -> str:
    """Escaped text with its bold and code parts."""
    parts, end = [], 0
    for match in _INLINE.finditer(text):
        parts.append(page.literal(text[end : match.start()]))
        bold, code = match.groups()
        inner = page.literal(bold or code)
        parts.append(f"<strong>{inner}</strong>" if bold else f"<code>{inner}</code>")
        end = match.end()
    return "".join([*parts, page.literal(text[end:])])
