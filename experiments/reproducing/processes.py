"""Some processes at a time, until all are through or the time is over."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxdd.errors import UserError
from jaxdd.progress import say
from jaxdd.storage.signals import Signals

# From the first signal, a run saves its state and ends within ten seconds.
GRACE = 20.0
POLL = 0.2
# Less than this is not worth starting a process for.
LEAST = 20.0


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


@dataclass
class _Running:
    task: Task
    process: subprocess.Popen
    began: float = field(default_factory=time.monotonic)


def run(
    tasks: Sequence[Task],
    ended: Callable[[Task, float, bool], None],
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
    end = None if seconds is None else time.monotonic() + seconds
    waiting, running = list(tasks), list[_Running]()
    open_names = {task.name for task in tasks}
    failed: list[str] = []
    with Signals("run").installed() as signals:
        try:
            while waiting or running:
                left = None if end is None else end - time.monotonic()
                if signals.received or (left is not None and left <= 0):
                    break
                _start(waiting, running, open_names, at_once, left, logs)
                if not running:
                    break  # no time to start another, or it waits for what failed
                time.sleep(POLL)
                failed += _collect(running, open_names, ended, logs)
                signals.done = len(tasks) - len(open_names)
        finally:
            _stop(running, open_names, ended, logs)
    return failed


def _start(
    waiting: list[Task],
    running: list[_Running],
    open_names: set[str],
    at_once: int,
    left: float | None,
    logs: Path,
) -> None:
    """Start the first tasks that can be started."""
    for task in list(waiting):
        if len(running) >= at_once or (left is not None and left < LEAST):
            return
        if open_names.intersection(task.after):
            continue
        waiting.remove(task)
        say(f"{task.name}: started")
        running.append(_Running(task, _process(task, at_once, logs)))


def _process(task: Task, at_once: int, logs: Path) -> subprocess.Popen:
    """The process of a task; several share the memory of a device as they need it."""
    if at_once == 1:
        return subprocess.Popen(task.arguments, stdout=sys.stderr, process_group=0)
    environment = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", **os.environ}
    with open(_log(task, logs), "ab") as log:
        return subprocess.Popen(
            task.arguments, stdout=log, stderr=log, env=environment, process_group=0
        )


def _log(task: Task, logs: Path) -> Path:
    return logs / f"{task.name}.log"


def _collect(
    running: list[_Running],
    open_names: set[str],
    ended: Callable[[Task, float, bool], None],
    logs: Path,
) -> list[str]:
    """Take those that ended off the list; the names of those that failed."""
    failed = []
    for one in list(running):
        code = one.process.poll()
        if code is None:
            continue
        running.remove(one)
        seconds = time.monotonic() - one.began
        if code == 0:
            open_names.discard(one.task.name)
        elif code not in (128 + signal.SIGTERM, -signal.SIGTERM):
            failed.append(one.task.name)
            place = (
                f", see {_log(one.task, logs)}" if _log(one.task, logs).exists() else ""
            )
            say(f"{one.task.name}: failed with exit code {code}{place}")
        ended(one.task, seconds, code == 0)
    return failed


def _stop(
    running: list[_Running],
    open_names: set[str],
    ended: Callable[[Task, float, bool], None],
    logs: Path,
) -> None:
    """Have those that still run save their states, and wait for them."""
    for one in running:
        say(f"{one.task.name}: stopped, the same command goes on")
        one.process.send_signal(signal.SIGTERM)
    until = time.monotonic() + GRACE
    while running and time.monotonic() < until:
        time.sleep(POLL)
        _collect(running, open_names, ended, logs)
    for one in running:
        one.process.kill()
        one.process.wait()
        ended(one.task, time.monotonic() - one.began, False)


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
