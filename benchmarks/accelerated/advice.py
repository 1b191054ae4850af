"""What `jaxdd.devices.policy` should say on this device.

A choice changes only where the measured time is below 0.85 of what the policy has
today: what is closer is a tie. No choice lowers the precision of results.
"""

import dataclasses
import json
import math
from typing import Any

from benchmarks.accelerated import correctness
from benchmarks.accelerated.graphs import USUAL
from benchmarks.accelerated.sections import Sections, sound, todays, usual_graphs
from jaxdd.devices.policy import Choices

TIE = 0.85
# Images of another program after a step are the same to so much, relatively (L2).
SAME_IMAGES = 1e-3
# A longer dispatch has to save so much of a step to be asked for.
SAVES = 0.05


def advised(sections: Sections, today: Choices) -> tuple[Choices, list[str]]:
    """The choices that the results speak for, and a sentence for each of them."""
    changes: dict[str, Any] = {}
    words: list[str] = []
    for advice in (
        _mapping, _convolution, _microbatch, _precision, _dispatched, _graphs,
    ):  # fmt: skip
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


def _graphs(sections: Sections, today: Choices) -> Advice:
    """A sentence per method; the policy has no choice of it."""
    usual, words = usual_graphs(sections), []
    for method, seconds in usual.items():
        others = [
            r
            for r in sound(sections, "graphs")
            if r["method"] == method
            and r["graphs"] != USUAL
            and float(r["gap"] or 0.0) <= SAME_IMAGES
        ]
        if others:
            best = min(others, key=lambda r: r["seconds"])
            ratio = best["seconds"] / seconds
            verdict = "which asks for a choice" if ratio < TIE else "a tie"
            words.append(
                f"graphs: a step of {method} with {best['graphs']} as CUDA graphs "
                f"takes {ratio:.2f} of the time as JAX comes, {verdict}."
            )
    return {}, words


def entry(key: str, chosen: Choices) -> str:
    """An entry of `policy.TABLE` as it stands in its file."""

    def literal(value: Any) -> str:
        return json.dumps(value) if isinstance(value, str) else repr(value)

    fields = dataclasses.asdict(chosen).items()
    lines = [f"        {name}={literal(value)}," for name, value in fields]
    return "\n".join([f"    {json.dumps(key)}: Choices(", *lines, "    ),", ""])
