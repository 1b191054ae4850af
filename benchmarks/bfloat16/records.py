"""Records of a section in its file: written one by one, and not measured again."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.parts import output
from jaxdd.progress import say
from jaxdd.storage import provenance
from jaxdd.storage.records import list_of, mapping, read_json, text

BOTH = ("float32", "bfloat16")
_REMEDY = "remove it, and the section is measured again"


class Line(NamedTuple):
    """A line of the table.

    Attributes:
        what: was measured.
        float32, bfloat16: in each precision; empty where only both together say
            something.
        compared: one with the other.
    """

    what: str
    float32: str
    bfloat16: str
    compared: str


class Records:
    """The records of one section.

    Args:
        folder: of all results.
        name: of the section.
    """

    def __init__(self, folder: Path, name: str):
        self.folder, self.name = folder, name
        path = folder / f"{name}.json"
        schema = list_of(mapping(key=mapping(), line=list_of(text(200), 4, 4)))
        self.records = read_json(path, schema, _REMEDY) if path.exists() else []

    def measure(
        self, key: Mapping[str, Any], what: str, work: Callable[[], dict[str, Any]]
    ) -> None:
        """Add a record, unless there is one of the same key.

        Args:
            key: all that the record depends on, but for device and versions.
            what: is measured, for a sentence.
            work: gives the record, with its "line" of the table.
        """
        origin = {"versions": provenance.versions(), "device": provenance.device()}
        whole = {**key, **origin}
        if any(record["key"] == whole for record in self.records):
            say(f"{self.name}: {what} is there")
            return
        say(f"{self.name}: {what}")
        found = work()
        # A record of other versions or another device is replaced.
        kept = [r for r in self.records if {**r["key"], **origin} != whole]
        self.records = [*kept, {"key": whole, **found, "line": list(found["line"])}]
        output.write_records(self.folder, self.name, self.records)
