"""A progress bar on standard error, or a line now and then where none can be drawn."""

import math
import sys
import threading
import time

from rich import progress as rich
from rich.console import Console

from jaxdd.progress import Ended, Event, Message, Progress, Started
from jaxdd.storage.paths import shown

LINE_SECONDS = 10.0  # between lines where the output is no terminal
NOTEBOOK_SECONDS = 0.5  # between drawings in a notebook
WIDTH = 20  # characters of a bar in a notebook


class Bar(threading.local):
    """A callback for `progress.listening`: draws stages and prints messages.

    Runs in several threads have a bar each.
    """

    live: rich.Progress | None = None  # in a terminal
    notebook = False
    open_line = 0  # characters of a notebook's line that the next event overwrites
    last = -math.inf  # when a line was printed

    def __call__(self, event: Event) -> None:
        """Draw one event.

        Example:
            >>> from jaxdd.progress import Message
            >>> bar(Message("training 5 networks"))  # on standard error
        """
        match event:
            case Message(text):
                self._line(text)
            case Started():
                self._start(event)
            case Progress():
                self._advance(event)
            case Ended():
                self._stop()

    def _start(self, event: Started) -> None:
        self._stop()  # a stage whose end was never sent
        self.last = -math.inf
        name = shown(event.stage)
        self._line(str(event._replace(stage=name, writes=shown(event.writes))))
        console = Console(stderr=True)
        self.notebook = console.is_jupyter
        if console.is_terminal:
            self.live = _drawing(console)
            self.task = self.live.add_task(name, total=event.total, note="...")
            self.live.start()

    def _advance(self, event: Progress) -> None:
        if self.live is not None:
            note = "" if event.loss is None else f"loss {event.loss:.4g}"
            self.live.update(
                self.task, completed=event.done, total=event.total, note=note
            )
            return
        interval = NOTEBOOK_SECONDS if self.notebook else LINE_SECONDS
        now = time.monotonic()
        if now - self.last < interval and event.done < event.total:
            return
        self.last = now
        text = str(event._replace(stage=shown(event.stage)))
        if self.notebook:
            self._overwrite(f"{_filled(event.done / max(event.total, 1))} {text}")
        else:
            self._line(text)

    def _overwrite(self, text: str) -> None:
        """Print a line that the next one replaces."""
        print(f"\r{text.ljust(self.open_line)}", end="", file=sys.stderr, flush=True)
        self.open_line = len(text)

    def _line(self, text: str) -> None:
        begin = "\n" if self.open_line else ""
        self.open_line = 0
        print(f"{begin}{text}", file=sys.stderr, flush=True)

    def _stop(self) -> None:
        if self.live is not None:
            self.live.stop()
            self.live = None
        if self.open_line:
            self.open_line = 0
            print(file=sys.stderr, flush=True)


def _filled(share: float) -> str:
    full = round(WIDTH * min(max(share, 0.0), 1.0))
    return "█" * full + "░" * (WIDTH - full)


def _drawing(console: Console) -> rich.Progress:
    columns = (
        # Names come from data: "[/b]" is no markup, and a line stays one line.
        rich.TextColumn("{task.description}", markup=False),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        rich.TextColumn("{task.fields[note]}", markup=False),
        rich.TimeElapsedColumn(),
        rich.TextColumn("left"),
        rich.TimeRemainingColumn(),
    )
    return rich.Progress(*columns, console=console, transient=True)


bar = Bar()
