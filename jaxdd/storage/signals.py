"""SIGTERM and SIGINT during long work: it saves its state and ends.

Work that is not in Python's hands, a compilation or a long dispatch, delays that. Only
a program may end the process meanwhile (`ending_within`): in a notebook the process is
not the library's, and a second Ctrl-C interrupts at once.
"""

import contextlib
import contextvars
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from jaxdd.devices import hosts

_deadline = contextvars.ContextVar[float | None]("seconds from a signal", default=None)
_alone = contextvars.ContextVar("handlers stay those of the caller", default=False)


@contextlib.contextmanager
def ending_within(seconds: float) -> Iterator[None]:
    """End the process by itself if a signal is not obeyed in time; for programs.

    Args:
        seconds: from the signal.
    """
    token = _deadline.set(seconds)
    try:
        yield
    finally:
        _deadline.reset(token)


@contextlib.contextmanager
def left_alone() -> Iterator[None]:
    """Install no handlers: nothing is kept, so that a signal need not wait."""
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


class Interrupted(Exception):
    """A signal stopped the run after its state was saved.

    Args:
        signum: number of the signal.
        step: number of units that are done.
        unit: name of the unit that is counted, for the message.
    """

    def __init__(self, signum: int, step: int, unit: str = "step"):
        super().__init__(f"stopped by {signal.Signals(signum).name} at {unit} {step}")
        self.signum, self.step = signum, step


class Signals:
    """Turn SIGTERM and SIGINT into a flag.

    Inside `with Signals().installed(folder) as signals:`, `signals.received` is the
    number of the first signal, or None. The work checks it, saves and raises
    `Interrupted`. A signal that arrives after the last check raises `Interrupted` when
    the context is left: everything is saved by then. A second one goes to the handler
    that was there before, where `ending_within` sets no deadline.

    Args:
        unit: name of the unit that is counted, for the message.

    Attributes:
        done: number of units that are done; the caller updates it.
        received: number of the first signal, None before.
    """

    NUMBERS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self, unit: str = "step"):
        self.unit, self.done = unit, 0
        self.received: int | None = None
        self.left = threading.Event()
        self.before: dict[int, Any] = {}

    def __call__(self, signum, frame):
        if self.received is None:
            self.received = signum
        elif _deadline.get() is None:
            signal.signal(signum, self.before[signum] or signal.SIG_DFL)
            signal.raise_signal(signum)

    def agreed(self) -> int:
        """The first signal that any process received, or 0."""
        return int(hosts.most(float(self.received or 0)))

    def stop(self, signum: int) -> NoReturn:
        """Raise `Interrupted` for a signal that was agreed on; the caller has saved."""
        raise Interrupted(signum, self.done, self.unit)

    @contextlib.contextmanager
    def installed(self, folder: Path | None) -> Iterator["Signals"]:
        """Handle signals in the block.

        Args:
            folder: where the work saves its state; None where it saves nothing, so that
                the handlers stay and Ctrl-C is a KeyboardInterrupt at once.

        Raises:
            Interrupted: a signal was received and nobody has obeyed it.
        """
        if folder is None or _alone.get():
            yield self
            return
        with self._handlers():
            yield self
        if received := self.agreed():
            self.stop(received)

    @contextlib.contextmanager
    def _handlers(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may set handlers
            return
        seconds = _deadline.get()
        deadline = contextlib.nullcontext()
        # The watcher first: it must not miss a signal that a handler has seen.
        with deadline if seconds is None else self._watcher(seconds):
            self.before = {n: signal.getsignal(n) for n in self.NUMBERS}
            try:
                for number in self.NUMBERS:
                    signal.signal(number, self)
                yield
            finally:
                for n, handler in self.before.items():
                    signal.signal(n, handler)

    @contextlib.contextmanager
    def _watcher(self, seconds: float) -> Iterator[None]:
        """A thread that ends the process if a signal is not obeyed in time.

        A thread does this, because Python runs handlers between bytecodes only: a long
        computation on the device delays them.
        """
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        fd_before = signal.set_wakeup_fd(writer)
        watcher = threading.Thread(
            target=self._watch, args=(reader, seconds), daemon=True
        )
        watcher.start()
        try:
            yield
        finally:
            self.left.set()
            signal.set_wakeup_fd(fd_before)
            os.close(writer)
            watcher.join()
            os.close(reader)

    def _watch(self, reader: int, seconds: float) -> None:
        while caught := os.read(reader, 1):
            if caught[0] in self.NUMBERS and not self.left.wait(seconds):
                print(
                    f"stopped by {signal.Signals(caught[0]).name} within a long "
                    "computation; the same command continues from the last saved step",
                    file=sys.stderr,
                    flush=True,
                )
                os._exit(128 + caught[0])
