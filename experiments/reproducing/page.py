"""`docs/results.md`: the ledger as a page."""

from collections.abc import Iterable, Mapping, Sequence

from experiments.reproducing import by_seed
from experiments.reproducing.cells import CELLS, DEVIATIONS, LEAST_BAND
from experiments.reproducing.ledger import Record, gain, set_name

HEAD = f"""# Results

This page is written by `python -m experiments.reproduce --page=docs/results.md` from
`results/ledger.jsonl`, where every row has its command, versions, revision and the
SHA-256 of its set; a test fails when they differ. (Of the digits, runs that a later
one of the same cell and seed replaced are in the ledger alone.) Accuracy is test
accuracy in percent at the last epoch, mean ± standard deviation over n fresh networks,
beside random real subsets of the same size under the same protocol, and the step is
the last. In the cells of papers nothing was selected: the settings are the published
ones, with all training data (`--validation=0`); `+sdc` has a relative weight of 0.3,
fixed beforehand. Papers of trajectories match those of a hundred experts, and report
the best of many evaluated steps, by test data; here they are of as many experts as the
row names, and the step is the last.

* *Random* depends on the protocol, and each method has its own, with an augmentation of
  its own in the evaluation: under DSA's random images of CIFAR-10 have more than under
  DC's, which has none there. Sets of DATM, PAD, FRePo and RCIG have learned labels, and
  the random subsets beside them hard ones.
* *In band* says whether a full run is within ±max({DEVIATIONS:g}σ, {LEAST_BAND:g}
  points) of the published figure, σ being the published deviation.
* *Percentile* is the place of the set's GraDN among those of the real samples, first
  images → last ones, at networks of the kind `real_early` (100 steps of SGD on real
  data). Another kind gives another answer: see [sdc.md](sdc.md).
* *Minutes* are those of all starts, compilation and evaluation included; the number of
  runs that shared the device is in brackets.
* *MB* is the most memory in use on the device, on a processor that of the process.

![One image per class of CIFAR-10: real, DC, DSA, DSA + SDC, MTT](images/cifar10.png)

(MTT after 3000 of 5001 steps; the accuracy of real images is that of DC's protocol.)

![One image per class of MNIST: real, DC, DSA, DSA + SDC](images/mnist.png)

These are drawn by `python -m experiments.pictures --dataset=mnist --out=PNG
--artifacts=SETS`, with the sets' files of `results/sets` joined by commas, and
`python -m experiments.evaluate --artifact=results/sets/NAME.npz` measures a set again.
Comparisons of our own, with their seeds, are in [comparisons.md](comparisons.md).
"""

OURS = """## Digits, by our presets

No paper has figures for the digits, and the presets are ours. Mean over the seeds of
the means over networks (five, for random subsets ten), with its 95 % interval
(Student's t over seeds); the gain is paired by seed. SDC's weight is 0.3 of the match,
fixed beforehand. *Minutes* is the median of the runs, *at once* says how many shared
the device, *sets* has those of the plain method and of the one with SDC, by seed.
"""


def text(records: Sequence[Record], sets: Iterable[str] = ()) -> str:
    """The page.

    Args:
        records: of the ledger.
        sets: names of the files that lie beside it.
    """
    kept = frozenset(sets)
    part = [record for record in records if record["partial"]]
    of_papers = [record for record in records if not by_seed.is_ours(record)]
    full = [record for record in of_papers if not record["partial"]]
    ours = by_seed.latest(x for x in records if by_seed.is_ours(x) and not x["partial"])
    records = [x for x in records if x in of_papers or x in part or x in ours]
    none = ["No cell has run in full yet.", ""]
    lines = [HEAD, "## Published settings in full", ""]
    lines += _table(full, records, kept) if full else none
    if part:
        lines += [
            "## Partial runs",
            "",
            "Fewer steps than published: the difference is shown, no verdict is given.",
            "",
            *_table(part, records, kept),
        ]
    if ours:
        runs = _runs(records)
        run_on = {x["sha256"]: runs[_run(x)] for x in records}
        lines += [OURS, *by_seed.table(ours, run_on, kept)]
    lines += ["## Gains of a modifier", "", *_gains(of_papers)]
    lines += ["## Where they ran", "", *_machines(records)]
    lines += ["## Where the figures stand", "", *_sources(records)]
    return "\n".join(lines)


