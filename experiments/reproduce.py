"""Run cells of published tables, and keep a ledger of what came out.

    python -m experiments.reproduce --list
    python -m experiments.reproduce --cells=cifar10-dsa-1,mnist-dc-1 --data_dir=DIR
    python -m experiments.reproduce --page=docs/results.md

Each cell runs by the published settings in full, in a process and a workdir of its own.
Cells run in the order of --cells; in that of the list, what is wanted most for its time
comes first. The same command continues what was stopped, by a signal or before
--minutes. With --precision a cell is a run of its own. A finished cell adds one record
to `ledger.jsonl` in --results, and its set beside it, slim where its whitening is
large. --pack writes what was made into one file; once that is unpacked into --out on
another machine, --collect adds its records there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.comparing import lists, reports
from experiments.console.flags import main, option
from experiments.reproducing import cells, ledger, page, processes
from experiments.reproducing.places import Place
from experiments.reproducing.work import Work, is_packed
from jaxdd import fields
from jaxdd.errors import UserError
from jaxdd.methods.network import PrecisionFlag
from jaxdd.progress import say
from jaxdd.storage.files import make_folder, output_file, write_atomically
from jaxdd.storage.lock import owned
from jaxdd.storage.paths import existing_folder, shown
from jaxdd.storage.recognising import Kind, marked

# Which of the files that are there --page and --pack may replace.
_PAGE = Kind("such a page", marked(b"python -m experiments.reproduce --page", 1000))
_PACKED = Kind("such an archive", is_packed)


@dataclass(frozen=True, kw_only=True)
class Config(PrecisionFlag):
    """Flags of `experiments.reproduce`."""

    cells: str = option("all", "names of cells, joined by commas, or all", often=True)
    data_dir: str | None = option(
        None, "folder of prepared TFDS datasets", kind="path", often=True
    )
    out: str = option(
        "runs/reproduce",
        "folder with the workdirs of all runs",
        kind="path",
        often=True,
    )
    minutes: float | None = option(
        None, "ends before so many minutes; default: no limit", above=0.0, often=True
    )
    list: bool = option(False, "print the cells and how far each is, no more")
    seeds: str = option("0", "seeds of the runs, joined by commas")
    steps: int | None = option(
        None, "most updates of the images; default: as published", above=0
    )
    at_once: int = option(1, "runs at a time, which share the device", above=0)
    results: str = option("results", "folder of the ledger and the sets", kind="path")
    collect: bool = option(False, "add finished runs in --out to the ledger, no more")
    page: str | None = option(None, "write the ledger as a page, no more", kind="path")
    pack: str | None = option(
        None, "zip file for what was made, without experts", kind="path"
    )
    revision: str | None = option(None, "revision of the code; default: git's")


def run(config: Config) -> str:
    """List, collect, write the page, or run cells.

    Returns:
        What is printed.

    Raises:
        UserError: bad input, named.
        signals.Interrupted: a signal stopped it; all states are saved.
    """
    fields.check(config)
    results, out = Path(config.results), Path(config.out)
    if config.page is not None:
        return _written(results, output_file(config.page, "--page", ".md", kind=_PAGE))
    chosen, seeds = cells.chosen(config.cells), lists.seeds(config.seeds)
    runs = [
        Place(
            cell,
            seed,
            min(config.steps or cell.steps, cell.steps),
            out,
            config.precision,
        )
        for cell in chosen
        for seed in seeds
    ]
    if config.list:
        return listed(runs, ledger.read(results / ledger.LEDGER))
    processes.refuse_too_short(config.minutes)
    if config.revision is not None and len(config.revision) > ledger.LONGEST_NAME:
        raise UserError(
            f"--revision has {len(config.revision)} characters, and the ledger keeps "
            f"at most {ledger.LONGEST_NAME}: give a shorter one"
        )
    packed = None
    if config.pack is not None:
        packed = output_file(config.pack, "--pack", ".zip", kind=_PACKED)
        make_folder(packed.parent, "--pack")
    # Not when the first run is finished, whose record would be lost then.
    make_folder(results, "--results")
    ledger.read(results / ledger.LEDGER)
    if config.collect:
        existing_folder(out, "--out", "give the folder that has the workdirs of runs")
    with owned(out):
        work = Work(out, results, config.at_once, config.revision, packed)
        if config.collect:
            added = work.collect()
            of = "" if work.finished() else f"; no finished run lies in {shown(out)}"
            return f"{added} records added to {shown(results / ledger.LEDGER)}{of}"
        failed = work.fill(runs, config.data_dir, config.minutes)
    states = listed(runs, ledger.read(results / ledger.LEDGER))
    reports.write(out, f"```\n{states}\n```\n", title="Published cells")
    if failed:
        say(states)
        raise UserError(
            f"{len(failed)} of the runs failed ({', '.join(failed)}): their messages "
            f"are above, or in the .log files of {shown(out)}"
        )
    return states


def _written(results: Path, path: Path) -> str:
    """Write the page."""
    make_folder(path.parent, "--page")
    known = ledger.read(results / ledger.LEDGER)
    sets = [file.name for file in (results / ledger.SETS).glob("*.npz")]
    write_atomically(path, page.text(known, sets))
    return f"{shown(path)}: {len(known)} records"


def listed(runs: Sequence[Place], known: Sequence[ledger.Record]) -> str:
    """The runs and their states, a line each; of several records, the last counts."""
    lines = [f"{'run':34} {'steps':>7}  {'published':>9}  state"]
    for place in runs:
        published = place.cell.published
        figure = "" if published is None else f"{published.mean:g}"
        record = next(filter(place.is_of, reversed(known)), None)
        if record is not None:
            state = f"{record['distilled']['mean']:.2f}, in the ledger"
        elif place.finished:
            state = "finished, not in this ledger (--collect)"
        else:
            state = "begun" if place.folder.exists() else "not begun"
        lines.append(f"{place.name:34} {place.steps:7}  {figure:>9}  {state}")
    return "\n".join(lines)


if __name__ == "__main__":
    main(Config, run, print)
