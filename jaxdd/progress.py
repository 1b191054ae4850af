"""Reports from long work, as events for whoever listens; the library never prints.

Long work calls `say(sentence)` and opens a `Stage`. Both send events to the callback
that `listening` installed:

    with jaxdd.progress.listening(print):
        jaxdd.evaluate("distilled.npz")

`jaxdd.report.bar` is a callback that draws a bar. Where nobody listens, sentences go to
the logger "jaxdd", at the level INFO.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import NamedTuple, TypeAlias

import numpy as np

from jaxdd.devices import hosts
from jaxdd.errors import UserError, quoted


class Message(NamedTuple):
    """A sentence about the work: what comes next, or a warning."""

    text: str

    def __str__(self) -> str:
        return self.text


class Started(NamedTuple):
    """A stage of known length begins.

    Attributes:
        stage: its name, which may come from data: escape it before it is displayed.
        total: number of units.
        unit: what is counted, "step" or "network" for example.
        writes: files that the stage writes, as a text; empty where it writes none.
    """

    stage: str
    total: int
    unit: str
    writes: str = ""

    def __str__(self) -> str:
        return f"{self.stage}: writing {self.writes}" if self.writes else self.stage


class Progress(NamedTuple):
    """A stage has advanced.

    Attributes:
        stage: its name, as in `Started`.
        done: units that are finished, those of earlier starts included.
        total: number of units; an estimate may change on the way.
        unit: what is counted.
        seconds_each: seconds that one unit takes.
        loss: loss of the last unit; None for work without one.
    """

    stage: str
    done: int
    total: int
    unit: str
    seconds_each: float
    loss: float | None = None

    @property
    def seconds_left(self) -> float:
        """Estimated seconds until the stage ends."""
        return (self.total - self.done) * self.seconds_each

    def __str__(self) -> str:
        parts = [f"{self.unit} {self.done}/{self.total}"]
        if self.loss is not None:
            parts.append(f"loss {self.loss:.4g}")
        parts.append(f"{self.seconds_each:.3g} s/{self.unit}")
        parts.append(f"{self.seconds_left:.0f} s left")
        return f"{self.stage}: {', '.join(parts)}"


class Ended(NamedTuple):
    """A stage is over, finished or not."""

    stage: str

    def __str__(self) -> str:
        return f"{self.stage}: ended"


class Measured(NamedTuple):
    """A run has logged a step.

    Attributes:
        stage: its name, as in `Started`.
        step: completed updates, those of earlier segments included.
        values: what else a line of `metrics.jsonl` has, by name; None is not finite.
    """

    stage: str
    step: int
    values: Mapping[str, float | None]

    def __str__(self) -> str:
        numbers = (
            f"{name} {value:.4g}"
            for name, value in self.values.items()
            if value is not None
        )
        return f"{self.stage}: step {self.step}: {', '.join(numbers)}"


class Pictures(NamedTuple):
    """A run has images to look at.

    Attributes:
        stage: its name, as in `Started`.
        step: completed updates, as in `Measured`.
        class_names: names of the K classes.
        images: () -> [K, n, H, W, C] in [0, 1]; it works only until the callback
            returns, and costs nothing where it is not called.
    """

    stage: str
    step: int
    class_names: tuple[str, ...]
    images: Callable[[], np.ndarray]

    def __str__(self) -> str:
        return f"{self.stage}: images of step {self.step}"


Event: TypeAlias = Message | Started | Progress | Measured | Pictures | Ended
Callback: TypeAlias = Callable[[Event], object]

_LOG = logging.getLogger("jaxdd")
_callback: ContextVar[Callback | None] = ContextVar("progress", default=None)


@contextlib.contextmanager
def listening(callback: Callback | None) -> Iterator[None]:
    """Send all events inside the `with` block to a callback.

    Args:
        callback: called with one `Event` at a time, in the first of several processes
            only. An exception that it raises ends the work and reaches the caller; a
            run with a workdir then resumes as after any other interruption. With None,
            an outer callback stays in place.

    Raises:
        UserError: it cannot be called.

    Example:
        >>> events = []
        >>> with listening(events.append):
        ...     say("training 5 networks")
        ...     with Stage("mlp", total=5, unit="network") as stage:
        ...         stage.count(done=2, total=5, seconds=0.5)
        >>> print(events[0])
        training 5 networks
        >>> print(events[2])
        mlp: network 2/5, 0.5 s/network, 2 s left
    """
    if callback is None:
        yield
        return
    if not callable(callback):
        raise UserError(
            f"progress must be a function of events, not {quoted(callback)}: "
            "jaxdd.report.bar draws a bar"
        )
    token = _callback.set(callback)
    try:
        yield
    finally:
        _callback.reset(token)


@contextlib.contextmanager
def also(callback: Callback) -> Iterator[None]:
    """Send all events inside the `with` block to a callback beside the one in place.

    Example:
        >>> first, second = [], []
        >>> with listening(first.append), also(second.append):
        ...     say("training")
        >>> first == second == [Message("training")]
        True
    """
    outer = _callback.get()

    def both(event: Event) -> None:
        if outer is not None:
            outer(event)
        callback(event)

    with listening(both):
        yield


def say(text: str) -> None:
    """Send a sentence to the callback."""
    _send(Message(text))


class Stage:
    """Work of known length: `with Stage("dsa", 300) as stage: stage(step, loss, s)`.

    Work without a loss is counted by `count`.

    Args:
        name: of the stage; texts from data are sent as they are.
        total: number of units.
        writes: the files that the stage writes, as a text; empty for none.
        unit: what is counted.
    """

    def __init__(self, name: str, total: int, writes: str = "", unit: str = "step"):
        self.name, self.total, self.writes, self.unit = name, total, writes, unit

    def __enter__(self) -> "Stage":
        _send(Started(self.name, self.total, self.unit, self.writes))
        return self

    def __call__(self, step: int, loss: float, seconds: float) -> None:
        """Report completed steps, the loss of the last one and seconds per step."""
        self._advance(step, seconds, loss)

    def count(self, done: int, total: int, seconds: float) -> None:
        """Report finished units of work without a loss; the total may have changed."""
        self.total = total
        self._advance(done, seconds, None)

    def measured(self, step: int, values: Mapping[str, float | None]) -> None:
        """Report what was logged of a step; see `Measured`."""
        _send(Measured(self.name, step, values))

    def pictures(
        self, step: int, names: tuple[str, ...], images: Callable[[], np.ndarray]
    ) -> None:
        """Report that there are images to look at; see `Pictures`."""
        _send(Pictures(self.name, step, names, images))

    def _advance(self, done: int, seconds: float, loss: float | None) -> None:
        _send(Progress(self.name, done, self.total, self.unit, seconds, loss))

    def __exit__(self, kind: type | None, *exception: object) -> None:
        # The first error is the one to report, and the callback may have raised it.
        failed = contextlib.suppress(Exception) if kind else contextlib.nullcontext()
        with failed:
            _send(Ended(self.name))


def _send(event: Event) -> None:
    callback = _callback.get()
    if callback is not None and hosts.primary():
        callback(event)
    elif callback is None and isinstance(event, Message):
        _LOG.info("%s", event.text)
