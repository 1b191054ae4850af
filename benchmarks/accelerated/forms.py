"""Primitives in all forms: how axes are mapped, convolutions, precision, microbatches.

One choice moves at a time, the others stay as `jaxdd.devices.policy` has them;
patches are also tried with either end of the mapping, as batched weights turn patches
into batched products and `lax` convolutions into grouped ones. The choices are made
through the policy itself, so that what is measured is what an entry of its table does.
"""

import dataclasses
import statistics
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

from benchmarks.accelerated.budget import (
    MARGIN,
    Records,
    attempt,
    named,
    steady_seconds,
)
from benchmarks.accelerated.sizes import Sizes
from benchmarks.parts import timing
from benchmarks.parts.timing import Race
from benchmarks.reference import races
from jaxdd.devices import policy
from jaxdd.devices.policy import Choices
from jaxdd.devices.precision import PRECISIONS

CHUNKS = (8, 32, 2, 16, 4)
MICROBATCHES = (8, 32)
CONVOLUTIONS = {
    "lax": ("lax", "lax"),
    "patches": ("im2col", "im2col"),
    "canonical": ("canonical", "canonical"),
    "canonical, small ones by patches": ("canonical", "im2col"),
}
TODAY = "as the policy says"
NAMES = ("classes", "features", "unroll", "experts", "networks", "norms")


class Form(NamedTuple):
    """One way to compute a primitive.

    Attributes:
        axis: which choice moves: "mapping", "convolution", "precision", "microbatch".
        name: of the form.
        changes: of the policy's choices.
    """

    axis: str
    name: str
    changes: dict[str, Any]


class Primitive(NamedTuple):
    """What is measured.

    Attributes:
        race: makes it, under the choices that are in force.
        field: of the policy that says how its axis is mapped; None without an axis.
        size: slices along the axis.
    """

    race: Callable[[], Race]
    field: str | None
    size: int


def primitives(sizes: Sizes) -> dict[str, Primitive]:
    """By name: the axis of classes, experts, networks; norms; the unrolled student."""

    setting, experts = sizes.setting, sizes.experts

    def step(method: str, **changes) -> Race:
        case = sizes.case(method, sizes.forms_ipc, **changes)
        return timing.step_race(case, None)

    return {
        "classes (DSA)": Primitive(
            lambda: step("dsa", matches=1), "classes", setting.classes
        ),
        "features (DM)": Primitive(
            lambda: step("dm"), "feature_classes", setting.classes
        ),
        "unroll (MTT)": Primitive(lambda: step("mtt"), None, 1),
        "experts": Primitive(
            lambda: races.experts(setting, False, experts), "experts", experts
        ),
        "networks (evaluation)": Primitive(
            lambda: races.evaluation(setting, experts), "networks", experts
        ),
        "norms": Primitive(lambda: races.norms(setting, False), "samples", races.BATCH),
    }


def short(name: str) -> str:
    """The name of a primitive as flags have it: its first word."""
    return name.split(maxsplit=1)[0]


def mapping_name(chunk: int, size: int) -> str:
    if chunk == 1:
        return "map"
    return "vmap" if chunk >= size else f"chunks of {chunk}"


def forms(primitive: Primitive, today: Choices) -> Iterator[Form]:
    """All forms of a primitive, the most telling first; without today's."""
    field, size = primitive.field, primitive.size
    given = (today.convolution, today.small_convolution)
    # All samples at once would need a gradient each.
    most = size if field != "samples" else 64
    if field is not None:
        usual = mapping_name(getattr(today, field), size)
        for chunk in (1, most):
            if mapping_name(chunk, size) != usual:
                name = mapping_name(chunk, size)
                yield Form("mapping", name, {field: chunk})
    for name, (large, small) in CONVOLUTIONS.items():
        if (large, small) != given:
            changes = {"convolution": large, "small_convolution": small}
            yield Form("convolution", name, changes)
    for precision in PRECISIONS:
        if precision != today.precision:
            yield Form("precision", precision, {"precision": precision})
    patches = {"convolution": "im2col", "small_convolution": "im2col"}
    if field is not None:
        for chunk in (most, 1):
            name = f"{mapping_name(chunk, size)} and patches"
            yield Form("mapping and convolution", name, {field: chunk, **patches})
    if field != "samples":
        for microbatch in (None, *MICROBATCHES):
            if microbatch != today.microbatch:
                name = f"microbatch {microbatch}" if microbatch else "whole batches"
                yield Form(
                    "microbatch",
                    name,
                    {"microbatch": microbatch, "microbatch_from": (1, 1)},
                )
    if field is not None:
        for chunk in CHUNKS:
            if chunk < most and chunk != getattr(today, field):
                yield Form("mapping", mapping_name(chunk, size), {field: chunk})


def in_turns(lists: list[list[Any]]) -> Iterator[Any]:
    """The first of every list, then the second of every list, and so on."""
    for i in range(max(map(len, lists), default=0)):
        for items in lists:
            if i < len(items):
                yield items[i]


def built(primitive: Primitive, form: Form, today: Choices) -> Race:
    """A primitive compiled in a form."""
    chosen = dataclasses.replace(today, **form.changes)
    with policy.using(chosen):
        return primitive.race()


def timed(race: Race, repeats: int) -> dict[str, Any]:
    times = steady_seconds(race.ours, repeats)
    seconds = statistics.median(times)
    return {
        "seconds": seconds,
        "temp_mb": race.program.temp_mb,
        "gflops": race.flops / seconds / 1e9 if race.flops else None,
        "times": times,
    }


def _timed_job(job: Future, repeats: int) -> dict[str, Any]:
    return timed(job.result(), repeats)


def run(records: Records, sizes: Sizes, wanted: Sequence[str] = ()) -> None:
    """Primitives, form by form in turn, so that time that runs out takes of all.

    Programs are compiled some at a time and then run one by one.

    Args:
        records: of the section.
        sizes: of what is measured.
        wanted: short names of the primitives, of `NAMES`; empty for all.
    """
    today = policy.choices()
    every, workers = primitives(sizes), sizes.workers
    every = {n: p for n, p in every.items() if not wanted or short(n) in wanted}
    usual = Form("today", TODAY, {})
    todo = list(
        in_turns(
            [[(n, p, f) for f in (usual, *forms(p, today))] for n, p in every.items()]
        )
    )
    for start in range(0, len(todo), workers):
        group = [
            (key_of(name, form), primitive, form)
            for name, primitive, form in todo[start : start + workers]
        ]
        # A group that does not end loses itself alone: it needs no margin.
        group = [x for x in group if records.fits(named(x[0]), "form", 1 / MARGIN)]
        if group:
            measure_group(records, group, today, sizes)


def key_of(name: str, form: Form) -> dict[str, Any]:
    return {
        "primitive": name,
        "axis": form.axis,
        "form": form.name,
        "changes": form.changes,
    }


def measure_group(
    records: Records,
    group: list[tuple[dict[str, Any], Primitive, Form]],
    today: Choices,
    sizes: Sizes,
) -> None:
    """Compile side by side, then run one by one."""
    records.say("; ".join(f"{key['primitive']}, {key['form']}" for key, _, _ in group))
    began = records.budget.clock()
    with ThreadPoolExecutor(sizes.workers) as pool:
        jobs = [pool.submit(built, p, form, today) for _, p, form in group]
        for job in jobs:
            job.exception()  # wait: nothing compiles while another is timed
    for (key, _, _), job in zip(group, jobs, strict=True):
        records.add(key, attempt(partial(_timed_job, job, sizes.repeats)))
    records.took("form", records.budget.clock() - began)
