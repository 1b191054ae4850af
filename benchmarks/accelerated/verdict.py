"""The table of all results, and what `jaxdd.devices.policy` should say on this device.

A choice changes only where the measured time is below 0.85 of what the policy has
today: what is closer is a tie. No choice lowers the precision of results.
"""

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.accelerated import correctness
from benchmarks.accelerated.forms import TODAY
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

TIE = 0.85
# A longer dispatch has to save so much of a step to be asked for.
SAVES = 0.05
SHOWN_OPERATIONS = 3

Sections = Mapping[str, Mapping[str, Any]]
Row = tuple[str, str, str, str, str]
HEADINGS: Row = ("section", "what", "form", "result", "note")


# --- Files of sections --------------------------------------------------------------


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


# --- The table ----------------------------------------------------------------------


def rows(sections: Sections) -> list[Row]:
    """All results, section by section; then what failed and what was skipped."""
    found = [
        *_correctness(sections),
        *_repeats(sections),
        *_forms(sections),
        *_steps(sections),
        *_longest(sections),
        *_dispatch(sections),
        *_whole(sections),
    ]
    for name, section in sections.items():
        for r in section.get("records", ()):
            if "failed" in r:
                what = ", ".join(
                    str(v) for k, v in r.items() if k not in ("failed", "changes")
                )
                found.append((name, what, "", "failed", str(r["failed"])[:100]))
        skipped = [x["what"] for x in section.get("skipped", ())]
        if skipped:
            some = "; ".join(skipped[:3]) + ("; ..." if len(skipped) > 3 else "")
            found.append((name, f"{len(skipped)} not measured", "", "skipped", some))
        if section.get("ended"):
            found.append((name, "the section", "", "ended early", section["ended"]))
    return found


def _correctness(sections: Sections) -> Iterable[Row]:
    by_precision: dict[str, list[Mapping[str, Any]]] = {}
    for r in sound(sections, "correctness"):
        by_precision.setdefault(r["precision"], []).append(r)
    for precision, group in by_precision.items():
        right = sum(r["right"] for r in group)
        loss, gradient = (
            max(float(r[k]) for r in group) for k in ("loss_gap", "gradient_gap")
        )
        result = f"{right} of {len(group)} right"
        note = f"largest differences {loss:.1e} (loss), {gradient:.1e} (gradients)"
        yield "correctness", "all cases", precision, result, note
        for r in group:
            if not r["right"]:
                gap = f"{float(r['loss_gap']):.1e}, {float(r['gradient_gap']):.1e}"
                yield "correctness", r["case"], precision, "**wrong**", gap


def _repeats(sections: Sections) -> Iterable[Row]:
    flagged = {r["method"]: r for r in sound(sections, "repeats_flags")}
    for r in sound(sections, "repeats"):
        yield (
            "repeats", r["method"], "no flags", _same(r), f"{r['seconds']:.3g} s",
        )  # fmt: skip
        other = flagged.get(r["method"])
        if other is None:
            continue
        form = other["xla_flags"] or "another process"
        ratio = other["seconds"] / r["seconds"]
        agree = "the same" if other["digest"] == r["digest"] else "other"
        note = f"{other['seconds']:.3g} s, ratio {ratio:.2f}; {agree} bits as without"
        yield "repeats", r["method"], form, _same(other), note


def _same(record: Mapping[str, Any]) -> str:
    return "same bits twice" if record["same_bits"] else "**other bits**"


def _forms(sections: Sections) -> Iterable[Row]:
    usual = todays(sections)
    for r in sound(sections, "forms"):
        today = usual.get(r["primitive"])
        ratio = f"ratio {r['seconds'] / today:.2f}, " if today else ""
        note = f"{ratio}temporaries {r['temp_mb']:.0f} MB"
        yield "forms", r["primitive"], r["form"], f"{r['seconds']:.3g} s", note


