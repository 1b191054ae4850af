"""Run cells of published tables, and keep a ledger of what came out.

    python -m experiments.reproduce --list
    python -m experiments.reproduce --cells=cifar10-dsa-1,mnist-dc-1 --data_dir=DIR
    python -m experiments.reproduce --page=docs/results.md

Each cell runs by the published settings in full, in a process and a workdir of its own,
in the order of the list: what is wanted most for its time comes first. The same command
continues what was stopped, by a signal or before `--minutes`. A finished cell adds one
record to `ledger.jsonl` in --results and its set beside it. `--pack` writes what was made
into one file; unpacked into --out on another machine, `--collect` adds its records there.
"""

import subprocess
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.console.flags import main, option
from experiments.reproducing import ledger, page, processes
from experiments.reproducing.cells import CELLS, Cell, chosen
from experiments.reproducing.processes import Task
from jaxdd import fields
from jaxdd.progress import say
from jaxdd.storage import records
from jaxdd.storage.files import atomic_file, to_json, write_atomically
from jaxdd.storage.lock import owned
from jaxdd.storage.paths import shown

# Of a finished run; of one that goes on everything is packed but the experts.
RESULTS = (
    "distilled.npz",
    "images.png",
    "metrics.jsonl",
    "record.json",
    "summary.json",
)
SPENT = records.mapping(others=records.number(0))


@dataclass(frozen=True, kw_only=True)
class Config:
    """Flags of `experiments.reproduce`."""

    cells: str = option("all", "names of cells, joined by commas, or all", often=True)
    data_dir: str | None = option(
        None, "folder of prepared TFDS datasets", kind="path", often=True
    )
    out: str = option(
        "runs/reproduce", "folder with a workdir per cell and seed", kind="path",
        often=True,
    )  # fmt: skip
    minutes: float | None = option(
        None, "ends before so many minutes, with all states saved; default: no limit",
        above=0.0, often=True,
    )  # fmt: skip
    list: bool = option(False, "print the cells and how far each is, and run nothing")
    seed: int = option(0, "seed of all random numbers of a run", kind="seed")
    steps: int | None = option(
        None, "at most so many updates of the images: a partial run; default: as published",
        above=0,
    )  # fmt: skip
    at_once: int = option(1, "runs at a time, which share the device", above=0)
    results: str = option(
        "results", "folder of the ledger and the sets", kind="path"
    )  # fmt: skip
    collect: bool = option(
        False, "add the finished runs in --out to the ledger, no more"
    )
    page: str | None = option(None, "write the ledger as a page, no more", kind="path")
    pack: str | None = option(
        None, "write what was made, without experts, into one zip file", kind="path"
    )
    revision: str | None = option(
        None, "revision of the code; default: git's, where it runs in a repository"
    )


@dataclass(frozen=True)
class Place:
    """A cell with a seed, and where it lies."""

    cell: Cell
    seed: int
    steps: int
    out: Path

    @property
    def name(self) -> str:
        share = "" if self.steps == self.cell.steps else f"-{self.steps}"
        return f"{self.cell.name}-seed{self.seed}{share}"

    @property
    def folder(self) -> Path:
        return self.out / self.name

    @property
    def bank(self) -> str | None:
        """The name of its bank of experts, which other cells may share."""
        flags = self.cell.bank
        if flags is None:
            return None
        window = "-fiex" if "score" in flags else ""
        return f"experts-{self.cell.dataset}-{self.cell.method}{window}-{self.cell.ipc}"

    @property
    def finished(self) -> bool:
        return (self.folder / "record.json").exists()

    def flags(self, data_dir: str | None) -> dict[str, Any]:
        """Of `experiments.distill`."""
        given = {**self.cell.flags, "seed": self.seed}
        if self.steps != self.cell.steps:
            given["steps"] = self.steps
        if self.bank is not None:
            given["experts"] = str(self.out / self.bank)
        if data_dir is not None and self.cell.is_prepared:
            given["data_dir"] = data_dir
        return {**given, "workdir": str(self.folder)}

    @property
    def command(self) -> str:
        """As it is typed, its bank trained on the way."""
        given = {**self.cell.flags, "seed": self.seed}
        if self.steps != self.cell.steps:
            given["steps"] = self.steps
        if self.cell.bank is not None:
            given["num_experts"] = self.cell.bank["num_experts"]
        return ledger.command_of("distill", given)


def run(config: Config) -> str:
    """List, collect, write the page, or run cells.

    Returns:
        What is printed.

    Raises:
        UserError: bad input, named.
        KeyboardInterrupt: a signal stopped it; all states are saved.
    """
    fields.check(config)
    results = Path(config.results)
    if config.page is not None:
        return write_page(results, Path(config.page))
    places = [
        Place(
            cell,
            config.seed,
            min(config.steps or cell.steps, cell.steps),
            Path(config.out),
        )
        for cell in chosen(config.cells)
    ]
    if config.list:
        return listed(places, ledger.read(results / ledger.LEDGER))
    processes.refuse_too_short(config.minutes)
    with owned(config.out) as out:
        if config.collect:
            return _collected(out, results)
        failed = fill(config, places, results)
    states = listed(places, ledger.read(results / ledger.LEDGER))
    return states if not failed else f"{states}\n\nfailed: {', '.join(failed)}"


