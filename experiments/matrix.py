"""The whole table: ten base methods, each plain and with every modifier.

    python -m experiments.matrix --dataset=digits --ipc=2 --workdir=runs/matrix

Every cell is distilled for a few steps and has the command that does it alone:
sdc adds the difficulty correction, fiex leaves the hardest fifth of every class out,
fiem a quarter of what is matched, d4a distils in two segments. Trajectory methods share
two small banks of experts, without and with the window. Writes `matrix.md` and
`matrix.json`, after every cell; a stopped table goes on where it was.
"""

import dataclasses
import hashlib
import json
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments import (
    distill,
    fields,
    options,
    pieces,
    resolution,
    segmented,
    shared_banks,
)
from experiments.flags import main, option
from experiments.job import Job
from experiments.probes import Probes
from experiments.problem import Problem, network_for
from experiments.progress import say
from jaxdd import methods, programs, provenance
from jaxdd.errors import UserError, quoted
from jaxdd.settings import METHODS
from jaxdd.workdir import (
    Record,
    make_folder,
    owned,
    to_json,
    write_atomically,
)

BASES = ("dc", "dsa", "dcc", "dsac", "idc", "dm", "mtt", "ftd", "tesla", "datm")
FIEX: dict[str, Any] = {"score": "el2n", "drop_hardest": 0.2}
MODIFIERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "sdc": {"sdc_weight": 0.1, "sdc_relative": True},
    "fiex": FIEX,
    "fiem": {"mask": "depth", "mask_ratio": 0.25},
    "d4a": {"segments": 2, "forgetting": "replay"},
}
DRAWS = 8  # of network and samples, at which losses are compared
EPOCHS = 6  # of experts
# A judge only has to be better than nothing here.
JUDGE_EPOCHS = 30


@dataclass(frozen=True)
class Config:
    """Flags of `experiments.matrix`."""

    workdir: str = option(..., "folder for all cells and the table", kind="path")
    dataset: str = option(
        "digits", "digits, folder:PATH or a prepared TFDS name", kind="dataset"
    )
    ipc: int = option(2, "synthetic images per class, at least 2")
    methods: str = option(",".join(BASES), "rows, by commas")
    modifiers: str = option(",".join(MODIFIERS), "columns, by commas")
    steps: int = option(20, "updates of the images per cell")
    seed: int = option(0, "of everything random", kind="seed")
    data_dir: str | None = option(None, "where prepared TFDS datasets are", kind="path")
    width: int | None = option(None, "channels of the ConvNet")
    num_experts: int = option(2, "experts of each bank")
    student_steps: int = option(10, "N, steps of a student")


@dataclass(frozen=True)
class Cell:
    """One field of the table."""

    method: str
    modifier: str
    config: options.Config

    @property
    def name(self) -> str:
        return f"{self.method}-{self.modifier}"

    @property
    def command(self) -> str:
        """What distils this cell alone."""
        usual = {f.name: f.default for f in dataclasses.fields(options.Config)}
        given = {k: v for k, v in asdict(self.config).items() if v != usual[k]}
        flags = (f"--{k}={shlex.quote(str(v))}" for k, v in given.items())
        return " ".join(["python -m experiments.distill", *flags])


def run(config: Config) -> dict[str, Any]:
    """Fill the table; {"cells": the content of `matrix.json`, ...}.

    Raises:
        UserError: bad input, named.
        signals.Interrupted: a signal stopped it; what is done is kept.
    """
    fields.check(config)
    rows, columns = _axes(config)
    if config.ipc < 2:
        raise UserError(f"--ipc must be at least 2 for two segments, not {config.ipc}")
    cells = [_cell(config, method, column) for method in rows for column in columns]
    for cell in cells:
        options.check(cell.config)
    problem = resolution.open_data(cells[0].config)
    with owned(config.workdir) as folder:
        Record(folder, asdict(config), "matrix")
        _banks(config, cells, folder, problem)
        table = _Table(config, folder, problem)
        for i, cell in enumerate(cells, 1):
            say(f"[{i}/{len(cells)}] {cell.name}")
            table.add(cell)
        summary = {
            "cells": table.records,
            "config": asdict(config),
            "versions": provenance.versions(),
            "device": provenance.device(),
        }
        write_atomically(folder / "summary.json", to_json(summary))
        say(f"{folder}/matrix.md, matrix.json")
        return summary