def _ordered(records: Iterable[Record]) -> list[Record]:
    order = {name: place for place, name in enumerate(CELLS)}

    def rank(x: Record) -> tuple:
        return order.get(x["cell"], len(order)), x["cell"], x["seed"], x["steps"]

    return sorted(records, key=rank)


def _table(
    records: Sequence[Record], every: Sequence[Record], kept: frozenset[str]
) -> list[str]:
    """Rows of cells, each with the paper's figure."""
    head = (
        "| cell | seed | ours | random | published | difference | in band | steps | "
        "percentile | minutes | MB | run on | set |"
    )
    runs = _runs(every)
    lines = [head, "|" + "---|" * head.count(" | ") + "---|"]
    for x in _ordered(records):
        published = x["published"]
        within = {True: "yes", False: "**no**", None: ""}[x["within"]]
        first, last = (x["difficulty"][y]["percentile"] for y in ("start", "end"))
        name = set_name(x)
        cells = (
            x["cell"] + (f" ({x['experts']} experts)" if x["experts"] else ""),
            x["seed"],
            _statistics(x["distilled"]),
            _statistics(x["random"]),
            "" if published is None else _published(published),
            "" if x["difference"] is None else f"{x['difference']:+.2f}",
            within,
            f"{x['steps']}" + (f" of {x['steps_published']}" if x["partial"] else ""),
            f"{_number(first)} → {_number(last)}",
            f"{x['minutes']:.1f}" + ("" if x["at_once"] == 1 else f" ({x['at_once']})"),
            _number(x["memory_mb"]),
            runs[_run(x)],
            f"[{x['sha256'][:8]}](../results/sets/{name})"
            + (" (slim)" if "set_sha256" in x else "") if name in kept
            else x["sha256"][:8],
        )  # fmt: skip
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return [*lines, ""]


def _gains(records: Sequence[Record]) -> list[str]:
    """Cells with a modifier beside the same seed without it."""
    by_cell: dict[str, list[Record]] = {}
    for record in records:
        by_cell.setdefault(record["cell"], []).append(record)
    lines = []
    for x in _ordered(records):
        cell = CELLS.get(x["cell"])
        if cell is None or cell.base is None:
            continue
        beside = gain(x, by_cell.get(cell.base, []))
        if beside is not None:
            lines.append(
                f"| {x['cell']} | {x['seed']} | {x['steps']} | {beside[0]:+.2f} ± "
                f"{beside[1]:.2f} |"
            )
    if not lines:
        return ["No cell has run with a modifier and without it.", ""]
    return [
        "Points over the run of the same seed, steps and device without the modifier.",
        "The interval is 95 %, from the spread of the evaluation's networks alone: the",
        "spread between seeds is not in it.",
        "",
        "| cell | seed | steps | gain |",
        "|---|---|---|---|",
        *lines,
        "",
    ]


def _run(record: Record) -> tuple[str, ...]:
    versions = record["versions"]
    used = ("python", "jax", "flax", "optax")
    return (
        record["device"],
        record["precision"],
        ", ".join(f"{name} {versions[name]}" for name in used if name in versions),
        record["revision"],
    )


def _runs(records: Sequence[Record]) -> Mapping[tuple[str, ...], str]:
    """A letter for each machine, precision, versions and revision."""
    known = dict.fromkeys(_run(x) for x in records)
    return {run: _letters(i) for i, run in enumerate(known)}


def _letters(index: int) -> str:
    first, last = divmod(index, 26)
    return (_letters(first - 1) if first else "") + chr(ord("A") + last)


def _machines(records: Sequence[Record]) -> list[str]:
    runs = _runs(records)
    if not runs:
        return ["Nothing has run yet.", ""]
    return [
        "| | device | precision of products | versions | revision |",
        "|---|---|---|---|---|",
        *(f"| {letter} | " + " | ".join(run) + " |" for run, letter in runs.items()),
        "",
    ]


def _sources(records: Sequence[Record]) -> list[str]:
    """The published figures of the cells that ran."""
    figures = {x["cell"]: x["published"] for x in _ordered(records) if x["published"]}
    lines = [f"* {cell}: {_published(x)}, {x['source']}" for cell, x in figures.items()]
    return [*lines, ""]


def _statistics(x: Mapping[str, float]) -> str:
    return f"{x['mean']:.2f} ± {x['std']:.2f} (n = {x['n']})"


def _published(x: Mapping) -> str:
    std = "" if x["std"] is None else f" ± {x['std']:g}"
    return f"{x['mean']:g}{std}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"
