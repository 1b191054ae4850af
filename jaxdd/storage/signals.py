"""Long work that a signal may end: in time, and with its state saved."""

import contextlib
import os
import signal
import sys
import threading
from typing import NoReturn

from jaxdd.devices import hosts

# A signal has to end the process within 10 seconds, whatever the device is doing.
GRACE_SECONDS = 9.0


class Interrupted(Exception):
    """A signal stopped the run after its state was saved.

    Args:
        signum: the signal.
        step: how far the work has come.
        unit: what is counted.
    """

    def __init__(self, signum: int, step: int, unit: str = "step"):
        super().__init__(f"stopped by {signal.Signals(signum).name} at {unit} {step}")
        self.signum, self.step = signum, step


class Signals:
    """Turn SIGTERM and SIGINT into a flag, with a deadline for the process.

    Inside `with Signals().installed() as signals:`, `signals.received` is the number of
    the first signal, or None. Whoever sees one saves and raises `Interrupted`; after
    GRACE_SECONDS the process ends in any case. A signal that nobody saw, since it came
    after the last look, raises `Interrupted` when the context is left: all that was
    done is saved by then.

    Args:
        unit: what is counted, for the sentence.

    Attributes:
        done: how far the work has come; kept by whoever does it.
    """

    NUMBERS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self, unit: str = "step"):
        self.unit, self.done = unit, 0
        self.received: int | None = None
        self.left = threading.Event()

    def __call__(self, signum, frame):
        if self.received is None:
            self.received = signum

    def agreed(self) -> int:
        """The first signal that any process received, or 0."""
        return int(hosts.most(float(self.received or 0)))

    def stop(self, signum: int) -> NoReturn:
        """Raise `Interrupted` by a signal that was agreed on; all is saved."""
        raise Interrupted(signum, self.done, self.unit)

    @contextlib.contextmanager
    def installed(self):
        with self._handlers():
            yield self
        if received := self.agreed():
            self.stop(received)

    @contextlib.contextmanager
    def _handlers(self):
        if threading.current_thread() is not threading.main_thread():
            yield  # a notebook's worker or a test: signals are not ours
            return
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        fd_before = signal.set_wakeup_fd(writer)
        before = {n: signal.signal(n, self) for n in self.NUMBERS}
        watcher = threading.Thread(target=self._watch, args=(reader,), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            self.left.set()
            for n, handler in before.items():
                signal.signal(n, handler)
            signal.set_wakeup_fd(fd_before)
            os.close(writer)
            watcher.join()
            os.close(reader)

    def _watch(self, reader: int) -> None:
        """End the process when a signal is not obeyed in time.

        A thread does this, since Python runs handlers between bytecodes only: a long
        computation on the device holds them up.
        """
        while caught := os.read(reader, 1):
            if caught[0] in self.NUMBERS and not self.left.wait(GRACE_SECONDS):
                print(
                    f"stopped by {signal.Signals(caught[0]).name} within a long "
                    "computation; the same command continues from the last saved step",
                    file=sys.stderr,
                    flush=True,
                )
                os._exit(128 + caught[0])