def _steps(sections: Sections) -> Iterable[Row]:
    for r in sound(sections, "steps"):
        note = (
            f"compiled in {r['compile_seconds']:.1f} s; {r['temp_mb']:.0f} MB "
            f"temporaries, {r['in_use_mb']:.0f} MB in use"
        )
        if r["gflops"]:
            note += f"; {r['gflops']:.0f} GFLOP/s"
        theirs = r.get("pytorch", {})
        if "seconds" in theirs:
            note += f"; PyTorch {theirs['seconds']:.3g} s, ratio {r['ratio']:.2f}"
        elif "failed" in theirs:
            note += f"; PyTorch failed: {theirs['failed'][:60]}"
        yield "steps", r["method"], f"ipc {r['ipc']}", f"{r['seconds']:.3g} s", note


def _longest(sections: Sections) -> Iterable[Row]:
    for r in sound(sections, "longest"):
        kinds = ", ".join(f"{k} {v:.0%}" for k, v in list(r["shares"].items())[:4])
        note = f"{r['busy']:.0%} of the time at work; {kinds}"
        yield "longest", r["method"], "all", f"{r['operations']} operations", note
        for one in r["longest"][:SHOWN_OPERATIONS]:
            note = f"{one['count']} times; {one['source'][-60:]}".replace("|", "/")
            yield "longest", r["method"], one["name"], f"{one['share']:.0%}", note


def _dispatch(sections: Sections) -> Iterable[Row]:
    for r in sound(sections, "dispatch"):
        result = f"{r['seconds_per_step']:.3g} s/step"
        yield "dispatch", r["method"], f"{r['steps']} steps", result, ""


def _whole(sections: Sections) -> Iterable[Row]:
    for r in sound(sections, "whole"):
        summary = r["summary"]
        made, random = summary["distilled"], summary["random"]
        note = (
            f"accuracy {made['mean']:.2f} %, of random images {random['mean']:.2f} %; "
            f"{summary['seconds_per_step']:.3g} s per step, "
            f"{summary['compile_seconds']:.3g} s compiling, "
            f"{summary['evaluation_seconds']:.3g} s evaluation"
        )
        form = f"distill, {r['steps']} steps"
        yield "whole", f"MNIST {r['method']}", form, f"{r['wall_seconds']:.1f} s", note


def table(found: Iterable[Row]) -> str:
    """Rows as Markdown."""
    lines = ["| " + " | ".join(HEADINGS) + " |", "|" + "---|" * len(HEADINGS)]
    lines += ["| " + " | ".join(x.replace("|", "/") for x in r) + " |" for r in found]
    return "\n".join([*lines, ""])


# --- What the policy should say -----------------------------------------------------


def todays(sections: Sections) -> dict[str, float]:
    """Seconds of every primitive with today's choices."""
    return {
        r["primitive"]: r["seconds"]
        for r in sound(sections, "forms")
        if r["form"] == TODAY
    }


def advised(sections: Sections, today: Choices) -> tuple[Choices, list[str]]:
    """The choices that the results speak for, and a sentence for each of them."""
    changes: dict[str, Any] = {}
    words: list[str] = []
    for advice in (_mapping, _convolution, _microbatch, _precision, _dispatched):
        changed, sentences = advice(sections, today)
        changes |= changed
        words += sentences
    return dataclasses.replace(today, **changes), words


Advice = tuple[dict[str, Any], list[str]]


def _mapping(sections: Sections, today: Choices) -> Advice:
    changes, words = {}, []
    usual = todays(sections)
    for primitive, seconds in usual.items():
        mapped = [
            r
            for r in sound(sections, "forms")
            if r["primitive"] == primitive and r["axis"] == "mapping"
        ]
        if not mapped:
            continue
        best = min(mapped, key=lambda r: r["seconds"])
        ((field, chunk),) = best["changes"].items()
        ratio = best["seconds"] / seconds
        if ratio < TIE:
            changes[field] = chunk
            words.append(
                f"{field}={chunk}: for {primitive}, {best['form']} takes {ratio:.2f} "
                f"of today's time."
            )
        else:
            words.append(
                f"{field}={getattr(today, field)} stays: for {primitive}, the best "
                f"other form, {best['form']}, takes {ratio:.2f} of today's time."
            )
    return changes, words


