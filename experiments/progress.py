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

LINE_SECONDS = 10.0  # between lines when the output is not a terminal


class Bar:
    """`with Bar("dsa", 300, where) as bar: bar(step, loss, seconds_per_step)`."""

    def __init__(self, name: str, total: int, writes: str):
        self.name, self.total, self.writes = name, total, writes
        self.console = Console(stderr=True)
        self.last = 0.0

    def __enter__(self) -> "Bar":
        say(f"{self.name}: writing {self.writes}")
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        self.progress = Progress(*columns, console=self.console, transient=True)
        self.task = self.progress.add_task(self.name, total=self.total, loss="...")
        if self.console.is_terminal:
            self.progress.start()
        return self

    def __call__(self, step: int, loss: float, seconds_per_step: float) -> None:
        self.progress.update(self.task, completed=step, loss=f"{loss:.4g}")
        now = time.monotonic()
        if not self.console.is_terminal and now - self.last > LINE_SECONDS:
            self.last = now
            left = (self.total - step) * seconds_per_step
            print(
                f"{self.name}: step {step}/{self.total}, loss {loss:.4g}, "
                f"{seconds_per_step:.3g} s/step, {left:.0f} s left",
                file=sys.stderr,
                flush=True,
            )

    def __exit__(self, *exception) -> None:
        if self.console.is_terminal:
            self.progress.stop()


def say(text: str) -> None:
    """Tell what comes next, on standard error."""
    print(text, file=sys.stderr, flush=True)
