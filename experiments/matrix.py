"""The whole table: ten base methods, each plain and with every modifier.

    python -m experiments.matrix --dataset=digits --ipc=2 --workdir=runs/matrix

Every cell is distilled for a few steps and has the command that does it alone:
sdc adds the difficulty correction, fiex leaves the hardest fifth of every class out,
fiem a quarter of what is matched, d4a distils in two segments. Trajectory methods share
two small banks of experts, without and with the window. Writes `matrix.md` and
`matrix.json`, after every cell; a stopped table goes on where it was. A cell "does not
work" where its flags are refused, its loss diverges, or its images are not what they
should be; anything else that stands in the way ends the program, and the same command
tries again.
"""

import dataclasses
import hashlib
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.comparing import shared_banks
from experiments.console.flags import main, option
from jaxdd import fields
from jaxdd.data.problem import DataFlags, Problem
from jaxdd.distillation import options, pieces, resolution, segmented
from jaxdd.distillation import run as distillation
from jaxdd.distillation.job import Job
from jaxdd.errors import Diverged, UserError, quoted
from jaxdd.experts import Bank
from jaxdd.methods import build as methods
from jaxdd.methods.network import network_for
from jaxdd.methods.settings import METHODS
from jaxdd.progress import say
from jaxdd.scores.probes import Probes
from jaxdd.storage import provenance
from jaxdd.storage.files import make_folder, to_json, write_atomically
from jaxdd.storage.paths import shown
from jaxdd.storage.records import (
    flag,
    integer,
    list_of,
    mapping,
    maybe,
    number,
    read_json,
    text,
)
from jaxdd.storage.workdir import Record, owned

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

# What only a distilled cell has; null is what is not known.
MEASURED = ("loss_before", "loss_after", "seconds_per_step", "peak_mb")


class _DoesNotWork(Exception):
    """A cell for which there can be no images, and why."""


@dataclass(frozen=True)
class Config(DataFlags):
    """Flags of `experiments.matrix`."""

    workdir: str = option(..., "folder for all cells and the table", kind="path")
    ipc: int = option(2, "synthetic images per class, at least 2")
    methods: str = option(",".join(BASES), "rows, by commas")
    modifiers: str = option(",".join(MODIFIERS), "columns, by commas")
    steps: int = option(20, "updates of the images per cell")
    seed: int = option(0, "of everything random", kind="seed")
    width: int | None = option(None, "channels of the ConvNet")
    num_experts: int = option(2, "experts of each bank")
    student_steps: int = option(10, "N, steps of a student")


_RECORD = mapping(
    method=text(100),
    modifier=text(100),
    command=text(10**5),
    works=flag,
    why=text(10**4),
    sha256=maybe(text(64)),
    loss_before=maybe(number()),
    loss_after=maybe(number()),
    seconds_per_step=maybe(number(0)),
    peak_mb=maybe(number(0)),
)


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
    problems = resolution.open_each({cell.method: cell.config for cell in cells})
    with owned(config.workdir) as folder:
        _check_steps(folder, config)
        fingerprint = next(iter(problems.values())).dataset.fingerprint
        Record(folder, {**asdict(config), "fingerprint": fingerprint}, "matrix")
        _banks(config, cells, problems)
        table = _Table(config, folder, problems)
        for i, cell in enumerate(cells, 1):
            say(f"[{i}/{len(cells)}] {cell.name}")
            table.add(cell)
        table.write()  # also where it was stopped between its two files
        summary = {
            "cells": table.records,
            "config": asdict(config),
            "versions": provenance.versions(),
            "device": provenance.device(),
        }
        write_atomically(folder / "summary.json", to_json(summary))
        say(f"{shown(folder)}/matrix.md, matrix.json")
        return summary


def _check_steps(folder: Path, config: Config) -> None:
    """Refuse other steps than those of the cells that are filled already."""
    path = folder / "run.json"
    if not path.exists():
        return
    schema = mapping(config=mapping(optional={"steps": maybe(integer())}))
    known = read_json(path, schema, "choose another --workdir")
    steps = known["config"].get("steps")
    if known.get("kind") == "matrix" and steps not in (None, config.steps):
        raise UserError(
            f"{shown(folder)} holds a table of {steps} steps per cell: use "
            f"--steps={steps} or another --workdir"
        )


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
        # Methods that see the images differently cannot share experts.
        seen = resolution.scaling_of(
            options.Config(
                workdir="", dataset=config.dataset, method=method, ipc=config.ipc
            )
        )
        parts = ("experts", "fiex" if modifier == "fiex" else None,
                 "zca" if seen.zca else None, seen.constants)  # fmt: skip
        bank = Path(config.workdir) / "-".join(filter(None, parts))
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
                "channels": config.channels,
                "image_size": config.image_size,
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


