"""Files that sections have written: read, checked, and their sound records."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.accelerated.forms import TODAY
from benchmarks.accelerated.graphs import USUAL
from jaxdd.devices.policy import Choices
from jaxdd.devices.precision import PRECISIONS
from jaxdd.storage.records import (
    Schema,
    fields_of,
    flag,
    integer,
    list_of,
    mapping,
    maybe,
    number,
    one_of,
    read_json,
    text,
)

Sections = Mapping[str, Mapping[str, Any]]


def _gap(value: Any, where: str) -> None:
    """A difference; one that is not finite is a word."""
    if value not in ("nan", "inf"):
        number(0)(value, where)


_CHOICES = fields_of(
    Choices,
    microbatch=maybe(integer(1)),
    microbatch_from=list_of(integer(), 2, 2),
    precision=one_of(*PRECISIONS),
)
_REPEATED = mapping(
    method=text(), same_bits=flag, digest=text(), seconds=number(0), xla_flags=text()
)
_MEAN = mapping(mean=number(0, 100))
# What the table and the advice read, of records that did not fail.
_MEASURED: dict[str, Schema] = {
    "correctness": mapping(
        case=text(), precision=text(), right=flag, loss_gap=_gap, gradient_gap=_gap
    ),
    "repeats": _REPEATED,
    "repeats_flags": _REPEATED,
    "forms": mapping(
        primitive=text(),
        axis=text(),
        form=text(),
        changes=mapping(optional=_CHOICES, others=None),
        seconds=number(0),
        temp_mb=number(),
    ),
    "steps": mapping(
        method=text(),
        ipc=integer(1),
        seconds=number(0),
        compile_seconds=number(0),
        temp_mb=number(),
        in_use_mb=number(),
        gflops=maybe(number(0)),
        optional={
            "pytorch": mapping(optional={"seconds": number(0), "failed": text()}),
            "ratio": number(0),
        },
    ),
    "graphs": mapping(
        method=text(),
        graphs=text(),
        seconds=number(0),
        compile_seconds=number(0),
        temp_mb=number(),
        gap=maybe(_gap),
    ),
    "longest": mapping(
        method=text(),
        busy=number(0),
        operations=integer(),
        shares=mapping(others=number(0)),
        longest=list_of(
            mapping(name=text(), share=number(0), count=integer(), source=text(10**5))
        ),
    ),
    "dispatch": mapping(method=text(), steps=integer(1), seconds_per_step=number(0)),
    "whole": mapping(
        method=text(),
        steps=integer(1),
        wall_seconds=number(0),
        summary=mapping(
            distilled=_MEAN,
            random=_MEAN,
            seconds_per_step=number(0),
            compile_seconds=number(0),
            evaluation_seconds=number(0),
        ),
    ),
}
_FAILED = mapping(failed=text())
_ORIGIN = {
    "device": mapping(kind=text(), backend=text()),
    "versions": mapping(jax=text()),
    "today": mapping(optional=_CHOICES),
}


def _section(name: str) -> Schema:
    """The schema of a section's file."""

    def record(value: Any, where: str) -> None:
        failed = isinstance(value, dict) and "failed" in value
        (_FAILED if failed else _MEASURED[name])(value, where)

    content = {
        "records": list_of(record),
        "skipped": list_of(mapping(what=text())),
        "ended": text(),
        "tiny": flag,
    }
    begun, ended = mapping(optional=content, **_ORIGIN), mapping(optional=content)

    def check(value: Any, where: str) -> None:
        """One that ended before it began has no device."""
        has_begun = isinstance(value, dict) and "device" in value
        (begun if has_begun else ended)(value, where)

    return check


def load(folder: Path, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The sections that have written anything.

    Raises:
        UserError: a section's file is damaged.
    """
    paths = {name: folder / f"{name}.json" for name in names}
    remedy = "remove it, and measure that section again"
    return {
        name: read_json(path, _section(name), remedy)
        for name, path in paths.items()
        if path.exists()
    }


def records(sections: Sections, name: str) -> list[Mapping[str, Any]]:
    return list(sections.get(name, {}).get("records", ()))


def sound(sections: Sections, name: str) -> list[Mapping[str, Any]]:
    """Records of a section that were measured to the end."""
    return [r for r in records(sections, name) if "failed" not in r]


def todays(sections: Sections) -> dict[str, float]:
    """Seconds of every primitive with today's choices."""
    return {
        r["primitive"]: r["seconds"]
        for r in sound(sections, "forms")
        if r["form"] == TODAY
    }


def usual_graphs(sections: Sections) -> dict[str, float]:
    """Seconds of every method's step with the graphs that JAX comes with."""
    return {
        r["method"]: r["seconds"]
        for r in sound(sections, "graphs")
        if r["graphs"] == USUAL
    }
