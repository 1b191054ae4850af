"""Time that is left, and records that are on disk as soon as they are made."""

import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, TypeAlias

from jaxdd.errors import UserError
from jaxdd.storage.files import to_json, write_atomically

# What a measurement is expected to take, by the longest of its family so far.
MARGIN = 1.2
LONGEST_MESSAGE = 300

# (what is measured, what measures it)
Job: TypeAlias = tuple[dict[str, Any], Callable[[], dict[str, Any]]]


class Budget:
    """Seconds until a deadline."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic):
        self.clock = clock
        self.end = clock() + seconds

    def left(self) -> float:
        return self.end - self.clock()

    def share(self, weights: list[float]) -> float:
        """Seconds for the first of several parts, by their weights."""
        return max(0.0, self.left()) * weights[0] / sum(weights)


class Records:
    """Records of one section: measured while time lasts, on disk after each.

    Attributes:
        results: what was measured, in order.
        skipped: {"what": ..., "why": ...} of what was not.
    """

    def __init__(
        self,
        path: Path,
        budget: Budget,
        first: float,
        say: Callable[[str], None],
        about: dict[str, Any],
    ):
        """Write an empty section.

        Args:
            path: of the section's JSON file.
            budget: the section's time.
            first: seconds that a measurement of a new family is expected to take.
            say: is told what comes next.
            about: what the file says of the section.
        """
        self.path, self.budget, self.first, self.say = path, budget, first, say
        self.about = about
        self.results: list[dict[str, Any]] = []
        self.skipped: list[dict[str, str]] = []
        self.longest: dict[str, float] = {}
        self.told: set[str] = set()
        self.write()

    def write(self, finished: bool = False) -> None:
        content = {
            **self.about,
            "finished": finished,
            "records": self.results,
            "skipped": self.skipped,
        }
        write_atomically(self.path, to_json(content))

    def expected(self, family: str) -> float:
        """Seconds that the next measurement of a family may take."""
        return MARGIN * self.longest.get(family, self.first)

    def skip(self, what: str, why: str) -> None:
        self.say(f"{what}: skipped, {why}")
        self.skipped.append({"what": what, "why": why})
        self.write()

    def _no_time(self, what: str, family: str, why: str) -> None:
        """Skip, and say so once for all of a family."""
        if family not in self.told:
            self.told.add(family)
            self.say(f"{what}: skipped, {why}; so may others")
        self.skipped.append({"what": what, "why": why})
        self.write()

    def fits(self, what: str, family: str, times: float = 1.0) -> bool:
        """Whether there is time for a measurement; it is skipped where there is not.

        Args:
            what: the measurement in words.
            family: as in `measure`.
            times: what it is expected to take, by the others of its family.
        """
        expected, left = times * self.expected(family), self.budget.left()
        if expected <= left:
            return True
        why = f"it may take {expected:.0f} s and {max(left, 0):.0f} s remain"
        self._no_time(what, family, why)
        return False

    def add(self, key: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
        record = plain({**key, **values})
        self.results.append(record)
        self.write()
        return record

    def measure(
        self,
        key: dict[str, Any],
        family: str,
        work: Callable[[], dict[str, Any]],
    ) -> dict[str, Any] | None:
        """The record of one measurement; None where there was no time for it.

        What a device refuses, e.g. for want of memory, is a record too, with `failed`.

        Args:
            key: what is measured.
            family: measurements that take about as long.
            work: measures it.
        """
        if not self.fits(named(key), family):
            return None
        self.say(named(key))
        began = self.budget.clock()
        values = attempt(work)
        self.took(family, self.budget.clock() - began)
        return self.add(key, values)

    def measure_together(self, jobs: list[Job], family: str, workers: int) -> None:
        """Records of jobs that wait for the compiler, some at a time, as they end.

        Args:
            jobs: (key, work) as in `measure`.
            family: as in `measure`.
            workers: threads.
        """
        for start in range(0, len(jobs), workers):
            group = [
                (key, work)
                for key, work in jobs[start : start + workers]
                if self.fits(named(key), family)
            ]
            if not group:
                continue
            self.say("; ".join(named(key) for key, _ in group))
            began = self.budget.clock()
            with ThreadPoolExecutor(workers) as pool:
                running = {pool.submit(attempt, work): key for key, work in group}
                # On disk at once: who is killed while others compile keeps these.
                for one in as_completed(running):
                    self.add(running[one], one.result())
            self.took(family, self.budget.clock() - began)

    def took(self, family: str, seconds: float) -> None:
        self.longest[family] = max(seconds, self.longest.get(family, 0.0))


def named(key: Mapping[str, Any]) -> str:
    """A measurement in words."""
    return ", ".join(str(x) for x in key.values() if not isinstance(x, Mapping))


def attempt(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What work returns, or how it failed: whatever it is, the rest goes on."""
    try:
        return work()
    except Exception as error:
        return failed(error)


def failed(error: Exception) -> dict[str, Any]:
    """What a record says of a measurement that ended in an error."""
    text = " ".join(str(error).split())[:LONGEST_MESSAGE]
    kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
    return {"failed": f"{kind}{text}"}


def plain(value: Any) -> Any:
    """As JSON can hold it: a number that is not finite becomes a word."""
    if isinstance(value, Mapping):
        return {str(name): plain(x) for name, x in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(x) for x in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def steady_seconds(
    side: Callable[[], Any],
    repeats: int,
    enough: float = 1.0,
    clock: Callable[[], float] = time.perf_counter,
) -> list[float]:
    """Seconds of some runs after one that does not count.

    Args:
        side: runs once and returns when it is done.
        repeats: the most runs.
        enough: no more runs once they took so many seconds; a first run that took as
            long is the result.
        clock: tells the time.
    """
    began = clock()
    side()
    first = clock() - began
    if first > enough:
        return [first]
    times: list[float] = []
    while len(times) < repeats and (not times or sum(times) < enough):
        began = clock()
        side()
        times.append(clock() - began)
    return times
