"""A run's folder: one owner at a time, one configuration, crash-safe files."""

import binascii
import contextlib
import errno
import json
import math
import os
import platform
import secrets
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

from jaxdd import hosts
from jaxdd.errors import UserError, quoted
from jaxdd.storage import records
from jaxdd.storage.paths import existing_file, local_path, reason, shown

# Keys of a configuration that may change between two starts of one run: they alter
# where things are or how far to go, not what a step computes.
FREE = ("steps", "workdir", "data_dir", "save_every")
# What another live process holds a lock with; any other error is the file system's.
_HELD = (errno.EWOULDBLOCK, errno.EAGAIN)
_PART = ".part-"  # temporary files: .part-HOST-PROCESS-RANDOM
_OLD_SECONDS = 24 * 3600.0  # a temporary file of another machine is abandoned by then


@contextlib.contextmanager
def atomic_file(path: Path, mode: str = "w") -> Iterator[IO]:
    """A file that appears whole or not at all: a sibling is written, then renamed.

    The sibling's name belongs to this call alone, so that two writers never mix: the
    last one to finish wins. Of several processes the primary one writes; what the
    others write is dropped. Text is UTF-8.

    Raises:
        UserError: the disk refuses; it names the path.
    """
    encoding: dict[str, Any] = {}
    if "b" not in mode:
        encoding = {"encoding": "utf-8", "errors": "backslashreplace"}
    hosts.meet()
    if not hosts.primary():
        with tempfile.TemporaryFile(mode, **encoding) as file:
            yield file
        hosts.meet()
        return
    part = path.with_name(f"{_PART}{_host()}-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        try:
            with open(part, mode.replace("w", "x"), **encoding) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(part)
            raise
    except OSError as error:
        raise UserError(
            f"cannot write {shown(path)}: {reason(error)}; free the disk or choose "
            "another folder"
        ) from error
    hosts.meet()


def _host() -> str:
    """This machine in a file's name, 8 characters."""
    return f"{binascii.crc32(platform.node().encode()):08x}"


def remove_abandoned(folder: Path) -> None:
    """Delete temporary files of `atomic_file` whose writers are dead.

    For whoever owns the folder. A writer on another machine cannot be asked: its files
    go when they are a day old.
    """
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            with contextlib.suppress(OSError):
                if entry.name.startswith(_PART) and _is_abandoned(entry):
                    os.unlink(entry)


def _is_abandoned(entry: os.DirEntry) -> bool:
    host, _, rest = entry.name.removeprefix(_PART).partition("-")
    process = rest.partition("-")[0]
    # Without fcntl this is Windows, where asking for a process would end it.
    if host == _host() and process.isdigit() and fcntl is not None:
        return not _is_alive(int(process))
    return time.time() - entry.stat(follow_symlinks=False).st_mtime > _OLD_SECONDS


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's, or no number of a process
        return True
    return True


def write_atomically(path: Path, text: str) -> None:
    """Write a whole text file or nothing; see `atomic_file`."""
    with atomic_file(path) as file:
        file.write(text)


def to_json(value: Any) -> str:
    """JSON with a line end. JSON has no NaN and no infinity: they become null."""
    return json.dumps(finite(value), indent=2, allow_nan=False) + "\n"


def finite(value: Any) -> Any:
    """The same lists, tuples and mappings with None for numbers that are not finite.

    Example:
        >>> finite({"loss": float("nan"), "steps": (1, 2.5)})
        {'loss': None, 'steps': [1, 2.5]}
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    return value


def make_folder(path: str | Path, what: str = "--workdir") -> Path:
    """Create a folder to write to.

    Args:
        path: as it was given.
        what: what it is in a sentence.

    Raises:
        UserError: the path cannot be created or written.
    """
    folder = local_path(path, what)
    try:
        if hosts.primary():
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
    except OSError as error:
        raise UserError(
            f"cannot write to the folder {shown(folder)}: {reason(error)}; choose "
            f"another {what}"
        ) from error
    hosts.meet()
    return folder


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
            configuration, or its record is damaged; nothing is changed then.
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
        if (folder / "summary.json").exists() and not self.path.exists():
            raise UserError(
                f"{shown(folder)} holds results of another experiment: choose another "
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


FOREIGN = "it is not a file of this program; remove it or choose another --workdir"


def read_json(path: Path, *fields: str) -> Any:
    """Parse a file of ours, an object that has at least these fields.

    Raises:
        UserError: it is not readable, or not such an object.
    """
    required: dict[str, Any] = dict.fromkeys(fields, records.anything)
    schema = records.mapping(**required)
    return records.read_json(path, schema, FOREIGN)


def set_aside(path: Path) -> Path:
    """Rename a result that is about to be made again: NAME.json to NAME.before.json.

    Its absence says that the run is not finished; a previous one that was set aside is
    replaced.

    Raises:
        UserError: the disk refuses.
    """
    target = path.with_suffix(f".before{path.suffix}")
    hosts.meet()  # the others have looked at it
    try:
        if hosts.primary() and path.exists():
            os.replace(path, target)
    except OSError as error:
        raise UserError(
            f"cannot rename {shown(path)} ({reason(error)}): choose another --workdir"
        ) from error
    hosts.meet()
    return target


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


class Metrics:
    """`metrics.jsonl`: one line per logged step, never ahead of what can be resumed.

    Args:
        folder: the workdir.
        step: the step a run continues from; later lines and a half-written last one
            are dropped, since they will be computed again.

    Attributes:
        lines: what was written up to that step.
        unreadable: how many lines were dropped because they are damaged; a half-written
            last one, which a kill leaves, is not among them.

    Raises:
        UserError: the file cannot be read or written.
    """

    def __init__(self, folder: Path, step: int):
        self.path = folder / "metrics.jsonl"
        self.lines: list[dict[str, Any]] = []
        self.unreadable = 0
        *whole, last = self._content().split(b"\n")
        for text in whole:
            if text.strip() and not self._read(text, step):
                self.unreadable += 1
        self._read(last, step)
        write_atomically(self.path, "".join(map(_line, self.lines)))

    def _content(self) -> bytes:
        if not self.path.exists():
            return b""
        try:
            return existing_file(self.path, "the file", FOREIGN).read_bytes()
        except OSError as error:
            raise UserError(
                f"cannot read {shown(self.path)} ({reason(error)}): remove it or "
                "choose another --workdir"
            ) from error

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
        if not self.unreadable:
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
        if not hosts.primary():
            return
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(_line(line))
        except OSError as error:
            raise UserError(
                f"cannot write {shown(self.path)}: {reason(error)}; free the disk and "
                "start the same command again"
            ) from error


def _line(line: dict[str, Any]) -> str:
    return json.dumps(line, allow_nan=False) + "\n"


def write_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    """Write all lines of a metrics.jsonl, or nothing."""
    write_atomically(path, "".join(_line(finite(line)) for line in lines))
