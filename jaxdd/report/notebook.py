"""Parts of the HTML by which results show themselves in a notebook.

Names come from data, so every text is escaped.
"""

from collections.abc import Sequence

from jaxdd.report.page import data_uri, escaped


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An HTML table; the first column is left-aligned, as names are.

    Example:
        >>> "<td>&lt;b&gt;" in table(["class"], [["<b>"]])
        True
    """

    def row(cells: Sequence[str], tag: str) -> str:
        inner = "".join(f"<{tag}>{escaped(cell)}</{tag}>" for cell in cells)
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
    return f'<img src="{data_uri(png)}" alt="{escaped(text)}"><br>'