def _banks(config: Config, cells: list[Cell], problems: Mapping[str, Problem]) -> None:
    """The experts that trajectory cells point to."""
    wanted = {cell.config.experts: cell for cell in cells if cell.config.experts}
    for path, cell in wanted.items():
        window: dict[str, Any] = FIEX if cell.modifier == "fiex" else {}
        # Of one recipe for all methods: runs say what theirs is.
        zca, constants = resolution.scaling_of(cell.config)
        bank = shared_banks.asked(
            cell.config, Path(path), config.num_experts, EPOCHS, method="mtt",
            zca=zca, constants=constants, **window,
        )  # fmt: skip
        shared_banks.train(bank, problems[cell.method], f"{cell.modifier} trajectories")


def _cell_record(value: Any, where: str) -> None:
    _RECORD(value, where)
    if value["works"] and None in (value["loss_before"], value["loss_after"]):
        raise ValueError(f"{where} works, but has no losses")


def read_table(path: Path) -> list[dict[str, Any]]:
    """The filled cells of a `matrix.json`.

    Raises:
        UserError: it is damaged.
    """
    remedy = "remove it, and its cells are filled again from their folders"
    return read_json(path, list_of(_cell_record), remedy)


class _Table:
    """Cells that are filled one after another."""

    def __init__(self, config: Config, folder: Path, problems: Mapping[str, Problem]):
        self.folder, self.config = folder, config
        self.path, self.problems = folder / "matrix.json", problems
        self.records: list[dict[str, Any]] = []
        if self.path.exists():
            self.records = read_table(self.path)
        self.probes: dict[Any, Probes] = {}
        self.reference: dict[str, str | None] = {}

    def add(self, cell: Cell) -> None:
        """Fill a cell, unless there are images of it.

        Raises:
            UserError: something stands in the way that may be gone at the next start.
        """
        name = {"method": cell.method, "modifier": cell.modifier}
        places = [i for i, x in enumerate(self.records) if name.items() <= x.items()]
        if places and self.records[places[0]]["sha256"] is not None:
            return
        try:
            record = self._filled(cell)
        except _DoesNotWork as error:
            nothing = dict.fromkeys((*MEASURED, "sha256"), None)
            record = {"works": False, "why": str(error), **nothing}
        record = {**name, "command": cell.command, **record}
        if places:
            self.records[places[0]] = record
        else:
            self.records.append(record)
        self.write()

    def write(self) -> None:
        """`matrix.json` and `matrix.md`."""
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
        # A start that had no step left to take has neither timed nor compiled one.
        peak = job.program.bytes()
        return {
            "works": not reasons,
            "why": "; ".join(reasons),
            "loss_before": before if np.isfinite(before) else None,
            "loss_after": after if np.isfinite(after) else None,
            "seconds_per_step": made.timings["seconds_per_step"] or None,
            "peak_mb": None if peak is None else peak / 1e6,
            "sha256": digest,
        }

    def _plain(self, cell: Cell) -> str | None:
        """Of the same method without the modifier, the images' sha256, if it works.

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
            plain = Cell(cell.method, "plain", config)
            try:
                made, _ = self._distilled(plain, folder)
            except _DoesNotWork:
                self.reference[name] = None
            else:
                images = np.asarray(made.stored.images)
                self.reference[name] = hashlib.sha256(images.tobytes()).hexdigest()
        return self.reference[name]

    def _distilled(self, cell: Cell, folder: Path) -> tuple[pieces.Made, Job]:
        """A cell without its final evaluation.

        Raises:
            _DoesNotWork: its flags are refused, or its loss diverges.
            UserError: something else stands in the way.
        """
        if cell.config.experts is not None:
            Bank.open(cell.config.experts)  # a damaged bank is no fault of the flags
        try:
            # Only the flags, with data and experts that are there: nothing is written.
            opened = distillation.open_run(cell.config, self.problems[cell.method])
        except UserError as refusal:
            raise _DoesNotWork(str(refusal)) from refusal
        with owned(folder):
            record = opened.record(folder)
            job = opened.job(make_folder(folder))
            try:
                made = segmented.distil(job, self._probes(job), folder, record)
            except Diverged as error:
                raise _DoesNotWork(str(error)) from error
        return made, job

    def _probes(self, job: Job) -> Probes:
        """One network is enough here, and all cells share it."""
        scaling = job.problem.scaling
        if scaling not in self.probes:
            network = network_for(job.problem.dataset, job.values["network"])
            real = job.inputs.full
            self.probes[scaling] = Probes(network, real, self.config.seed, 1, 20)
        return self.probes[scaling]


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
        why = shown(cell["why"]).replace("|", "\\|")
        return f"**no**: {why}"
    losses = (cell["loss_before"], cell["loss_after"])
    return " → ".join("?" if x is None else f"{x:.4g}" for x in losses)


def show(table: dict[str, Any]) -> None:
    print(markdown(table["cells"]))


if __name__ == "__main__":
    main(Config, run, show)
