"""Runs of cells: where each lies, its flags, its bank of experts."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.reproducing import ledger
from experiments.reproducing.cells import Cell
from experiments.reproducing.processes import Task
from jaxdd.devices.precision import AUTO


@dataclass(frozen=True)
class Place:
    """A run of a cell.

    Attributes:
        cell: what is run.
        seed: of all random numbers.
        steps: updates of the images, at most as many as published.
        out: the folder in which its workdir lies.
        precision: of the products in networks, "auto" for the device's own.
    """

    cell: Cell
    seed: int
    steps: int
    out: Path
    precision: str = AUTO

    @property
    def name(self) -> str:
        share = "" if self.steps == self.cell.steps else f"-{self.steps}"
        return f"{self.cell.name}-seed{self.seed}{share}{self._in_precision}"

    @property
    def folder(self) -> Path:
        """Its workdir."""
        return self.out / self.name

    @property
    def finished(self) -> bool:
        return (self.folder / ledger.RECORD).exists()

    def is_of(self, record: ledger.Record) -> bool:
        """Whether a record is of such a run, on whatever device."""
        run = record["cell"], record["seed"], record["steps"]
        return run == (self.cell.name, self.seed, self.steps) and self.precision in (
            AUTO,
            record["precision"],
        )

    @property
    def bank(self) -> Path | None:
        """The folder of its experts, which all seeds and most modifiers share."""
        if self.cell.bank is None:
            return None
        window = self.cell.modifier if self.cell.has_window else ""
        name = f"{self.cell.dataset}-{self.cell.method}{window}-{self.cell.ipc}"
        return self.out / f"{EXPERTS}{name}{self._in_precision}"

    @property
    def _in_precision(self) -> str:
        """The end of a folder's name: a run in another precision is another run."""
        return "" if self.precision == AUTO else f"-{self.precision}"

    def _precision(self) -> dict[str, Any]:
        return {} if self.precision == AUTO else {"precision": self.precision}

    def _given(self) -> dict[str, Any]:
        steps = {} if self.steps == self.cell.steps else {"steps": self.steps}
        return {**self.cell.flags, "seed": self.seed, **steps, **self._precision()}

    @property
    def command(self) -> str:
        """The command that distils it alone, and trains its experts on the way."""
        bank = self.cell.bank
        experts = {} if bank is None else {"num_experts": bank["num_experts"]}
        return ledger.command_of("distill", {**self._given(), **experts})

    def task(self, data_dir: str | None) -> Task:
        """The process that distils it."""
        experts = {} if self.bank is None else {"experts": str(self.bank)}
        flags = {**self._given(), **experts, "workdir": str(self.folder)}
        after = [] if self.bank is None else [self.bank.name]
        return Task(self.name, "distill", flags | self._read(data_dir), after)

    def training(self, data_dir: str | None) -> Task | None:
        """The process that trains its experts; None where it needs none."""
        if self.bank is None or self.cell.bank is None:
            return None
        flags = {**self.cell.bank, **self._precision(), "workdir": str(self.bank)}
        return Task(self.bank.name, "experts", flags | self._read(data_dir))

    def _read(self, data_dir: str | None) -> dict[str, Any]:
        if data_dir is None or not self.cell.is_prepared:
            return {}
        return {"data_dir": data_dir}


EXPERTS = "experts-"  # names of folders of experts begin so


def tasks(places: Iterable[Place], data_dir: str | None) -> list[Task]:
    """What is not finished, each bank before the first run that needs it."""
    by_name: dict[str, Task] = {}
    for place in places:
        if place.finished:
            continue
        training = place.training(data_dir)
        if training is not None:
            by_name.setdefault(training.name, training)
        by_name[place.name] = place.task(data_dir)
    return list(by_name.values())