def _axes(config: Config) -> tuple[list[str], list[str]]:
    """The rows and columns asked for."""
    rows, columns = config.methods.split(","), config.modifiers.split(",")
    for names, known, what in (
        (rows, METHODS, "method"),
        (columns, MODIFIERS, "modifier"),
    ):
        for name in names:
            if name not in known:
                raise UserError(
                    f"unknown {what} {quoted(name)}: choose from {', '.join(known)}"
                )
    return rows, columns


def _cell(config: Config, method: str, modifier: str) -> Cell:
    settings = METHODS[method]
    flags = dict(MODIFIERS[modifier])
    if settings.objective == "trajectory":
        bank = Path(config.workdir) / (
            "experts-fiex" if modifier == "fiex" else "experts"
        )
        flags |= {"experts": str(bank), "student_steps": config.student_steps}
        flags |= {"max_start": 4, "expert_epochs": 2}
    if settings.objective == "distribution" and "mask" in flags:
        flags["features"] = "all"  # what a mask can choose from
    if settings.objective == "contrastive":
        flags["warmup_networks"] = 0  # or a few steps would all match class by class
    if "segments" in flags:
        flags["judge_epochs"] = JUDGE_EPOCHS
    return Cell(
        method,
        modifier,
        options.Config(
            **{
                "workdir": str(Path(config.workdir) / f"{method}-{modifier}"),
                "dataset": config.dataset,
                "data_dir": config.data_dir,
                "method": method,
                "ipc": config.ipc,
                "seed": config.seed,
                "steps": config.steps,
                "width": config.width,
                "measure_every": config.steps,
                "sdc_share": False,
                "validation": 0.0,
                **flags,
            }
        ),
    )


def _banks(config: Config, cells: list[Cell], folder: Path, problem: Problem) -> None:
    """The experts that trajectory cells point to."""
    wanted = {cell.config.experts: cell for cell in cells if cell.config.experts}
    for path, cell in wanted.items():
        window: dict[str, Any] = FIEX if cell.modifier == "fiex" else {}
        # Of one recipe for all methods: runs say what theirs is.
        bank = shared_banks.asked(
            cell.config, Path(path), config.num_experts, EPOCHS, method="mtt", **window
        )
        shared_banks.train(bank, problem, f"{cell.modifier} trajectories")


