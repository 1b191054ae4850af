"""Progress of long work: a bar in a terminal, a line now and then elsewhere."""

import sys
import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from jaxdd.devices import hosts
from jaxdd.storage.paths import shown

LINE_SECONDS = 10.0  # between lines when the output is not a terminal


class Bar:
    """`with Bar("dsa", 300, where) as bar: bar(step, loss, seconds_per_step)`.

    Work without a loss is counted: `bar.count(done, total, seconds_per_unit)`.
    """

    def __init__(self, name: str, total: int, writes: str, unit: str = "step"):
        self.name, self.total, self.writes = shown(name), total, shown(writes)
        self.unit = unit
        self.console = Console(stderr=True)
        self.live = self.console.is_terminal and hosts.primary()
        self.last = 0.0

    def __enter__(self) -> "Bar":
        say(f"{self.name}: writing {self.writes}")
        columns = (
            # Names come from data: "[/b]" is no markup, and a line stays one line.
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        self.progress = Progress(*columns, console=self.console, transient=True)
        self.task = self.progress.add_task(self.name, total=self.total, note="...")
        if self.live:
            self.progress.start()
        return self

    def __call__(self, step: int, loss: float, seconds: float) -> None:
        self._show(step, f"loss {loss:.4g}", seconds)

    def count(self, done: int, total: int, seconds: float) -> None:
        """Progress of work that has no loss; the total may turn out to be another."""
        self.total = total
        self.progress.update(self.task, total=total)
        self._show(done, "", seconds)

    def _show(self, done: int, note: str, seconds: float) -> None:
        self.progress.update(self.task, completed=done, note=note)
        now = time.monotonic()
        if not self.live and now - self.last > LINE_SECONDS:
            self.last = now
            left = (self.total - done) * seconds
            parts = [f"{self.unit} {done}/{self.total}", *([note] if note else [])]
            parts += [f"{seconds:.3g} s/{self.unit}", f"{left:.0f} s left"]
            say(f"{self.name}: {', '.join(parts)}")

    def __exit__(self, *exception) -> None:
        if self.live:
            self.progress.stop()


def say(text: str) -> None:
    """Tell what comes next, on standard error; of several processes one speaks."""
    if not hosts.primary():
        return
    print(text, file=sys.stderr, flush=True)
