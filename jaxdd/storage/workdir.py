"""A run's folder: one owner at a time, one configuration, crash-safe files."""

import contextlib
import errno
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

from jaxdd.devices import hosts
from jaxdd.errors import UserError, quoted
from jaxdd.storage import records
from jaxdd.storage.checkpoints import newest
from jaxdd.storage.files import (
    finite,
    make_folder,
    remove_abandoned,
    to_json,
    write_atomically,
)
from jaxdd.storage.paths import existing_file, reason, shown

# Keys of a configuration that may change between two starts of one run: they alter
# where things are or how far to go, not what a step computes.
FREE = ("steps", "workdir", "data_dir", "save_every")
# What another live process holds a lock with; any other error is the file system's.
_HELD = (errno.EWOULDBLOCK, errno.EAGAIN)


@contextlib.contextmanager
def owned(path: str | Path, lock: str = ".lock") -> Iterator[Path]:
    """Create and lock a workdir for as long as the context lasts.

    The lock belongs to the process, so a killed run leaves none behind. Where the
    system or the file system has no locks, a warning says so and the run goes on.

    Args:
        path: the folder.
        lock: name of the lock's file. Programs that write the same files share one.

    Raises:
        UserError: the folder is not writable, or another live run owns it.
    """
    folder = make_folder(path)
    if not hosts.primary():  # the primary process holds the lock for all
        yield folder
        return
    try:
        file = open(folder / lock, "a+")  # noqa: SIM115
    except OSError as error:
        raise UserError(
            f"cannot open {shown(folder / lock)} ({reason(error)}): remove it or "
            "choose another --workdir"
        ) from error
    with file:
        _acquire(file, folder)
        remove_abandoned(folder)
        yield folder


def _acquire(file: IO, folder: Path) -> None:
    """Lock an open file, or warn where there are no locks.

    Raises:
        UserError: another process holds it.
    """
    why = "this system has none"
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno in _HELD:
                raise UserError(
                    f"another live run owns {shown(folder)}: wait for it or choose "
                    "another --workdir"
                ) from error
            why = reason(error)
    warnings.warn(
        f"{shown(folder)} cannot be locked ({why}): start no second run in this folder "
        "while one is live",
        stacklevel=4,
    )


_RECORD = records.mapping(
    config=records.mapping(),
    resumed_at=records.list_of(records.integer()),
    optional={
        "kind": records.text(100),
        "timings": records.maybe(records.mapping(others=records.number(0))),
    },
)


class Record:
    """What a workdir knows of its run: the configuration and where it was resumed.

    Of a new run it is written at once; that of a known one is left as it is until
    `save`, so that a start that is refused later has changed nothing.

    Args:
        folder: the workdir, which the caller owns.
        config: all values of this start.
        kind: which experiment it is.
        identity: (values of a start) -> what of them makes it the same run; by default
            all but FREE.

    Attributes:
        known: the configuration of the start before, None for a new run.
        resumed_at: steps at which the run was taken up again.
        timings: of the start that took the last step, None before.

    Raises:
        UserError: the folder holds another experiment or a run of another
            configuration, or its record is damaged or lost; nothing is changed then.
    """

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, Any],
        kind: str = "distillation",
        identity: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict,
    ):
        self.path = folder / "run.json"
        self.config, self.kind = dict(config), kind
        if not self.path.exists():
            if (folder / "summary.json").exists():
                raise UserError(
                    f"{shown(folder)} holds results of another experiment: choose "
                    "another --workdir"
                )
            if newest(folder) is not None:
                raise UserError(
                    f"{shown(folder)} holds the state of a run but not its run.json, "
                    "which says of which run: copy that back or choose another "
                    "--workdir"
                )
        self.known: dict[str, Any] | None = None
        self.resumed_at: list[int] = []
        self.timings: dict[str, float] | None = None
        if self.path.exists():
            before = records.read_json(self.path, _RECORD, FOREIGN)
            self.known, self.resumed_at = before["config"], before["resumed_at"]
            self.timings = before.get("timings")
            there = before.get("kind", "distillation")
            if there != kind:
                raise UserError(
                    f"{shown(folder)} holds another experiment ({shown(there)}): "
                    "choose another --workdir"
                )
            refuse_difference(folder, identity(before["config"]), identity(self.config))
        else:
            self.save()

    def save(self) -> None:
        content = {
            "kind": self.kind,
            "config": self.config,
            "resumed_at": self.resumed_at,
            "timings": self.timings,
        }
        write_atomically(self.path, to_json(content))


FOREIGN = "it is damaged or not of this program: choose another --workdir"


def refuse_difference(
    folder: Path, known: Mapping[str, Any], asked: Mapping[str, Any]
) -> None:
    """Raise UserError, naming every difference, unless both are the same run.

    Where both have the fingerprint of their data, the data's name, which may be a path,
    does not count; elsewhere the name alone does.
    """
    known, asked = (json.loads(json.dumps(finite(c))) for c in (known, asked))
    both = bool(known.get("fingerprint") and asked.get("fingerprint"))
    free = {*FREE, "dataset" if both else "fingerprint"}
    names = [k for k in sorted({*known, *asked}) if k not in free]
    differences = [
        f"{shown(k)} is {quoted(known.get(k))} there and {quoted(asked.get(k))} now"
        for k in names
        if known.get(k) != asked.get(k)
    ]
    if differences:
        raise UserError(
            f"{shown(folder)} holds another run ({'; '.join(differences)}): use the "
            "same values or another --workdir"
        )


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
        step: the step a run continues from; later lines and a half-written last one
            are dropped, since they will be computed again.

    Attributes:
        lines: what was written up to that step.
        unreadable: how many lines were dropped because they are damaged; a half-written
            last one, which a kill leaves, is not among them.

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
        """Take a line up to `step`; whether it is one."""
        try:
            line = records.parse(text, _LINE)
        except ValueError:
            return False
        if line["step"] <= step:
            self.lines.append(line)
        return True

    @property
    def damage(self) -> str | None:
        """A sentence about lines that could not be read, None where there are none."""
        if self.path is None or not self.unreadable:
            return None
        return (
            f"warning: {self.unreadable} of the lines of {shown(self.path)} cannot be "
            "read and are left out"
        )

    @property
    def seconds(self) -> float:
        """Time spent up to the last line, over all starts of the run."""
        return self.lines[-1]["seconds"] if self.lines else 0.0

    def write(self, line: dict[str, Any]) -> None:
        """Append one line (with `step` and `seconds`) unless the step is there.

        Numbers that are not finite become null.
        """
        if self.lines and line["step"] <= self.lines[-1]["step"]:
            return
        line = finite(line)
        self.lines.append(line)
        if self.path is None or not hosts.primary():
            return
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(_line(line))
        except OSError as error:
            raise UserError(
                f"cannot write {shown(self.path)}: {reason(error)}; free the disk and "
                "start the same command again"
            ) from error


def _content(path: Path) -> bytes:
    """The content of a metrics file; nothing where there is none."""
    if not path.exists():
        return b""
    try:
        return existing_file(path, "the file", _REMOVABLE).read_bytes()
    except OSError as error:
        raise UserError(
            f"cannot read {shown(path)} ({reason(error)}): remove it or choose another "
            "--workdir"
        ) from error


def _line(line: dict[str, Any]) -> str:
    return json.dumps(line, allow_nan=False) + "\n"


def write_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    """Write all lines of a metrics.jsonl, or nothing."""
    write_atomically(path, "".join(_line(finite(line)) for line in lines))