class _Table:
    """Cells that are filled one after another."""

    def __init__(self, config: Config, folder: Path, problem: Problem):
        self.folder, self.config = folder, config
        self.path, self.problem = folder / "matrix.json", problem
        self.records: list[dict[str, Any]] = []
        if self.path.exists():
            self.records = json.loads(self.path.read_text())
        self.probes: dict[Any, Probes] = {}
        self.reference: dict[str, str] = {}

    def add(self, cell: Cell) -> None:
        """Fill a cell, unless it is filled."""
        key = (cell.method, cell.modifier)
        if any((x["method"], x["modifier"]) == key for x in self.records):
            return
        try:
            record = self._filled(cell)
        except UserError as error:
            record = {
                **dict.fromkeys(("loss_before", "loss_after"), None),
                **dict.fromkeys(("seconds_per_step", "peak_mb", "sha256"), None),
                "works": False,
                "why": str(error),
            }
        self.records.append(
            {
                "method": cell.method,
                "modifier": cell.modifier,
                "command": cell.command,
                **record,
            }
        )
        write_atomically(self.path, to_json(self.records))
        write_atomically(self.folder / "matrix.md", markdown(self.records))

    def _filled(self, cell: Cell) -> dict[str, Any]:
        made, job = self._distilled(cell, Path(cell.config.workdir))
        before, after = (
            _losses(job, made.last, part) for part in (made.begun[-1], made.parts[-1])
        )
        images = np.asarray(made.stored.images)
        digest = hashlib.sha256(images.tobytes()).hexdigest()
        reasons = []
        if not (np.isfinite(images).all() and np.isfinite([before, after]).all()):
            reasons.append("not finite")
        if np.array_equal(images, np.asarray(made.first.images)):
            reasons.append("the images did not change")
        if cell.modifier != "plain" and digest == self._plain(cell):
            reasons.append("the images equal those of the plain method")
        program = programs.program_of(job.method._replace(plan=None))
        return {
            "works": not reasons,
            "why": "; ".join(reasons),
            "loss_before": before,
            "loss_after": after,
            "seconds_per_step": made.timings["seconds_per_step"],
            "peak_mb": program.bytes() / 1e6,
            "sha256": digest,
        }

    def _plain(self, cell: Cell) -> str:
        """Of the same method without the modifier, the images' sha256.

        A mask on features needs all blocks to be matched: so does what it is compared
        with.
        """
        name = f"{cell.method}-plain"
        config = _cell(self.config, cell.method, "plain").config
        if cell.config.features is not None:
            name = f"{name}-all-features"
            config = options.Config(**{**asdict(config), "features": "all"})
        if name not in self.reference:
            for known in self.records:
                if f"{known['method']}-{known['modifier']}" == name:
                    self.reference[name] = known["sha256"]
        if name not in self.reference:
            folder = self.folder / name
            config = options.Config(**{**asdict(config), "workdir": str(folder)})
            made, _ = self._distilled(Cell(cell.method, "plain", config), folder)
            images = np.asarray(made.stored.images)
            self.reference[name] = hashlib.sha256(images.tobytes()).hexdigest()
        return self.reference[name]

    def _distilled(self, cell: Cell, folder: Path) -> tuple[pieces.Made, Job]:
        """A cell without its final evaluation."""
        opened = distill.open_run(cell.config, self.problem)
        with owned(folder):
            record = Record(folder, opened.values)
            job = opened.job(make_folder(folder))
            made = segmented.distil(job, self._probes(job), folder, record)
        return made, job

    def _probes(self, job: Job) -> Probes:
        """One network is enough here, and all cells share it."""
        zca = job.problem.preprocess.kind
        if zca not in self.probes:
            network = network_for(self.problem.dataset, job.values["network"])
            real = job.inputs.full
            self.probes[zca] = Probes(network, real, self.config.seed, 1, 20)
        return self.probes[zca]


def _losses(job: Job, piece: pieces.Piece, part: Any) -> float:
    """The mean of the objective at fixed draws, of what a piece stores."""
    formation = methods.formation_of(job.settings)
    loss = jax.jit(methods.loss_at(job.network, job.settings, *job.axes[:2]))
    synthetic = job.decode(part, formation)
    key = job.key("matrix")
    found = [
        float(loss(jax.random.fold_in(key, i), synthetic, piece.inputs_at(i)))
        for i in range(DRAWS)
    ]
    return float(np.mean(found))


def markdown(records: list[dict[str, Any]]) -> str:
    """The table: the change of the loss where a cell works, else why not."""
    columns = list(dict.fromkeys(x["modifier"] for x in records))
    lines = [
        "# Methods and modifiers",
        "",
        "| method | " + " | ".join(columns) + " |",
        "|---|" + "---|" * len(columns),
    ]
    by_cell = {(x["method"], x["modifier"]): x for x in records}
    for method in dict.fromkeys(x["method"] for x in records):
        found = (by_cell.get((method, column)) for column in columns)
        lines.append(f"| {method} | " + " | ".join(map(_text, found)) + " |")
    works = sum(x["works"] for x in records)
    return "\n".join(
        [
            *lines,
            "",
            f"{works} of {len(records)} cells work. In a cell: the objective on "
            f"{DRAWS} fixed draws before and after the steps; commands, times, memory "
            "and hashes are in matrix.json.",
            "",
        ]
    )


def _text(cell: dict[str, Any] | None) -> str:
    if cell is None:
        return ""
    if not cell["works"]:
        return f"**no**: {cell['why']}"
    return f"{cell['loss_before']:.4g} → {cell['loss_after']:.4g}"


def show(table: dict[str, Any]) -> None:
    print(markdown(table["cells"]))


if __name__ == "__main__":
    main(Config, run, show)
