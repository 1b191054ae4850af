"""`ledger.jsonl`: one record per finished run of a cell, and the sets beside it."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from experiments.reproducing.cells import Cell
from experiments.reproducing.sets import WHOLE, digest, kept, with_set
from jaxdd.statistics import Gain, Statistics
from jaxdd.storage import records
from jaxdd.storage.files import atomic_file, make_folder, to_json, write_atomically
from jaxdd.storage.lock import turn

Record = dict[str, Any]

LEDGER, SETS = "ledger.jsonl", "sets"
RECORD = "record.json"  # beside a finished run, to be added to a ledger later

# What a run with a modifier has in common with the one it is compared with.
PAIRED = ("seed", "steps", "device", "precision")

_STATISTICS = records.mapping(
    mean=records.number(0, 100), std=records.number(0, 100), n=records.integer(1)
)
_DIFFICULTY = records.mapping(
    grad_norm=records.maybe(records.number(0)),
    percentile=records.maybe(records.number(0, 100)),
)
# Records come from elsewhere, and both are parts of a file's name.
_CELL = records.matching(r"[a-z0-9_+-]{1,100}", "the name of a cell")
_HASH = records.matching(r"[0-9a-f]{64}", "a SHA-256 in hexadecimal digits")
LONGEST_NAME = 100  # characters of a revision
_SCHEMA = records.mapping(
    cell=_CELL,
    command=records.text(10**4),
    seed=records.integer(),
    distilled=_STATISTICS,
    random=_STATISTICS,
    published=records.maybe(
        records.mapping(
            mean=records.number(0, 100),
            std=records.maybe(records.number(0, 100)),
            source=records.text(200),
        )
    ),
    difference=records.maybe(records.number(-100, 100)),
    within=records.maybe(records.flag),
    steps=records.integer(1),
    steps_published=records.integer(1),
    partial=records.flag,
    experts=records.maybe(records.integer(1)),
    difficulty=records.mapping(
        probes=records.text(200), start=_DIFFICULTY, end=_DIFFICULTY
    ),
    minutes=records.number(0),
    at_once=records.integer(1),
    memory_mb=records.maybe(records.number(0)),
    precision=records.text(100),
    device=records.text(200),
    versions=records.mapping(others=records.text(100)),
    revision=records.text(LONGEST_NAME),
    sha256=_HASH,
    # Of the file beside the ledger, where that is not the run's own but its slim form.
    optional={"set_sha256": _HASH},
)
_REMEDY = "restore it from the repository, or remove the line"


def command_of(program: str, flags: Mapping[str, Any]) -> str:
    """A command as it is typed, without folders and the place of the data."""
    typed = (f"--{name}={shlex.quote(str(value))}" for name, value in flags.items())
    return " ".join([f"python -m experiments.{program}", *typed])


def record_of(
    cell: Cell,
    seed: int,
    folder: Path,
    *,
    command: str,
    minutes: float,
    at_once: int,
    revision: str,
) -> Record:
    """The record of a finished run.

    Args:
        cell: what was run.
        seed: of the run.
        folder: its workdir, with `summary.json` and `distilled.npz`.
        command: that distils it alone.
        minutes: that all its starts took, compiling and evaluation included.
        at_once: runs that shared the device meanwhile.
        revision: of the code.
    """
    summary = records.read_json(
        folder / "summary.json",
        records.mapping(config=records.mapping()),
        "run it again",
    )
    values, published, bank = summary["config"], cell.published, cell.bank
    steps, mean = values["steps"], summary["distilled"]["mean"]
    partial = steps < cell.steps
    difference = agrees = None
    if published is not None:
        difference = round(mean - published.mean, 2)
        # A partial run is held against nothing.
        agrees = None if partial else published.agrees(mean)
    record = {
        "cell": cell.name,
        "command": command,
        "seed": seed,
        "distilled": _statistics(summary["distilled"]),
        "random": _statistics(summary["random"]),
        "published": None if published is None else asdict(published),
        "difference": difference,
        "within": agrees,
        "steps": steps,
        "steps_published": cell.steps,
        "partial": partial,
        "experts": None if bank is None else bank["num_experts"],
        "difficulty": {
            "probes": f"{values['probes']} networks, {values['probe_steps']} steps of "
            "SGD on real data",
            **summary["difficulty"],
        },
        "minutes": round(minutes, 2),
        "at_once": at_once,
        "memory_mb": summary.get("peak_mb"),
        "precision": values["precision"],
        "device": summary["device"],
        "versions": summary["versions"],
        "revision": revision,
        "sha256": digest(folder / WHOLE),
    }
    _SCHEMA(record, cell.name)
    return record


def _statistics(measured: Mapping[str, Any]) -> dict[str, Any]:
    return {name: measured[name] for name in ("mean", "std", "n")}


def key(record: Record) -> tuple[str, int, int, str]:
    """What a ledger holds once: a cell, its seed, its steps, its set."""
    return record["cell"], record["seed"], record["steps"], record["sha256"]


def read(path: Path) -> list[Record]:
    """The records of a ledger, none where there is no file.

    Raises:
        UserError: a line is not a record.
    """
    if not path.exists():
        return []
    return records.read_lines(path, _SCHEMA, _REMEDY)


def append(folder: Path, record: Record, workdir: Path) -> Record | None:
    """Add a record to the ledger in a folder, and its set beside it.

    A set that is too large for that is stored in its slim form, with a hash of its own
    in the record; one that is too large even then is left out, which is said.

    Returns:
        The record as it stands there; None where it was there before.

    Raises:
        UserError: the ledger is damaged or cannot be written.
    """
    path = folder / LEDGER
    if key(record) in map(key, read(path)):
        return None
    record = with_set(record, workdir)
    source = kept(record, workdir)
    with turn(folder, ".ledger.lock"):
        known = read(path)  # another program may have added to it meanwhile
        if key(record) in map(key, known):
            return None
        if source is not None:
            target = make_folder(folder / SETS) / set_name(record)
            with atomic_file(target, "wb") as file:
                file.write(source.read_bytes())
        write_atomically(path, "".join(map(_line, [*known, record])))
    return record


def set_name(record: Record) -> str:
    """The file name of a record's set; that of another device is another set.

    It has the hash of the run's own file, also where the slim form is stored.
    """
    return f"{record['cell']}-seed{record['seed']}-{record['sha256'][:8]}.npz"


def _line(record: Record) -> str:
    return json.dumps(record, sort_keys=True, allow_nan=False) + "\n"


def write_record(record: Record, workdir: Path) -> None:
    """Keep the record beside the run."""
    write_atomically(workdir / RECORD, to_json(record))


def read_record(workdir: Path) -> Record:
    """The record beside a finished run.

    Raises:
        UserError: it is damaged.
    """
    return records.read_json(workdir / RECORD, _SCHEMA, "remove it and run it again")


def gain(record: Record, base: Sequence[Record]) -> tuple[float, float] | None:
    """Gain over the run without a modifier, alike in `PAIRED`, and what chance allows.

    Args:
        record: of a cell with a modifier.
        base: records of the cell without it.

    Returns:
        (difference of the means, 1.96 standard errors of it from the networks alone);
        None where there is no such run, or a network alone.
    """
    alike = [x for x in base if all(x[name] == record[name] for name in PAIRED)]
    if not alike:
        return None
    ours, theirs = (Statistics.of(x["distilled"]) for x in (record, alike[-1]))
    gained = Gain.of(ours, theirs)
    return None if gained.error is None else (gained.points, 1.96 * gained.error)
