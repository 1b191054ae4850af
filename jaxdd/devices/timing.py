"""Seconds of a computation, with the seconds of compiling reported separately."""

import time

import jax

# JAX reports tracing, lowering and compiling (or reading a compiled program).
COMPILING = "/jax/core/compile/"


class Stopwatch:
    """`with Stopwatch() as watch: ...`, then `watch.seconds`, `watch.compile_seconds`.

    Attributes:
        total_seconds: seconds between entering and leaving the context.
        compile_seconds: seconds thereof in which JAX compiled; nested reports count
            once.
        seconds: the remaining seconds.

    Example:
        >>> with Stopwatch() as watch:
        ...     _ = jax.jit(lambda x: x + 1)(1.0)
        >>> watch.total_seconds >= watch.compile_seconds > 0
        True
    """

    total_seconds = compile_seconds = 0.0

    def __enter__(self) -> "Stopwatch":
        self.reported: list[tuple[float, float]] = []
        jax.monitoring.register_event_duration_secs_listener(self._on_event)
        self.began = time.perf_counter()
        return self

    def __exit__(self, *exception) -> None:
        ended = time.perf_counter()
        jax.monitoring.unregister_event_duration_listener(self._on_event)
        self.total_seconds = ended - self.began
        covered = self.began
        for first, last in sorted(self.reported):
            first = max(first, covered)
            self.compile_seconds += max(0.0, last - first)
            covered = max(covered, last)

    @property
    def seconds(self) -> float:
        return self.total_seconds - self.compile_seconds

    def _on_event(self, event: str, duration_secs: float, **kwargs: str | int) -> None:
        if event.startswith(COMPILING):
            now = time.perf_counter()
            self.reported.append((now - duration_secs, now))
