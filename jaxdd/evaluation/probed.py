"""How hard sets are for networks of several kinds: the result of `jaxdd.probe`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from jaxdd import report
from jaxdd.errors import UserError, quoted
from jaxdd.report import notebook
from jaxdd.report.pictures import draw
from jaxdd.storage.files import to_json, write_atomically
from jaxdd.storage.paths import shown
from jaxdd.storage.records import mapping, number, read_json

FILE, TABLE, CHART = "probed.json", "table.md", "percentiles.png"
_PLACE = mapping(grad_norm=number(0), percentile=number(0, 100), others=None)
_FILE = mapping(places=mapping(others=mapping(others=_PLACE)), about=mapping())


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
        write_atomically(folder / TABLE, f"{self}\n")
        draw(report.percentiles, self._by_kind(), list(self.places), folder / CHART)
        places = {
            name: {kind: place._asdict() for kind, place in row.items()}
            for name, row in self.places.items()
        }
        text = to_json({"places": places, "about": dict(self.about)})
        write_atomically(folder / FILE, text)

    @staticmethod
    def read(folder: Path) -> "Probed":
        """What `write` left in a folder.

        Raises:
            UserError: its `probed.json` is missing or damaged.
        """
        stored = read_json(folder / FILE, _FILE, "move it away and probe again")
        kinds = stored["about"].get("probe_kinds")
        for name, row in stored["places"].items():
            if list(row) != kinds:
                raise UserError(
                    f"{shown(folder / FILE)} is damaged: {quoted(name)} was not "
                    "measured by all kinds of networks; move it away and probe again"
                )
        places = {
            name: {kind: Place(**place) for kind, place in row.items()}
            for name, row in stored["places"].items()
        }
        return Probed(places, stored["about"])