def _everywhere(sections: Sections, axis: str) -> dict[str, tuple[float, int, Any]]:
    """By form: geometric mean of time by today's, over how many primitives, changes."""
    usual = todays(sections)
    ratios: dict[str, list[float]] = {}
    changes = {}
    for r in sound(sections, "forms"):
        if r["axis"] == axis and r["primitive"] in usual:
            ratio = r["seconds"] / usual[r["primitive"]]
            ratios.setdefault(r["form"], []).append(ratio)
            changes[r["form"]] = r["changes"]
    return {
        form: (math.exp(sum(map(math.log, x)) / len(x)), len(x), changes[form])
        for form, x in ratios.items()
    }


def _best(sections: Sections, axis: str, usual: str) -> Advice:
    """Of forms that are one choice for all primitives."""
    found = _everywhere(sections, axis)
    if not found:
        return {}, [f"{axis}: not measured; {usual} stays."]
    form, (ratio, count, changes) = min(found.items(), key=lambda x: x[1][0])
    seen = f"{form} takes {ratio:.2f} of today's time (mean over {count} primitives)"
    # One primitive does not decide for all.
    if ratio < TIE and count > 1:
        return dict(changes), [f"{axis}: {seen}, so it is chosen."]
    return {}, [f"{axis}: {usual} stays; the best other form, {seen}."]


def _convolution(sections: Sections, today: Choices) -> Advice:
    usual = f"{today.convolution}, {today.small_convolution} for small kernels,"
    return _best(sections, "convolution", usual)


def _microbatch(sections: Sections, today: Choices) -> Advice:
    changes, words = _best(sections, "microbatch", f"{today.microbatch}")
    # Forms were measured at every size; an entry keeps from where on it counts.
    changes.pop("microbatch_from", None)
    return changes, words


def _precision(sections: Sections, today: Choices) -> Advice:
    found = sound(sections, "correctness")
    by_name = {
        name: [r["right"] for r in found if r["precision"] == name]
        for name in correctness.TOLERANCES
    }
    usual, exact = by_name[today.precision], by_name["float32"]
    words = [
        f"precision: {form} takes {ratio:.2f} of today's time (mean over {count} "
        "primitives); it changes results and is chosen by whoever runs."
        for form, (ratio, count, _) in _everywhere(sections, "precision").items()
    ]
    if usual and exact and not all(usual) and all(exact):
        return {"precision": "float32"}, [
            f"precision='float32': {today.precision} is outside of the tolerances.",
            *words,
        ]
    if not usual:
        verdict = "was not compared with float64"
    elif all(usual):
        verdict = f"is within the tolerances in all {len(usual)} cases"
    else:
        verdict = f"is outside of the tolerances in {usual.count(False)} cases"
    return {}, [f"precision={today.precision} stays: it {verdict}.", *words]


def _dispatched(sections: Sections, today: Choices) -> Advice:
    words = []
    for method in dict.fromkeys(r["method"] for r in sound(sections, "dispatch")):
        per_step = {
            r["steps"]: r["seconds_per_step"]
            for r in sound(sections, "dispatch")
            if r["method"] == method
        }
        least = min(per_step.values())
        enough = min(n for n, s in per_step.items() if s * (1 - SAVES) <= least)
        words.append(
            f"steps: {method} gains less than 5 % from more than {enough} steps per "
            f"dispatch ({per_step[enough]:.3g} s per step; one at a time "
            f"{per_step.get(1, per_step[enough]):.3g} s). A run holds up to "
            f"{today.steps}, as many as take a second."
        )
    return {}, words


def entry(key: str, chosen: Choices) -> str:
    """An entry of `policy.TABLE` as it stands in its file."""

    def literal(value: Any) -> str:
        return json.dumps(value) if isinstance(value, str) else repr(value)

    fields = dataclasses.asdict(chosen).items()
    lines = [f"        {name}={literal(value)}," for name, value in fields]
    return "\n".join([f"    {json.dumps(key)}: Choices(", *lines, "    ),", ""])
