"""Stores that a plan does without: a few samples stand for all of them.

Within `imagined()`, `store.stored` builds nothing. It decodes samples for a moment,
lets them stand for the others, and notes what the building would take.
"""

import contextlib
import hashlib
import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxdd.data.streaming.building import INT, Part, Stored, decoded_before
from jaxdd.data.streaming.rows import Rows
from jaxdd.data.streaming.sources import StandIn
from jaxdd.progress import say

LOOK_SECONDS = 1.0  # of decoding, which tell the time of the rest
FEW = 64  # samples that stand for all


class Awaited(NamedTuple):
    """A store that is not there, or not whole.

    Attributes:
        folder: where it would be.
        name: of the dataset in messages.
        samples: how many it has when it is whole.
        left: how many of them have to be decoded.
        sample_bytes: of each on the disk.
        seconds_each: to decode and to store one.
    """

    folder: Path
    name: str
    samples: int
    left: int
    sample_bytes: int
    seconds_each: float

    @property
    def bytes_left(self) -> int:
        """What has to be written."""
        return self.left * self.sample_bytes

    @property
    def seconds_left(self) -> float:
        """What the building takes, about."""
        return self.left * self.seconds_each


Imagined = dict[Path, tuple[Awaited, dict[str, Stored]]]

_IMAGINED: ContextVar[Imagined | None] = ContextVar("imagined", default=None)


@contextlib.contextmanager
def imagined() -> Iterator[None]:
    """In this context no store is built: what is lacking is imagined."""
    token = _IMAGINED.set({})
    try:
        yield
    finally:
        _IMAGINED.reset(token)


def imagining() -> bool:
    """Whether stores are imagined here."""
    return _IMAGINED.get() is not None


def awaited() -> list[Awaited]:
    """The stores that were imagined in this context so far."""
    return [x for x, _ in (_IMAGINED.get() or {}).values()]


def imagine(
    folder: Path,
    name: str,
    parts: Sequence[Part],
    shape: tuple[int, ...],
    dtype: np.dtype,
) -> dict[str, Stored]:
    """Parts as `stored` gives them, with samples that stand for the others.

    Labels are in turn those of all classes.

    Args:
        folder, name, parts, shape, dtype: as of `stored`.

    Raises:
        UserError: a sample cannot be decoded.
    """
    known = _IMAGINED.get()
    assert known is not None, "within `imagined()`"
    if folder in known:
        return known[folder][1]
    say(f"{name} is not decoded: some images of it stand for all")
    done = decoded_before(folder, parts)
    first = next((x for x in parts if done[x.name] < x.length), parts[0])
    begun = done[first.name] if done[first.name] < first.length else 0
    rows, each = _look(first, begun, shape, dtype)
    count, before = sum(x.length for x in parts), sum(done.values())
    size = math.prod(shape) * dtype.itemsize + INT.itemsize
    lacking = Awaited(folder, name, count, count - before, size, each)

    def part(part: Part) -> Stored:
        stand_in = StandIn(folder / f"{part.name}.rows", part.length, rows)
        labels = np.arange(part.length, dtype=INT) % part.classes
        return Stored(Rows(stand_in), labels)

    known[folder] = lacking, {x.name: part(x) for x in parts}
    return known[folder][1]


def _look(
    part: Part, first: int, shape: tuple[int, ...], dtype: np.dtype
) -> tuple[np.ndarray, float]:
    """Some samples [n, ...] of a part, and seconds to decode and to store one."""
    rows, count, digest = [], 0, hashlib.sha256()
    begun = ended = time.perf_counter()
    with tempfile.TemporaryFile() as file:
        for image, _ in part.samples(first):
            row = np.ascontiguousarray(image, dtype)
            if count < FEW:
                rows.append(row)
            file.write(row.data)
            # When it is written, when it is opened, and for the fingerprint.
            for _ in range(3):
                digest.update(row.data)
            count, ended = count + 1, time.perf_counter()
            if count == 1:
                begun = ended  # what is imported and opened is no part of the rest
            if ended - begun > LOOK_SECONDS:
                break
    return np.stack(rows), (ended - begun) / max(1, count - 1)
