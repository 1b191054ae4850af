"""What a run would need, as numbers and as a table."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field

from experiments.planning.room import Room
from jaxdd.devices.memory import size_text


@dataclass(frozen=True)
class Lever:
    """A flag that decides how much of something is needed.

    Attributes:
        flag: its name.
        value: what it is now; what is needed is in proportion to it.
        least: the smallest value that the run takes.
        rarer: whether larger values need less, as of steps between measurements.
        also: another flag that helps, e.g. "--bank_dtype=bfloat16 (50 % of it)".
    """

    flag: str
    value: int
    least: int = 1
    rarer: bool = False
    also: str = ""


@dataclass(frozen=True)
class Part:
    """One part of a run, and the seconds or bytes that it needs.

    Attributes:
        name: as it is printed.
        amount: in seconds or bytes.
        detail: where it comes from, e.g. "300 x 0.05 s".
        lever: the flag that decides, if there is one.
        instead: a way to do without it, e.g. "--stream=always".
    """

    name: str
    amount: float
    detail: str = ""
    lever: Lever | None = None
    instead: str = ""


@dataclass(frozen=True)
class Plan:
    """What a run would need.

    Attributes:
        title: which run.
        time: parts in seconds.
        device: of the program that needs most device memory, in bytes: "arguments",
            "results" and "temporaries" by XLA's analysis.
        program: which program that is.
        host: parts of the host's memory, in bytes.
        disk: parts of what is written, in bytes.
        room: what there is.
        notes: what else there is to know.
        cache: parts of what is written to JAXDD_CACHE, where that is another disk.
        settings: the choices of the run's method, each as its flag would be given.
        advice: what to change where something does not fit; empty where all does.
    """

    title: str
    time: Sequence[Part]
    device: Sequence[Part]
    program: str
    host: Sequence[Part]
    disk: Sequence[Part]
    room: Room
    notes: Sequence[str] = ()
    cache: Sequence[Part] = ()
    settings: Sequence[str] = ()
    advice: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> dict[str, float]:
        """By part."""
        return {part.name: part.amount for part in self.time}

    @property
    def total_seconds(self) -> float:
        return total(self.time)

    def table(self) -> str:
        """All of it, for a terminal."""
        memory = f"device memory ({self.program})"
        lines = [self.title, "", *_rows("time", self.time, span_text)]
        for name, parts, there in (
            (memory, self.device, self.room.device),
            ("host memory", self.host, self.room.host),
            ("disk", self.disk, self.room.disk),
            ("disk of JAXDD_CACHE", self.cache, self.room.cache),
        ):
            if parts:
                lines += ["", *_rows(name, parts, size_text, there)]
        if self.settings:
            text = textwrap.wrap(
                " ".join(self.settings), 86, break_on_hyphens=False,
                break_long_words=False,
            )  # fmt: skip
            lines += ["", "settings", *(f"  {line}" for line in text)]
        lines += ["", *(f"note: {x}" for x in self.notes)]
        lines += [f"change: {x}" for x in self.advice]
        if not self.advice:
            lines.append("it fits: nothing has to be changed")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.table()


def total(parts: Sequence[Part]) -> float:
    return sum(part.amount for part in parts)


def _rows(name: str, parts: Sequence[Part], text, there: int | None = None):
    """The lines of one quantity, what there is beside its sum."""
    needed = total(parts)
    yield name
    for part in parts:
        share = 100 * part.amount / needed if needed else 0.0
        line = f"  {part.name:<30} {text(part.amount):>9} {share:4.0f} %"
        yield f"{line}  {part.detail}".rstrip()
    beside = "" if there is None else f"    of {text(there)} free"
    yield f"  {'together':<30} {text(needed):>9}{beside}"


def span_text(seconds: float) -> str:
    """A time in a handy unit.

    Example:
        >>> span_text(0.25), span_text(100), span_text(200000)
        ('0.25 s', '100 s', '2.3 days')
    """
    for longest, unit, each in ((180, "s", 1.0), (10800, "min", 60.0)):
        if seconds < longest:
            return f"{seconds / each:.3g} {unit}"
    hours = seconds / 3600
    return f"{hours:.3g} h" if hours < 48 else f"{hours / 24:.2g} days"
