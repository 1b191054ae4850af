"""Images that a run would decode to the disk first, of which a plan decodes a few."""

import functools
from collections.abc import Callable
from typing import ParamSpec

from experiments.planning.estimate import Part, Plan
from jaxdd.data.problem import Problem
from jaxdd.data.streaming.imagining import Awaited, awaited, imagined
from jaxdd.data.streaming.rows import Rows
from jaxdd.devices.memory import size_text
from jaxdd.storage.paths import shown

Arguments = ParamSpec("Arguments")

INSTEAD = "JAXDD_CACHE on a larger disk or a smaller --image_size"


def without_stores(plan: Callable[Arguments, Plan]) -> Callable[Arguments, Plan]:
    """A function that plans, which builds no store."""

    @functools.wraps(plan)
    def planned(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Plan:
        with imagined():
            return plan(*args, **kwargs)

    return planned


def decoding_time() -> list[Part]:
    """What the building of all stores takes that the run lacks."""
    return [
        Part(_named("decoding", x), x.seconds_left,
             f"{x.left} of {x.samples} images x {x.seconds_each:.2g} s")
        for x in awaited()
    ]  # fmt: skip


def decoding_disk() -> list[Part]:
    """What they take of the disk of JAXDD_CACHE."""
    return [
        Part(_named("decoded", x), x.bytes_left, shown(x.folder), instead=INSTEAD)
        for x in awaited()
    ]


def _named(verb: str, store: Awaited) -> str:
    return f"{verb} {store.name}"[:30]


def decoding_notes() -> list[str]:
    """What a plan cannot know without them."""
    return [
        f"{x.left} images of {x.name} are not decoded yet ({size_text(x.bytes_left)}): "
        "the run does it first, and goes on where it is stopped; here a few stand for "
        "all, reading the disk takes no time, and what experts, indexes and workdirs "
        "say of the data is not compared"
        for x in awaited()
    ]


def on_disk(problem: Problem, read: int = 0) -> list[str]:
    """What there is to say of images on disk, of which a step reads so many bytes."""
    images = problem.splits.train.images
    if not isinstance(images, Rows):
        return []
    parts = problem.dataset.images, problem.dataset.test_images
    size = size_text(sum(x.nbytes for x in parts))
    place = shown(images.file.path.parent)
    of_step = f", and a step reads {size_text(read)} of them" if read else ""
    verb = "are" if images.file.is_there else "will be"
    return [f"decoded images {verb} on disk ({size}, {place}){of_step}"]
