"""A page in one file: pure functions from values to HTML.

`document` joins sections, and the other functions make what sections hold. Text may
come from data, such as the names of classes, so whatever is not made by a function of
this folder goes through `escaped` or `literal`.
"""

import base64
import html
import urllib.parse
from collections.abc import Sequence
from typing import NamedTuple

from jaxdd.errors import UserError
from jaxdd.report.style import CSS
from jaxdd.storage.paths import shown
from jaxdd.storage.recognising import Kind, marked

# Which of the pages that are there may be replaced by one.
_GENERATOR = '<meta name="generator" content="jaxdd">'
PAGE = Kind("a page that this library wrote", marked(_GENERATOR.encode(), 1000))


class Section(NamedTuple):
    """A part of a page.

    Attributes:
        title: its heading, as text.
        body: HTML.
    """

    title: str
    body: str


def escaped(text: object) -> str:
    """Text in HTML: nothing of it is markup, and it has at most 300 characters.

    Example:
        >>> escaped("<b>&")
        '&lt;b&gt;&amp;'
    """
    return html.escape(shown(text))


def literal(text: str) -> str:
    """Text of any length in HTML, such as a command; lines stay lines.

    Example:
        >>> literal("a < b\\n" + 400 * "x")[:9], len(literal(400 * "x"))
        ('a &lt; b\\n', 400)
    """
    printable = (
        c
        if c.isprintable() or c == "\n"
        else c.encode("unicode_escape", "surrogatepass").decode("ascii")
        for c in text
    )
    return html.escape("".join(printable))


def document(title: str, lead: str, sections: Sequence[Section]) -> str:
    """A whole page, which reads nothing from elsewhere and runs no script.

    Args:
        title: heading of the page, as text.
        lead: HTML below the heading.
        sections: those without a body are left out.

    Returns:
        The content of the file. Equal arguments give equal bytes.

    Example:
        >>> page = document("A run", paragraph("Fine."), [Section("End", "<p>x</p>")])
        >>> page.startswith("<!DOCTYPE html>"), "<h2>End</h2>" in page
        (True, True)
    """
    parts = "\n".join(
        f"<section>\n<h2>{escaped(part.title)}</h2>\n{part.body}\n</section>"
        for part in sections
        if part.body
    )
    # The icon is empty, or a browser would ask for one.
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
{_GENERATOR}
<link rel="icon" href="data:,">
<title>{escaped(title)}</title>
<style>{CSS}</style>
</head>
<body>
<main>
<h1>{escaped(title)}</h1>
{lead}
{parts}
</main>
</body>
</html>
"""


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of text; `kind` is "lead", "note" or none."""
    return f"<p{_class(kind)}>{literal(text)}</p>"


def heading(text: str) -> str:
    """A heading inside a section."""
    return f"<h3>{escaped(text)}</h3>"


def code(text: str) -> str:
    """A command or a piece of code, which one click selects."""
    return f"<pre><code>{literal(text)}</code></pre>"


def command(text: str) -> str:
    """A command of one line, which wraps between its flags alone."""
    words = "</span> <span>".join(literal(text).split(" "))
    return f'<pre class="command"><code><span>{words}</span></code></pre>'


def details(title: str, body: str) -> str:
    """A part that is closed at first; nothing without a body.

    Args:
        title: what is in it, as text.
        body: HTML.
    """
    if not body:
        return ""
    return f"<details>\n<summary>{escaped(title)}</summary>\n{body}\n</details>"


def bullets(lines: Sequence[str]) -> str:
    """A list of sentences; nothing without any."""
    items = "".join(f"<li>{literal(line)}</li>" for line in lines)
    return f"<ul>{items}</ul>" if items else ""


def link(target: str, text: str) -> str:
    """A link to a file beside the page.

    Args:
        target: its relative path.
        text: what is shown.

    Raises:
        UserError: the target is an address or an absolute path, which would not
            survive a move of the page.
    """
    if "://" in target or target.startswith("/"):
        raise UserError(f"a page links only to files beside it, not to {shown(target)}")
    # Behind "./" no part of a name can be taken for the scheme of an address.
    path = urllib.parse.quote(target, errors="surrogateescape")
    return f'<a href="./{path}">{escaped(text)}</a>'


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], caption: str = ""
) -> str:
    """A table that scrolls sideways where it is too wide; nothing without rows.

    The first column names the rows; the others are aligned as numbers where all of
    their cells begin like one.

    Args:
        header: names of the columns.
        rows: texts of the cells.
        caption: a sentence above the table.

    Raises:
        UserError: a row has not one cell per column.

    Example:
        >>> '<td class="number">1.5' in table(["set", "%"], [["random", "1.5"]])
        True
    """
    if not rows:
        return ""
    for row in rows:
        if len(row) != len(header):
            raise UserError(
                f"a row of a table has {len(row)} cells, and there are {len(header)} "
                "columns"
            )
    columns = list(zip(*rows, strict=True))
    kinds = ["", *("number" * all(map(_numeric, x)) for x in columns[1:])]
    head = "".join(
        f'<th scope="col"{_class(kind)}>{escaped(name)}</th>'
        for name, kind in zip(header, kinds, strict=True)
    )
    body = []
    for first, *others in rows:
        cells = "".join(
            f"<td{_class(kind)}>{escaped(text)}</td>"
            for text, kind in zip(others, kinds[1:], strict=True)
        )
        body.append(f'<tr><th scope="row">{escaped(first)}</th>{cells}</tr>')
    above = f"<caption>{escaped(caption)}</caption>" if caption else ""
    # A region that scrolls has to be reachable by the keyboard.
    label = escaped(caption or header[0] or "table")
    return (
        f'<div class="scroll" role="region" aria-label="{label}" tabindex="0">'
        f"<table>{above}<thead><tr>{head}</tr></thead>\n<tbody>"
        + "\n".join(body)
        + "</tbody></table></div>"
    )


def _numeric(text: str) -> bool:
    return not text or text[0] in "+-−±0123456789"


def figure(drawing: str, caption: str) -> str:
    """A drawing with a line of text below it.

    Args:
        drawing: HTML.
        caption: text.
    """
    return f"<figure>{drawing}<figcaption>{literal(caption)}</figcaption></figure>"


def charts(drawings: Sequence[str]) -> str:
    """Figures side by side, as many as fit; nothing without any."""
    return f'<div class="charts">{"".join(drawings)}</div>' if drawings else ""


def picture(png: bytes, text: str) -> str:
    """A PNG inside the page, with a text for who cannot see it."""
    return f'<img src="{data_uri(png)}" alt="{escaped(text)}">'


def data_uri(png: bytes) -> str:
    """The address that is the picture itself."""
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""
