"""A run's folder: one owner at a time, one configuration, crash-safe files."""

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from jaxdd import hosts
from jaxdd.errors import UserError

# Keys of a configuration that may change between two starts of one run: they alter
# where things are or how far to go, not what a step computes.
FREE = ("steps", "workdir", "data_dir", "save_every")
# What a configuration means that was written before a key was known; None for others.
UNWRITTEN = {"sampling": "independent"}


@contextlib.contextmanager
def atomic_file(path: Path, mode: str = "w") -> Iterator[IO]:
    """A file that appears whole or not at all: a sibling is written, then renamed.

    Of several processes the primary one writes; what the others write is dropped.
    Raises UserError, naming the path, when the disk refuses.
    """
    hosts.meet()
    if not hosts.primary():
        with tempfile.TemporaryFile(mode) as file:
            yield file
        hosts.meet()
        return
    part = path.with_name(f".{path.name}.part")
    try:
        try:
            with open(part, mode) as file:
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
            f"cannot write {path}: {error.strerror or error}; free the disk or choose "
            "another folder"
        ) from error
    hosts.meet()


def write_atomically(path: Path, text: str) -> None:
    """Write a whole text file or nothing; see `atomic_file`."""
    with atomic_file(path) as file:
        file.write(text)


def to_json(value: Any) -> str:
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def make_folder(path: str | Path) -> Path:
    """Create a folder to write to.

    Raises:
        UserError: the path cannot be created or written.
    """
    folder = Path(path).expanduser()
    try:
        if hosts.primary():
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
    except OSError as error:
        raise UserError(
            f"cannot write to the folder {folder}: {error.strerror}; choose another "
            "--workdir"
        ) from error
    hosts.meet()
    return folder


@contextlib.contextmanager
def owned(path: str | Path) -> Iterator[Path]:
    """Create and lock a workdir for as long as the context lasts.

    The lock belongs to the process, so a killed run leaves none behind.

    Raises:
        UserError: the folder is not writable, or another live run owns it.
    """
    folder = make_folder(path)
    if not hosts.primary():  # the primary process holds the lock for all
        yield folder
        return
    with open(folder / ".lock", "a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(
                f"another live run owns {folder}: wait for it or choose another "
                "--workdir"
            ) from error
        yield folder


class Record:
    """What a workdir knows of its run: the configuration and where it was resumed.

    `kind` says which experiment it is. Raises UserError on creation when the folder
    holds another experiment or a run of another configuration; nothing is changed then.
    """

    def __init__(
        self, folder: Path, config: Mapping[str, Any], kind: str = "distillation"
    ):
        self.path = folder / "run.json"
        self.config, self.kind = dict(config), kind
        if (folder / "summary.json").exists() and not self.path.exists():
            raise UserError(
                f"{folder} holds results of another experiment: choose another "
                "--workdir"
            )
        self.resumed_at: list[int] = []
        if self.path.exists():
            known = read_json(self.path, "config", "resumed_at")
            self.resumed_at = list(known["resumed_at"])
            found = known.get("kind", "distillation")
            if found != kind:
                raise UserError(
                    f"{folder} holds another experiment ({found}): choose another "
                    "--workdir"
                )
            refuse_difference(folder, known["config"], self.config)
        self.save()

    def save(self) -> None:
        content = {
            "kind": self.kind,
            "config": self.config,
            "resumed_at": self.resumed_at,
        }
        write_atomically(self.path, to_json(content))


def read_json(path: Path, *fields: str) -> Any:
    """Parse a file of ours, an object that has at least these fields.

    Raises:
        UserError: it is not readable, or not such an object.
    """
    try:
        content = json.loads(path.read_text())
        lacking = [f for f in fields if f not in content]
        if lacking:
            raise ValueError(f"it lacks {lacking[0]!r}")
        return content
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"cannot read {path} ({error}): it is not a file of this program; remove "
            "it or choose another --workdir"
        ) from error


def refuse_difference(
    folder: Path, known: Mapping[str, Any], asked: Mapping[str, Any]
) -> None:
    """Raise UserError, naming every difference, unless both are the same run."""
    known, asked = (json.loads(json.dumps(c)) for c in (known, asked))
    known, asked = ({**UNWRITTEN, **c} for c in (known, asked))
    names = [k for k in sorted({*known, *asked}) if k not in FREE]
    differences = [
        f"{k} is {known.get(k)!r} there and {asked.get(k)!r} now"
        for k in names
        if known.get(k) != asked.get(k)
    ]
    if differences:
        raise UserError(
            f"{folder} holds another run ({'; '.join(differences)}): use the same "
            "values or another --workdir"
        )


class Metrics:
    """`metrics.jsonl`: one line per logged step, never ahead of what can be resumed.

    Args:
        folder: the workdir.
        step: the step a run continues from; later lines and a half-written last one
            are dropped, since they will be computed again.
    """

    def __init__(self, folder: Path, step: int):
        self.path = folder / "metrics.jsonl"
        self.lines: list[dict[str, Any]] = []
        if self.path.exists():
            for text in self.path.read_text(errors="replace").splitlines():
                with contextlib.suppress(ValueError, TypeError, KeyError):
                    line = json.loads(text)
                    if line["step"] <= step:
                        self.lines.append(line)
        write_atomically(self.path, "".join(json.dumps(x) + "\n" for x in self.lines))

    @property
    def seconds(self) -> float:
        """Time spent up to the last line, over all starts of the run."""
        return self.lines[-1]["seconds"] if self.lines else 0.0

    def write(self, line: dict[str, Any]) -> None:
        """Append one line (with `step` and `seconds`) unless the step is there."""
        if self.lines and line["step"] <= self.lines[-1]["step"]:
            return
        self.lines.append(line)
        if not hosts.primary():
            return
        try:
            with open(self.path, "a") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise UserError(
                f"cannot write {self.path}: {error.strerror}; free the disk and start "
                "the same command again"
            ) from error
