"""Cells of a table of methods and modifiers, their records, and the table itself."""

import dataclasses
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from jaxdd.distillation import options
from jaxdd.storage.files import to_json, write_atomically
from jaxdd.storage.paths import shown
from jaxdd.storage.records import flag, list_of, mapping, maybe, number, read_json, text

DRAWS = 8  # of network and samples, at which losses are compared
# Entries of a cell that was distilled; elsewhere they are null.
MEASURED = ("loss_before", "loss_after", "seconds_per_step", "peak_mb", "sha256")

_RECORD = mapping(
    method=text(100),
    modifier=text(100),
    command=text(10**5),
    works=flag,
    why=text(10**4),
    sha256=maybe(text(64)),
    loss_before=maybe(number()),
    loss_after=maybe(number()),
    seconds_per_step=maybe(number(0)),
    peak_mb=maybe(number(0)),
)

Record = dict[str, Any]  # one entry of `matrix.json`


class Key(NamedTuple):
    """A place in the table."""

    method: str
    modifier: str

    def __str__(self) -> str:
        return f"{self.method}-{self.modifier}"


@dataclass(frozen=True)
class Cell:
    """A method with a modifier, and the flags that distil it."""

    key: Key
    config: options.Config

    @property
    def command(self) -> str:
        """The command that distils this cell alone."""
        usual = {field.name: field.default for field in dataclasses.fields(self.config)}
        values = dataclasses.asdict(self.config)
        given = {name: value for name, value in values.items() if value != usual[name]}
        flags = (f"--{name}={shlex.quote(str(value))}" for name, value in given.items())
        return " ".join(["python -m experiments.distill", *flags])

    def record(self, measured: Record) -> Record:
        """The cell's entry of `matrix.json`."""
        return {**self.key._asdict(), "command": self.command, **measured}


def does_not_work(why: str) -> Record:
    """What is recorded of a cell for which there can be no images."""
    return {"works": False, "why": why, **dict.fromkeys(MEASURED)}


def _check_record(value: Any, where: str) -> None:
    _RECORD(value, where)
    if value["works"] and None in (value["loss_before"], value["loss_after"]):
        raise ValueError(f"{where} works, but has no losses")


def read_records(path: Path) -> list[Record]:
    """The filled cells of a `matrix.json`.

    Raises:
        UserError: it is damaged.
    """
    remedy = "remove it, and its cells are filled again from their folders"
    return read_json(path, list_of(_check_record), remedy)


class Records:
    """The filled cells of a table, in `matrix.json` and `matrix.md` of its folder.

    Args:
        folder: the workdir; the cells in its `matrix.json` are taken over.

    Raises:
        UserError: `matrix.json` is damaged.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        path = folder / "matrix.json"
        records = read_records(path) if path.exists() else []
        self._by_key = {Key(x["method"], x["modifier"]): x for x in records}

    @property
    def all(self) -> list[Record]:
        """The records, in the order in which the cells were filled first."""
        return list(self._by_key.values())

    def digest(self, key: Key) -> str | None:
        """The SHA-256 of a cell's images; None where there are none."""
        record = self._by_key.get(key)
        return None if record is None else record["sha256"]

    def __contains__(self, key: Key) -> bool:
        return key in self._by_key

    def put(self, cell: Cell, measured: Record) -> None:
        """Record a cell, and write both files."""
        self._by_key[cell.key] = cell.record(measured)
        self.write()

    def write(self) -> None:
        """Write `matrix.json` and `matrix.md`."""
        write_atomically(self.folder / "matrix.json", to_json(self.all))
        write_atomically(self.folder / "matrix.md", markdown(self.all))


def markdown(records: Sequence[Record]) -> str:
    """The table: the change of the loss where a cell works, else why not."""
    columns = list(dict.fromkeys(x["modifier"] for x in records))
    lines = [
        "# Methods and modifiers",
        "",
        "| method | " + " | ".join(columns) + " |",
        "|---|" + "---|" * len(columns),
    ]
    by_key = {(x["method"], x["modifier"]): x for x in records}
    for method in dict.fromkeys(x["method"] for x in records):
        row = (by_key.get((method, column)) for column in columns)
        lines.append(f"| {method} | " + " | ".join(map(_text, row)) + " |")
    works = sum(x["works"] for x in records)
    return "\n".join(
        [
            *lines,
            "",
            f"{works} of {len(records)} cells work. In a cell: the objective on "
            f"{DRAWS} fixed draws before and after the steps; commands, times, memory "
            "and hashes are in matrix.json.",
            "",
        ]
    )


def _text(record: Record | None) -> str:
    if record is None:
        return ""
    if not record["works"]:
        why = shown(record["why"]).replace("|", "\\|")
        return f"**no**: {why}"
    losses = (record["loss_before"], record["loss_after"])
    return " → ".join("?" if x is None else f"{x:.4g}" for x in losses)
