"""`metrics.jsonl`: the measurements of a run, step by step."""

import contextlib
import json
from pathlib import Path
from typing import Any

from jaxdd.devices import hosts
from jaxdd.errors import UserError
from jaxdd.storage import records
from jaxdd.storage.files import finite, write_atomically
from jaxdd.storage.paths import existing_file, reason, shown

_LINE = records.mapping(
    step=records.integer(),
    seconds=records.number(0),
    others=records.maybe(records.number()),
)


_REMOVABLE = "remove it or choose another --workdir"


class Metrics:
    """`metrics.jsonl`: one line per logged step, never ahead of what can be resumed.

    Args:
        folder: the workdir; None keeps the lines in memory and writes nothing.
        step: the step from which the run continues; later lines and a half-written
            last line are dropped, because they will be computed again.

    Attributes:
        lines: the lines up to that step.
        unreadable: number of damaged lines that were dropped, without a half-written
            last line, which a kill leaves.

    Raises:
        UserError: the file cannot be read or written.
    """

    def __init__(self, folder: Path | None, step: int):
        self.path = None if folder is None else folder / "metrics.jsonl"
        self.lines: list[dict[str, Any]] = []
        self.unreadable = 0
        if self.path is not None:
            self._take_up(self.path, step)

    def _take_up(self, path: Path, step: int) -> None:
        """Take over the lines of a file up to `step`, and drop the others from it."""
        *whole, last = _content(path).split(b"\n")
        for text in whole:
            if text.strip() and not self._read(text, step):
                self.unreadable += 1
        self._read(last, step)
        write_atomically(path, "".join(map(_line, self.lines)))

    def _read(self, text: bytes, step: int) -> bool:
        """Append a line up to `step`; return whether the text is a line."""
        try:
            line = records.parse(text, _LINE)
        except ValueError:
            return False
        if line["step"] <= step:
            self.lines.append(line)
        return True

    @property
    def damage(self) -> str | None:
        """A sentence about the lines that could not be read, None if all could."""
        if self.path is None or not self.unreadable:
            return None
        return (
            f"warning: {self.unreadable} of the lines of {shown(self.path)} cannot be "
            "read and are left out"
        )

    @property
    def seconds(self) -> float:
        """Seconds spent up to the last line, over all starts of the run."""
        return self.lines[-1]["seconds"] if self.lines else 0.0

    def write(self, line: dict[str, Any]) -> bool:
        """Append one line (with `step` and `seconds`) unless the file has that step.

        Numbers that are not finite become null.

        Returns:
            Whether the line is a new one, which `lines` then ends with.

        Raises:
            UserError: the disk refuses.
        """
        if self.lines and line["step"] <= self.lines[-1]["step"]:
            return False
        line = finite(line)
        self.lines.append(line)
        if self.path is None or not hosts.primary():
            return True
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(_line(line))
        except OSError as error:
            raise UserError(
                f"cannot write {shown(self.path)}: {reason(error)}; free the disk and "
                "start the same command again"
            ) from error
        return True


def _content(path: Path) -> bytes:
    """The content of a metrics file; nothing where there is none."""
    if not path.exists():
        return b""
    try:
        return existing_file(path, "the file", _REMOVABLE).read_bytes()
    except OSError as error:
        raise UserError(
            f"cannot read {shown(path)} ({reason(error)}): {_REMOVABLE}"
        ) from error


def _line(line: dict[str, Any]) -> str:
    return json.dumps(line, allow_nan=False) + "\n"


def write_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    """Write all lines of a metrics.jsonl, or nothing."""
    write_atomically(path, "".join(_line(finite(line)) for line in lines))


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of a finished run; without damaged ones, and none without the file.

    Raises:
        UserError: the file cannot be read.
    """
    lines = []
    for text in _content(folder / "metrics.jsonl").splitlines():
        with contextlib.suppress(ValueError):
            lines.append(records.parse(text, _LINE))
    return lines
