"""The report of a comparison: its tables, its plots and links to its runs."""

from collections.abc import Sequence
from pathlib import Path

from jaxdd.report import markdown, page
from jaxdd.report.page import Section
from jaxdd.report.pictures import draw
from jaxdd.storage.files import write_atomically
from jaxdd.storage.paths import shown

FILE = "report.html"
DEEPEST = 3  # folders between a comparison and the reports of its runs


def write(folder: Path, text: str, plots: Sequence[str] = (), title: str = "") -> None:
    """Write `report.html`; one that cannot be made is left out with a warning.

    Args:
        folder: of the comparison; links are relative to it.
        text: its tables and notes, as Markdown.
        plots: names of PNG files in the folder; those that are not there are left out.
        title: heading of the page; by default that of the text.
    """
    draw(_write, folder / FILE, text, plots, title)


def _write(path: Path, text: str, plots: Sequence[str], title: str) -> None:
    folder = path.parent
    pictures = [
        page.figure(page.picture((folder / name).read_bytes(), name), name)
        for name in plots
        if (folder / name).is_file()
    ]
    sections = [
        Section("Result", markdown.html_of(text)),
        Section("Plots", page.charts(pictures)),
        Section("Runs", _links(folder)),
    ]
    heading = title or markdown.title_of(text) or shown(folder.name)
    write_atomically(path, page.document(heading, "", sections))


def _links(folder: Path) -> str:
    """A list of the reports in the folders of runs."""
    reports = sorted(
        {
            report.relative_to(folder)
            for depth in range(1, DEEPEST + 1)
            for report in folder.glob("/".join(["*"] * depth + [FILE]))
        }
    )
    items = (
        f"<li>{page.link(x.as_posix(), x.parent.as_posix())}</li>" for x in reports
    )
    return f"<ul>{''.join(items)}</ul>" if reports else ""
