"""The whole table: the base methods, each plain and with every modifier.

    python -m experiments.matrix --dataset=digits --ipc=2 --workdir=runs/matrix

Every cell is distilled for a few steps and has the command that does it alone:
sdc adds the difficulty correction, fiex leaves the hardest fifth of every class out,
fiem a quarter of what is matched, d4a distils in two segments. Trajectory methods share
two small banks of experts, without and with the window. Writes `matrix.md` and
`matrix.json` after every cell; the same command continues a stopped table. A cell "does
not work" where its flags are refused, its loss diverges, or its images are not what
they should be; anything else that stands in the way ends the program, and the same
command tries again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from experiments.comparing import lists, methods, pairs, reports, shared_banks
from experiments.comparing.cells import Cell, Key, Records, markdown
from experiments.comparing.comparison import opened_folder
from experiments.comparing.filling import Filler
from experiments.comparing.groups import Flags
from experiments.console.flags import main, option
from jaxdd import fields
from jaxdd.data.problem import DataFlags, Problem
from jaxdd.distillation import options, resolution
from jaxdd.errors import UserError
from jaxdd.methods.network import NetworkSpec
from jaxdd.progress import say
from jaxdd.storage.files import to_json, write_atomically
from jaxdd.storage.paths import shown

BASES = (
    "dc", "dsa", "dcc", "dsac", "idc", "dm", "m3d", "datadam", "ncfm", "mtt", "ftd",
    "tesla", "datm",
)  # fmt: skip
FIEX: Flags = {"score": "el2n", "drop_hardest": 0.2}
MODIFIERS: Mapping[str, Flags] = {
    "plain": {},
    "sdc": {"sdc_weight": 0.1, "sdc_relative": True},
    "fiex": FIEX,
    "fiem": {"mask": "depth", "mask_ratio": 0.25},
    "d4a": {"segments": 2, "forgetting": "replay"},
}
EPOCHS = 6  # of experts
JUDGE_EPOCHS = 30  # a judge only has to be better than nothing here


@dataclass(frozen=True, kw_only=True)
class Config(DataFlags):
    """Flags of `experiments.matrix`."""

    workdir: str = option(
        ..., "folder in which all cells and the table are stored", kind="path"
    )
    ipc: int = option(2, "synthetic images per class, at least 2", above=0)
    methods: str = option(
        ",".join(BASES), "methods, the rows of the table, joined by commas"
    )
    modifiers: str = option(
        ",".join(MODIFIERS), "modifiers, the columns of the table, joined by commas"
    )
    steps: int = option(20, "updates of the synthetic images in each cell", above=0)
    seed: int = option(0, "seed of all random numbers", kind="seed")
    width: int | None = option(None, "channels of the ConvNet; default: the field's")
    num_experts: int = option(2, "trajectory methods: experts in each bank")
    student_steps: int = option(10, "trajectory methods: N, SGD steps of a student")


def run(config: Config) -> dict[str, Any]:
    """Fill the table.

    Returns:
        {"cells": the content of `matrix.json`, "config", "versions", "device"}.

    Raises:
        UserError: bad input, named.
        signals.Interrupted: a signal stopped it; filled cells are kept.
    """
    fields.check(config)
    rows = lists.names(config.methods, "methods", methods.NAMES)
    columns = lists.names(config.modifiers, "modifiers", MODIFIERS)
    if config.ipc < 2:
        raise UserError(f"--ipc must be at least 2 for two segments, not {config.ipc}")
    cells = [cell_of(config, Key(row, column)) for row in rows for column in columns]
    for cell in cells:
        options.check(cell.config)
    problems = resolution.open_each({cell.key.method: cell.config for cell in cells})
    with opened_folder(config, "matrix", problems, _identity) as folder:
        _train_banks(config, cells, problems)
        records = Records(folder)
        filler = Filler(records, problems, lambda cell: plain_of(config, cell))
        for i, cell in enumerate(cells, 1):
            say(f"[{i}/{len(cells)}] {cell.key}")
            filler.add(cell)
        records.write()  # also where it was stopped between its two files
        summary = {"cells": records.all, **pairs.provenance_of(asdict(config))}
        write_atomically(folder / "summary.json", to_json(summary))
        reports.write(folder, markdown(records.all))
        say(f"{shown(folder)}: matrix.md, matrix.json, report.html")
        return summary


def _identity(values: Mapping[str, Any]) -> dict[str, Any]:
    """Images of another number of steps are another table's."""
    return {**values, "steps_per_cell": values.get("steps")}


