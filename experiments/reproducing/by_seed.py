"""The table of cells for which no paper has a figure: means over seeds, in pairs."""

from collections.abc import Iterable, Mapping

import numpy as np

from experiments.comparing.pairs import interval, mean_text
from experiments.reproducing.cells import CELLS, Cell
from experiments.reproducing.ledger import PAIRED, Record, set_name

# What runs of one row have in common.
ALIKE = tuple(name for name in PAIRED if name != "seed")
HEAD = (
    "| method | ipc | seeds | plain | with SDC | gain of SDC | random | percentile, "
    "plain | percentile, SDC | minutes | at once | run on | sets |"
)

Runs = Mapping[int, Record]  # by seed


def is_ours(record: Record) -> bool:
    """Whether neither the cell nor the one that it modifies stands in a paper."""
    cell = CELLS.get(record["cell"])
    return cell is not None and all(x.published is None for x in (cell, _base(cell)))


def _base(cell: Cell) -> Cell:
    return cell if cell.base is None else CELLS[cell.base]


def latest(records: Iterable[Record]) -> list[Record]:
    """The records of such cells that no later one of the same run replaces."""
    by_run = {(x["cell"], *(x[name] for name in PAIRED)): x for x in records}
    return list(by_run.values())


def table(
    records: Iterable[Record], run_on: Mapping[str, str], kept: frozenset[str]
) -> list[str]:
    """One line per method and number of images, with its runs of all seeds.

    Args:
        records: of such cells, one of each cell and seed.
        run_on: {SHA-256 of a set: the letter of what made it}.
        kept: names of the sets that lie beside the ledger.
    """
    rows: dict[tuple, dict[str, dict[int, Record]]] = {}
    for x in records:
        cell = CELLS[x["cell"]]
        row = rows.setdefault((_base(cell).name, *(x[name] for name in ALIKE)), {})
        row.setdefault(cell.modifier, {})[x["seed"]] = x
    order = {name: place for place, name in enumerate(CELLS)}
    ordered = sorted(rows.items(), key=lambda item: (order[item[0][0]], *item[0][1:]))
    lines = [HEAD, "|" + "---|" * HEAD.count(" | ") + "---|"]
    for (name, *_), runs in ordered:
        plain, corrected = runs.get("", {}), runs.get("+sdc", {})
        every = [*plain.values(), *corrected.values()]
        cells = (
            CELLS[name].method,
            CELLS[name].ipc,
            _seeds(plain, corrected),
            _accuracy(plain, "distilled"),
            _accuracy(corrected, "distilled"),
            _gain(plain, corrected),
            _accuracy(plain or corrected, "random"),
            _percentile(plain),
            _percentile(corrected),
            f"{np.median([x['minutes'] for x in every]):.1f}",
            " to ".join(map(str, sorted({x["at_once"] for x in every}))),
            ", ".join(sorted({run_on[x["sha256"]] for x in every})),
            "; ".join(filter(None, (_links(x, kept) for x in (plain, corrected)))),
        )
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return [*lines, ""]


def _seeds(*runs: Runs) -> str:
    """Seeds of all runs; where runs differ in them, of each."""
    texts = [", ".join(map(str, sorted(x))) for x in runs if x]
    return texts[0] if len(set(texts)) == 1 else "; ".join(texts)


def _accuracy(runs: Runs, what: str) -> str:
    """Mean over seeds of the means over networks, and its 95 % interval."""
    if not runs:
        return ""
    means = np.array([x[what]["mean"] for x in runs.values()])
    half = interval(means)
    return f"{means.mean():.2f}" + ("" if half is None else f" ± {half:.2f}")


def _gain(plain: Runs, corrected: Runs) -> str:
    """SDC minus plain, over the seeds that both have."""
    both = sorted(plain.keys() & corrected.keys())
    if not both:
        return ""
    mean_of = lambda record: record["distilled"]["mean"]
    gains = np.array([mean_of(corrected[x]) - mean_of(plain[x]) for x in both])
    return mean_text(float(gains.mean()), interval(gains))


def _percentile(runs: Runs) -> str:
    """Means over seeds, of the first images and of the last ones."""
    ends = [_mean(runs, when) for when in ("start", "end")]
    return "" if None in ends else f"{ends[0]:.0f} → {ends[1]:.0f}"


def _mean(runs: Runs, when: str) -> float | None:
    values = [x["difficulty"][when]["percentile"] for x in runs.values()]
    return None if not values or None in values else float(np.mean(values))


def _links(runs: Runs, kept: frozenset[str]) -> str:
    links = []
    for seed, record in sorted(runs.items()):
        name = set_name(record)
        is_kept = name in kept
        links.append(f"[{seed}](../results/sets/{name})" if is_kept else str(seed))
    return " ".join(links)
