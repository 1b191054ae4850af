"""Damaged files of every kind, read and used: a sentence, or a thing that works.

    python -m tests.faults.fuzz --kind=artifacts --count=3000 --seed=0

A case is damaged from its own seed, so that one alone can be repeated with
`--first=NUMBER --count=1`. What is refused has to be refused by a `UserError` of one
short line; what is not has to be usable. There is nothing else: no other exception, no
hang, no gigabytes.
"""

import argparse
import contextlib
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

from jaxdd.errors import UserError

LONGEST = 700  # characters of a sentence
SECONDS = 20.0  # for one case
MEGABYTES = 600  # more than before it


class Subject(NamedTuple):
    """Something that is damaged, then used.

    Attributes:
        build: (folder): writes it, whole, into an empty folder.
        damage: (rng, folder) -> what was done to it, in a few words.
        use: (folder): reads it and does with it what programs do; raises UserError
            where it refuses, and AssertionError where what it read is not usable.
    """

    build: Callable[[Path], None]
    damage: Callable[[Random, Path], str]
    use: Callable[[Path], None]


class Fault(AssertionError):
    """What should not happen."""


class _TooLong(BaseException):
    """Not an Exception, so that no reader takes it for damage."""


def outcome(subject: Subject, folder: Path) -> str:
    """ "refused" or "usable".

    Raises:
        Fault: anything else.
    """
    try:
        with _limits():
            subject.use(folder)
    except UserError as error:
        message = str(error)
        # Nor can a terminal show control characters and lone surrogates.
        if not message.isprintable() or not 0 < len(message) < LONGEST:
            raise Fault(f"no short line: {len(message)}, {message[:300]!r}") from error
        return "refused"
    except _TooLong:
        raise Fault(f"takes more than {SECONDS:g} s") from None
    except (Exception, RecursionError) as error:
        last = "".join(traceback.format_exception(error)[-4:])
        raise Fault(f"{type(error).__name__}: {str(error)[:300]}\n{last}") from error
    return "usable"


@contextlib.contextmanager
def _limits() -> Iterator[None]:
    """End what takes too long, and tell what takes too much."""

    def stop(signum, frame):
        raise _TooLong

    before = signal.signal(signal.SIGALRM, stop)
    resident = resident_mb(reset=True)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    taken = resident_mb() - resident
    if taken > MEGABYTES:
        raise Fault(f"takes {taken:.0f} MB")


def resident_mb(reset: bool = False) -> float:
    """The largest resident set since it was last reset; 0 where there is no /proc."""
    with contextlib.suppress(OSError):
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0.0


class Result(NamedTuple):
    """What became of one case."""

    subject: str
    number: int
    outcome: str  # "refused", "usable" or "fault"
    damage: str
    message: str  # of a fault


def run(
    subjects: Mapping[str, Subject], numbers: Sequence[int], seed: int, folder: Path
) -> Iterator[Result]:
    """Case after case, the subjects in turn.

    Args:
        subjects: by name.
        numbers: which cases.
        seed: of all of them.
        folder: an empty one to work in.
    """
    names = list(subjects)
    for number in numbers:
        name = names[number % len(names)]
        subject, whole = subjects[name], folder / "whole" / name
        if not whole.exists():
            whole.mkdir(parents=True)
            subject.build(whole)
        here = folder / "case"
        shutil.copytree(whole, here)
        try:
            rng = Random(f"{seed} {name} {number}")
            damage = subject.damage(rng, here)
            try:
                yield Result(name, number, outcome(subject, here), damage, "")
            except Fault as fault:
                yield Result(name, number, "fault", damage, str(fault))
        finally:
            shutil.rmtree(here)


def main(arguments: Sequence[str]) -> int:
    """The command line; 1 where there was a fault."""
    from tests.faults.subjects import KINDS

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kind", choices=list(KINDS), required=True)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    numbers = range(asked.first, asked.first + asked.count)
    counts: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for result in run(KINDS[asked.kind], numbers, asked.seed, Path(folder)):
            counts.setdefault(result.subject, Counter())[result.outcome] += 1
            if result.outcome == "fault":
                print(f"{result.subject} {result.number} ({result.damage}): "
                      f"{result.message}")  # fmt: skip
    total: Counter[str] = sum(counts.values(), Counter())
    for name, found in [*counts.items(), ("all", total)]:
        print(
            f"{name:>20}: {found.total():5} damaged, {found['refused']:5} refused, "
            f"{found['usable']:5} usable, {found['fault']:3} faults"
        )
    return int(total["fault"] > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
