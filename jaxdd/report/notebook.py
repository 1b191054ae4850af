"""Parts of the HTML by which results show themselves in a notebook.

Names come from data, so every text is escaped.
"""

import base64
import html
from collections.abc import Sequence

from jaxdd.storage.paths import shown


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An HTML table; the first column is left-aligned, as names are.

    Example:
        >>> "<td>&lt;b&gt;" in table(["class"], [["<b>"]])
        True
    """

    def row(cells: Sequence[str], tag: str) -> str:
        inner = "".join(f"<{tag}>{_escaped(cell)}</{tag}>" for cell in cells)
        return f"<tr>{inner}</tr>"

    body = "".join(row(cells, "td") for cells in rows)
    return f"<table><thead>{row(header, 'th')}</thead><tbody>{body}</tbody></table>"


def picture(png: bytes | None, text: str) -> str:
    """An HTML image that holds its PNG, with a text for who cannot see it.

    Returns:
        The element; empty where there is no picture.
    """
    if png is None:
        return ""
    data = base64.b64encode(png).decode("ascii")
    return f'<img src="data:image/png;base64,{data}" alt="{_escaped(text)}"><br>'


def _escaped(text: str) -> str:
    return html.escape(shown(text))
