"""Fill places, collect what was filled elsewhere, pack what was made."""

import contextlib
import os
import subprocess
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from experiments.reproducing import ledger, places, processes, sets
from experiments.reproducing.places import Place
from experiments.reproducing.processes import Task
from jaxdd.artifact import file as artifacts
from jaxdd.errors import UserError
from jaxdd.progress import say
from jaxdd.storage import records
from jaxdd.storage.files import atomic_file, to_json, write_atomically
from jaxdd.storage.paths import shown
from jaxdd.storage.recognising import members

# What is packed of a finished run.
RESULTS = (
    sets.WHOLE,
    sets.SLIM,
    "images.png",
    "metrics.jsonl",
    "summary.json",
    ledger.RECORD,
)
NAMED = 5  # files that a pack left out, the others are counted
SPENT = records.mapping(others=records.number(0))


SECONDS = "seconds.json"  # what the runs have taken so far


class Work:
    """Runs in one folder, and the ledger that they go into.

    Args:
        out: the folder of the workdirs.
        results: the folder of the ledger.
        at_once: runs at a time.
        revision: of the code; None to ask git.
        packed: file into which everything is packed whenever a run ends; None for none.

    Raises:
        UserError: the file with the times of earlier starts is damaged.
    """

    def __init__(
        self,
        out: Path,
        results: Path,
        at_once: int = 1,
        revision: str | None = None,
        packed: Path | None = None,
    ):
        self.out, self.results, self.at_once = out, results, at_once
        self.revision = revision or _revision()
        self.packed = packed
        self._slimmed: set[Path] = set()
        self._times = out / SECONDS
        self.spent: dict[str, float] = {}
        if self._times.exists():
            remedy = "remove it, and times are counted anew"
            self.spent = records.read_json(self._times, SPENT, remedy)

    def fill(
        self, todo: Sequence[Place], data_dir: str | None, minutes: float | None
    ) -> list[str]:
        """Run what is not finished; the names of what failed.

        Raises:
            signals.Interrupted: a signal stopped it; all states are saved.
        """
        by_name = {place.name: place for place in todo}

        def ended(task: Task, seconds: float, done: bool) -> None:
            self.spent[task.name] = round(self.spent.get(task.name, 0) + seconds, 1)
            write_atomically(self._times, to_json(self.spent))
            if done and task.name in by_name:
                self._note(by_name[task.name])
            if self.packed is not None:
                self.pack(self.packed)

        return processes.run(
            places.tasks(todo, data_dir),
            ended,
            at_once=self.at_once,
            seconds=None if minutes is None else 60 * minutes - processes.GRACE,
            logs=self.out,
        )

    def _note(self, place: Place) -> None:
        """Put a finished run into the ledger."""
        record = ledger.record_of(
            place.cell,
            place.seed,
            place.folder,
            command=place.command,
            minutes=self.spent[place.name] / 60,
            at_once=self.at_once,
            revision=self.revision,
        )
        ledger.write_record(record, place.folder)  # it is finished, whatever follows
        appended = ledger.append(self.results, record, place.folder)
        if appended is not None:
            ledger.write_record(appended, place.folder)
            self._slimmed.add(place.folder / ledger.RECORD)
        say(f"{place.name}: {record['distilled']['mean']:.2f} %, in the ledger")

    def finished(self) -> list[Path]:
        """The records of finished runs, which lie in their workdirs."""
        return sorted(self.out.glob(f"*/{ledger.RECORD}"))

    def collect(self) -> int:
        """Add finished runs to the ledger; how many were not there.

        They may come from elsewhere: a run whose record or set is damaged is left out,
        and that is said.
        """
        added = 0
        for path in self.finished():
            try:
                record = ledger.read_record(path.parent)
                source = sets.kept(record, path.parent)
                if source is not None:
                    artifacts.load(source)
            except UserError as error:
                say(f"left out: {error}")
                continue
            added += ledger.append(self.results, record, path.parent) is not None
        return added

    def pack(self, path: Path) -> None:
        """Results of finished runs and all of others, without experts, in one file.

        Of a set that is too large its slim form is packed. What is too large otherwise
        is left out, and named.
        """
        self._slim()
        left_out = []
        with atomic_file(path, "wb") as file, zipfile.ZipFile(file, "w") as archive:
            for inside in self._packed():
                if inside == path:
                    continue
                # Runs go on meanwhile, and remove the checkpoints that they replace.
                with contextlib.suppress(FileNotFoundError):
                    name = str(inside.relative_to(self.out))
                    if inside.stat().st_size > sets.LARGEST_SET:
                        is_slim = inside.with_name(sets.SLIM).exists()
                        if not (is_slim and inside.name == sets.WHOLE):
                            left_out.append(name)
                        continue
                    content = inside.read_bytes()
                    archive.writestr(name, content, zipfile.ZIP_DEFLATED)
        say(f"{shown(path)}: what was made, without experts{_without(left_out)}")

    def _slim(self) -> None:
        """Have the slim form of large sets that were recorded before there was one."""
        for path in self.finished():
            if path in self._slimmed:
                continue
            self._slimmed.add(path)
            whole = path.with_name(sets.WHOLE)
            if not whole.exists() or whole.stat().st_size <= sets.LARGEST_SET:
                continue
            try:
                record = ledger.read_record(path.parent)
            except UserError as error:  # the other runs go on all the same
                say(str(error))
                continue
            slimmed = sets.with_set(record, path.parent)
            if slimmed != record:
                ledger.write_record(slimmed, path.parent)

    def _packed(self) -> Iterator[Path]:
        # Of `Path.rglob` and this, only this one passes over folders that vanish.
        walked = os.walk(self.out)
        for file in sorted(
            Path(top) / name for top, _, names in walked for name in names
        ):
            folder = self.out / file.relative_to(self.out).parts[0]
            finished = (folder / ledger.RECORD).exists()
            # Locks, and files that are being written, have hidden names.
            wanted = file.name in RESULTS if finished else file.name[0] != "."
            if wanted and not folder.name.startswith(places.EXPERTS):
                yield file


def _without(names: Sequence[str]) -> str:
    """What a pack lacks because of its size, the first names of it, for a sentence."""
    if not names:
        return ""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    first = ", ".join(map(shown, names[:NAMED]))
    return f"; left out, larger than {sets.MEGABYTES} each: {first}{more}"


def _revision() -> str:
    """Git's name of the code in use, "unknown" outside a repository."""
    root = Path(__file__).parents[2]
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=20
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()


def is_packed(path: Path) -> bool:
    """Whether a file is one that `Work.pack` wrote."""
    inside = {Path(name).name for name in members(path)}
    return bool(inside & {ledger.RECORD, "run.json", SECONDS})
