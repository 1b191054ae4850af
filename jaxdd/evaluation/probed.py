"""How hard sets are for networks of several kinds: the result of `jaxdd.probe`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from jaxdd import report
from jaxdd.report import notebook
from jaxdd.report.pictures import draw
from jaxdd.storage.files import to_json, write_atomically


class Place(NamedTuple):
    """How hard a set is for networks of one kind.

    Attributes:
        grad_norm: the mean GraDN of its images, over networks.
        percentile: its place among those of real samples, 0 to 100: at 50 it is as hard
            as a typical real sample.
    """

    grad_norm: float
    percentile: float


def _cell(name: str) -> str:
    """A name that does not end a cell of a table."""
    return " ".join(name.replace("|", "/").split())


@dataclass(frozen=True, eq=False, repr=False)
class Probed:
    """The difficulty of sets, and of what runs begin with, by kind of network.

    Attributes:
        places: {row: {kind: its place}}.
        about: what the numbers depend on, as in `probed.json`.
    """

    places: Mapping[str, Mapping[str, Place]]
    about: Mapping[str, Any]

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of networks, in the order that was asked for."""
        return tuple(self.about["probe_kinds"])

    def _rows(self) -> list[list[str]]:
        return [
            [
                _cell(name),
                *(f"{x.percentile:.0f} ({x.grad_norm:.3g})" for x in row.values()),
            ]
            for name, row in self.places.items()
        ]

    def __str__(self) -> str:
        """A Markdown table: percentile among real samples, and GraDN in brackets."""
        head = ["percentile (GraDN)", *self.kinds]
        lines = [head, ["---", *["---:"] * len(self.kinds)], *self._rows()]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def __repr__(self) -> str:
        return f"Probed({', '.join(self.places)}: {', '.join(self.kinds)})"

    def _repr_html_(self) -> str:
        png = draw(report.percentiles_png, self._by_kind(), list(self.places))
        text = "percentiles of GraDN among real samples, by kind of network"
        page = notebook.picture(png, text)
        return page + notebook.table(["percentile (GraDN)", *self.kinds], self._rows())

    def _by_kind(self) -> dict[str, list[float]]:
        return {
            kind: [row[kind].percentile for row in self.places.values()]
            for kind in self.kinds
        }

    def write(self, folder: Path) -> None:
        """Write `table.md`, `percentiles.png`, and `probed.json` last.

        Raises:
            UserError: the disk refuses.
        """
        write_atomically(folder / "table.md", f"{self}\n")
        path = folder / "percentiles.png"
        draw(report.percentiles, self._by_kind(), list(self.places), path)
        places = {
            name: {
                kind: {x: round(value, 6) for x, value in place._asdict().items()}
                for kind, place in row.items()
            }
            for name, row in self.places.items()
        }
        text = to_json({"places": places, "about": dict(self.about)})
        write_atomically(folder / "probed.json", text)