def fill(config: Config, places: Sequence[Place], results: Path) -> list[str]:
    """Run what is not finished; the names of what failed."""
    out = Path(config.out)
    spent_file = out / "seconds.json"
    spent: dict[str, float] = {}
    if spent_file.exists():
        spent = records.read_json(spent_file, SPENT, "remove it: times begin anew")
    by_name = {place.name: place for place in places}
    revision = config.revision or _revision()

    def ended(task: Task, seconds: float, done: bool) -> None:
        spent[task.name] = round(spent.get(task.name, 0.0) + seconds, 1)
        write_atomically(spent_file, to_json(spent))
        place = by_name.get(task.name)
        if place is not None and done:
            note(place, spent[task.name] / 60)
        if config.pack is not None:
            pack(out, Path(config.pack))

    def note(place: Place, minutes: float) -> None:
        record = ledger.record_of(
            place.cell, place.seed, place.folder, command=place.command,
            minutes=minutes, at_once=config.at_once, revision=revision,
        )  # fmt: skip
        ledger.write_record(record, place.folder)
        ledger.append(results, record, place.folder)
        say(f"{place.name}: {record['distilled']['mean']:.2f} %, in the ledger")

    seconds = None if config.minutes is None else 60 * config.minutes - processes.GRACE
    return processes.run(
        tasks_of(config, places),
        ended,
        at_once=config.at_once,
        seconds=seconds,
        logs=out,
    )


def tasks_of(config: Config, places: Sequence[Place]) -> list[Task]:
    """The runs that are not finished, each bank before the first that needs it."""
    tasks: dict[str, Task] = {}
    for place in places:
        if place.finished:
            continue
        bank = place.bank
        if bank is not None and bank not in tasks:
            flags = {**(place.cell.bank or {}), "workdir": str(Path(config.out) / bank)}
            if config.data_dir is not None and place.cell.is_prepared:
                flags["data_dir"] = config.data_dir
            tasks[bank] = Task(bank, "experts", flags)
        after = [] if bank is None else [bank]
        flags = place.flags(config.data_dir)
        tasks[place.name] = Task(place.name, "distill", flags, after)
    return list(tasks.values())


def _collected(out: Path, results: Path) -> str:
    """Add the records beside finished runs to the ledger."""
    count = 0
    for folder in sorted(path.parent for path in out.glob("*/record.json")):
        record = ledger.read_record(folder)
        if record is not None:
            count += ledger.append(results, record, folder)
    return f"{count} records added to {shown(results / ledger.LEDGER)}"


def write_page(results: Path, path: Path) -> str:
    """Write the ledger as a page."""
    known = ledger.read(results / ledger.LEDGER)
    sets = [file.name for file in (results / ledger.SETS).glob("*.npz")]
    write_atomically(path, page.text(known, sets))
    return f"{shown(path)}: {len(known)} records"


def pack(out: Path, path: Path) -> None:
    """Results of finished runs and all of others, without experts, as one file."""
    with atomic_file(path, "wb") as file, zipfile.ZipFile(file, "w") as archive:
        for folder in sorted(out.iterdir()):
            if folder.name.startswith("experts-"):
                continue
            finished = (folder / "record.json").exists()
            inside = [x for x in folder.rglob("*") if x.is_file()] or [folder]
            for one in inside:
                too_large = one.stat().st_size > ledger.LARGEST_SET
                wanted = one.name in RESULTS if finished else one.name != ".lock"
                if one.is_file() and wanted and not too_large:
                    archive.write(one, one.relative_to(out), zipfile.ZIP_DEFLATED)
    say(f"{shown(path)}: what was made, without experts and whitening matrices")


def listed(places: Sequence[Place], known: Sequence[ledger.Record]) -> str:
    """The cells and their states, a line each."""
    best = {(x["cell"], x["seed"], x["steps"]): x for x in known}
    lines = []
    for place in places:
        published = place.cell.published
        figure = "" if published is None else f"{published.mean:g}"
        record = best.get((place.cell.name, place.seed, place.steps))
        if record is not None:
            state = f"{record['distilled']['mean']:.2f} in the ledger"
        elif place.finished:
            state = "finished, not in this ledger: --collect"
        elif place.folder.exists():
            state = "begun"
        else:
            state = "not begun"
        lines.append(f"{place.name:32} {place.steps:7} steps  {figure:>5}  {state}")
    return "\n".join(
        ["cell                               published      state", *lines]
    )


def _revision() -> str:
    """Git's name of the code in use, "unknown" outside a repository."""
    root = Path(__file__).parents[1]
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True, text=True, check=True, timeout=20,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()


if __name__ == "__main__":
    main(Config, run, print)