def cell_of(config: Config, key: Key) -> Cell:
    """A cell with its flags."""
    flags: dict[str, Any] = {
        "workdir": str(Path(config.workdir) / str(key)),
        "dataset": config.dataset,
        "data_dir": config.data_dir,
        **config.form,
        "subset": config.subset,
        "stream": config.stream,
        "method": key.method,
        "ipc": config.ipc,
        "seed": config.seed,
        "steps": config.steps,
        "width": config.width,
        "measure_every": config.steps,
        "sdc_share": False,
        "validation": 0.0,
        **MODIFIERS[key.modifier],
    }
    if methods.has_experts(key.method):
        flags["experts"] = str(_bank_of(config, key))
    if methods.has_students(key.method):
        flags |= {"student_steps": config.student_steps, "max_start": 4}
        flags["expert_epochs"] = 2
    if methods.has_teacher(key.method) and "forgetting" in flags:
        flags["forgetting"] = "none"  # there are no real samples to compare with
    if methods.has_features(key.method) and "mask" in flags:
        flags["features"] = "all"  # what a mask can choose from
    if methods.has_warmup(key.method):
        flags["warmup_networks"] = 0  # or a few steps would all match class by class
    if "segments" in flags:
        flags["judge_epochs"] = JUDGE_EPOCHS
    return Cell(key, options.Config(**flags))


def plain_of(config: Config, cell: Cell) -> Cell:
    """The plain cell that a cell is compared with.

    A mask on features needs all blocks to be matched, and so does the plain method that
    it is compared with.
    """
    plain = cell_of(config, Key(cell.key.method, "plain"))
    if cell.config.features is None:
        return plain
    key = Key(cell.key.method, "all-features")
    place = str(Path(config.workdir) / str(key))
    return Cell(key, replace(plain.config, workdir=place, features="all"))


# --- Experts ------------------------------------------------------------------------


def _bank_of(config: Config, key: Key) -> Path:
    """The folder of a cell's experts, which methods share that see images alike."""
    scaling = methods.scaling_of(
        options.Config(
            workdir="", dataset=config.dataset, method=key.method, ipc=config.ipc
        )
    )
    window = "fiex" if key.modifier == "fiex" else None
    blocks = f"blocks{scaling.zca_blocks}" if scaling.zca_blocks else None
    zca = "zca" if scaling.zca else None
    net = methods.usual_net(key.method)
    other = None if net == NetworkSpec().net else net
    parts = ("experts", window, zca, blocks, scaling.constants, other)
    return Path(config.workdir) / "-".join(filter(None, parts))


def _train_banks(
    config: Config, cells: Sequence[Cell], problems: Mapping[str, Problem]
) -> None:
    """Train the experts that the cells name, by one recipe for all methods."""
    banks = {cell.config.experts: cell for cell in cells if cell.config.experts}
    for path, cell in banks.items():
        window = FIEX if cell.key.modifier == "fiex" else {}
        scaling = methods.scaling_of(cell.config)
        training = shared_banks.training_of(
            cell.config, Path(path), config.num_experts, EPOCHS, method="mtt",
            net=methods.usual_net(cell.key.method), zca=scaling.zca,
            zca_blocks=scaling.zca_blocks, constants=scaling.constants, **window,
        )  # fmt: skip
        served = f"{cell.key.modifier} trajectories"
        shared_banks.train(training, problems[cell.key.method], served)


def show(summary: dict[str, Any]) -> None:
    """Print the table."""
    print(markdown(summary["cells"]))


if __name__ == "__main__":
    main(Config, run, show)
