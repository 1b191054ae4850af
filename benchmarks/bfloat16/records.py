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
    """A line of the table; what is empty was not measured, or says nothing alone.

    Attributes:
        what: was measured.
        float32, tf32, bfloat16: in each precision.
        pytorch: by the PyTorch loop.
        compared: bfloat16 with the others.
    """

    what: str
    float32: str = ""
    tf32: str = ""
    bfloat16: str = ""
    pytorch: str = ""
    compared: str = ""


HEADINGS = Line("", "float32", "TF32", "bfloat16", "PyTorch", "bfloat16 to the others")


class Records:
    """The records of one section.

    Args:
        folder: of all results.
        name: of the section.
    """

    def __init__(self, folder: Path, name: str):
        self.folder, self.name = folder, name
        path = folder / f"{name}.json"
        cells = list_of(text(200), len(HEADINGS), len(HEADINGS))
        schema = list_of(mapping(key=mapping(), line=cells))
        self.records = read_json(path, schema, _REMEDY) if path.exists() else []

    def has(self, key: Mapping[str, Any], what: str) -> bool:
        """Whether there is a record of this key; it is said where there is."""
        there = any(record["key"] == {**key, **_origin()} for record in self.records)
        if there:
            self.say(f"{what} is there")
        return there

    def say(self, what: str) -> None:
        """Tell whoever watches what comes next."""
        say(f"{self.name}: {what}")

    def measure(
        self, key: Mapping[str, Any], what: str, work: Callable[[], dict[str, Any]]
    ) -> None:
        """Add a record, unless there is one of the same key.

        Args:
            key: all that the record depends on, but for device and versions.
            what: is measured, for a sentence.
            work: gives the record, with its "line" of the table.
        """
        if self.has(key, what):
            return
        self.say(what)
        found, origin = work(), _origin()
        whole = {**key, **origin}
        # A record of other versions or another device is replaced.
        kept = [r for r in self.records if {**r["key"], **origin} != whole]
        self.records = [*kept, {"key": whole, **found, "line": list(found["line"])}]
        output.write_records(self.folder, self.name, self.records)


def _origin() -> dict[str, Any]:
    """What every record depends on beside its key."""
    return {"versions": provenance.versions(), "device": provenance.device()}
