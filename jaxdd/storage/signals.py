"""SIGTERM and SIGINT during long work: it saves its state and ends in time."""

import contextlib
import os
import signal
import sys
import threading
from typing import NoReturn

from jaxdd.devices import hosts

# A signal ends the process within 10 seconds, whatever the device computes.
GRACE_SECONDS = 9.0


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
    """Turn SIGTERM and SIGINT into a flag, with a deadline for the process.

    Inside `with Signals().installed() as signals:`, `signals.received` is the number of
    the first signal, or None. The work checks it, saves and raises `Interrupted`; after
    GRACE_SECONDS the process ends in any case. A signal that arrives after the last
    check raises `Interrupted` when the context is left: everything is saved by then.

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

    def __call__(self, signum, frame):
        if self.received is None:
            self.received = signum

    def agreed(self) -> int:
        """The first signal that any process received, or 0."""
        return int(hosts.most(float(self.received or 0)))

    def stop(self, signum: int) -> NoReturn:
        """Raise `Interrupted` for a signal that was agreed on; the caller has saved."""
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
            yield  # only the main thread may set handlers
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
        """End the process if a signal is not obeyed in time.

        A thread does this, because Python runs handlers between bytecodes only: a long
        computation on the device delays them.
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
