"""Some processes at a time, until all are through or the time is over."""

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from jaxdd.errors import UserError
from jaxdd.progress import say
from jaxdd.storage.signals import Signals, ending_within

# From the first signal, a run saves its state and ends within ten seconds. What waits
# for it must not end before, or the seconds of the run would be lost.
GRACE = 20.0
POLL = 0.2
# Less than this is not worth starting a process for.
LEAST = 20.0
# Exit codes of a run that a signal stopped, before and after it had a handler.
STOPPED = (-signal.SIGTERM, 128 + signal.SIGTERM)


@dataclass
class Task:
    """A process to run, and what has to be there before.

    Attributes:
        name: of the task, as others name it.
        program: of `experiments`, to be run with `flags`.
        flags: by name.
        after: names of tasks that must have ended well.
    """

    name: str
    program: str
    flags: Mapping[str, Any]
    after: Sequence[str] = ()

    @property
    def arguments(self) -> list[str]:
        flags = [f"--{name}={value}" for name, value in self.flags.items()]
        return [sys.executable, "-m", f"experiments.{self.program}", *flags]


class _Running(NamedTuple):
    task: Task
    process: subprocess.Popen
    began: float


Ended: TypeAlias = Callable[[Task, float, bool], None]


def run(
    tasks: Sequence[Task],
    ended: Ended,
    *,
    at_once: int,
    seconds: float | None,
    logs: Path,
) -> list[str]:
    """Run tasks in their order, `at_once` of them at a time.

    A signal stops all of them in the same way as the end of the time: they save their
    states.

    Args:
        tasks: those that are not finished.
        ended: told of every task that ended, with its seconds, and whether it is done.
        at_once: processes at a time.
        seconds: until they are stopped, so that they have ended GRACE later; None for
            no limit.
        logs: folder for `NAME.log`, what processes say; a single one says it itself.

    Returns:
        Names of those that failed.

    Raises:
        signals.Interrupted: a signal stopped it.
    """
    pool = _Pool(tasks, ended, at_once, logs)
    end = None if seconds is None else time.monotonic() + seconds
    with ending_within(GRACE + 5), Signals("run").installed(logs) as signals:
        try:
            while pool.waiting or pool.running:
                left = math.inf if end is None else end - time.monotonic()
                if signals.received or left <= 0:
                    break
                if left >= LEAST:
                    pool.start()
                if not pool.running:
                    break  # no time to start another, or it waits for what failed
                time.sleep(POLL)
                pool.collect()
                signals.done = len(tasks) - len(pool.open_names)
        finally:
            pool.stop()
    return pool.failed


class _Pool:
    """Tasks that wait, processes that run, and what became of the others.

    Args:
        tasks, ended, at_once, logs: as of `run`.

    Attributes:
        open_names: of tasks that have not ended well.
        failed: names of those that ended by themselves and not well.
    """

    def __init__(self, tasks: Sequence[Task], ended: Ended, at_once: int, logs: Path):
        self.ended, self.at_once, self.logs = ended, at_once, logs
        self.waiting, self.running = list(tasks), list[_Running]()
        self.open_names = {task.name for task in tasks}
        self.failed: list[str] = []

    def start(self) -> None:
        """Start the first tasks that can be started."""
        for task in list(self.waiting):
            if len(self.running) >= self.at_once:
                return
            if self.open_names.intersection(task.after):
                continue
            self.waiting.remove(task)
            say(f"{task.name}: started")
            process = self._process(task)
            self.running.append(_Running(task, process, time.monotonic()))

    def _process(self, task: Task) -> subprocess.Popen:
        """Its process; several share the memory of a device as they need it."""
        if self.at_once == 1:
            return subprocess.Popen(task.arguments, stdout=sys.stderr, process_group=0)
        environment = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", **os.environ}
        with open(self._log(task), "ab") as log:
            return subprocess.Popen(
                task.arguments, stdout=log, stderr=log, env=environment, process_group=0
            )

    def _log(self, task: Task) -> Path:
        return self.logs / f"{task.name}.log"

    def collect(self) -> None:
        """Take those that ended off the list."""
        for one in list(self.running):
            code = one.process.poll()
            if code is None:
                continue
            if code == 0:
                self.open_names.discard(one.task.name)
            elif code not in STOPPED:
                self.failed.append(one.task.name)
                log = self._log(one.task)
                place = f", see {log}" if self.at_once > 1 else ""
                say(f"{one.task.name}: failed with exit code {code}{place}")
            self._end(one, code == 0)

    def _end(self, one: _Running, done: bool) -> None:
        self.running.remove(one)
        self.ended(one.task, time.monotonic() - one.began, done)

    def stop(self) -> None:
        """Have those that still run save their states, and wait for them."""
        for one in self.running:
            say(f"{one.task.name}: stopped, the same command goes on")
            one.process.send_signal(signal.SIGTERM)
        until = time.monotonic() + GRACE
        while self.running and time.monotonic() < until:
            time.sleep(POLL)
            self.collect()
        for one in list(self.running):
            one.process.kill()
            one.process.wait()
            self._end(one, False)


def refuse_too_short(minutes: float | None) -> None:
    """Refuse a time in which nothing could be started and stopped.

    Raises:
        UserError: it is too short.
    """
    least = (LEAST + GRACE) / 60
    if minutes is not None and minutes < least:
        raise UserError(
            f"--minutes must be at least {least:.2g}, the time to start a run and to "
            f"let it save its state, not {minutes:g}"
        )
