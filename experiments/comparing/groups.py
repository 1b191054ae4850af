"""Rows of a comparison: which runs there are, and their results."""

import dataclasses
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from experiments.comparing import pairs
from experiments.comparing.flags import ComparisonFlags
from experiments.comparing.pairs import Summary
from jaxdd.data.problem import Problem
from jaxdd.distillation import options
from jaxdd.distillation import run as distill
from jaxdd.distillation.opening import open_run
from jaxdd.errors import Diverged, UserError
from jaxdd.progress import say

# Identifies a row; `str(key)` is its name in tables and gives its folders' names.
Key = TypeVar("Key", bound=Hashable)
C = TypeVar("C", bound=ComparisonFlags)  # a program's flags
Flags = Mapping[str, Any]
# {method: {candidate: accuracy on validation data in percent, per seed}}
Selection = Mapping[str, Mapping[Any, Sequence[float]]]


@dataclass(frozen=True)
class Group(Generic[Key]):
    """Rows of one method. Gains are measured from the first row.

    Attributes:
        base: the flags that all rows share.
        rows: {key: the flags in which the row differs from `base`}.
    """

    base: options.Config
    rows: Mapping[Key, Flags]

    @property
    def method(self) -> str:
        return self.base.method

    def config_of(self, row: Key, folder: Path, seed: int) -> options.Config:
        """The flags of one run, which has its own folder in `folder`."""
        place = str(pairs.folder_of(folder, row, seed))
        return dataclasses.replace(
            self.base, **{**self.rows[row], "workdir": place, "seed": seed}
        )

    def check(self, seeds: Sequence[int]) -> None:
        """Refuse bad flags of any run before the first run starts.

        Raises:
            UserError: see `options.check`.
        """
        for seed in seeds:
            for row in self.rows:
                options.check(self.config_of(row, Path(self.base.workdir), seed))

    def check_data(self, problem: Problem) -> None:
        """Refuse data that the method does not take before the first run starts.

        Raises:
            UserError: see `opening.open_run`.
        """
        row = next(iter(self.rows))
        config = self.config_of(row, Path(self.base.workdir), self.base.seed)
        open_run(config.method, options.given(config), problem)

    def with_banks(self, banks: Mapping[Key, Path]) -> "Group[Key]":
        """The same rows, matched with given banks of experts.

        Args:
            banks: {row: the folder of its bank}; other rows stay as they are.
        """
        rows = {
            row: {**flags, "experts": str(banks[row])} if row in banks else flags
            for row, flags in self.rows.items()
        }
        return dataclasses.replace(self, rows=rows)

    def run(
        self, seeds: Sequence[int], folder: Path, problem: Problem
    ) -> dict[Key, list[Summary]]:
        """Run every row with every seed; finished runs are only read.

        Args:
            seeds: of the runs.
            folder: the comparison's workdir, which holds the folders of the runs.
            problem: the data.

        Returns:
            {row: [summary per seed]}.

        Raises:
            UserError: a run diverges.
        """
        self.check(seeds)
        runs: dict[Key, list[Summary]] = {row: [] for row in self.rows}
        every = [(row, seed) for seed in seeds for row in self.rows]
        for i, (row, seed) in enumerate(every, 1):
            say(f"[{i}/{len(every)}] {row}, seed {seed}")
            config = self.config_of(row, folder, seed)
            try:
                runs[row].append(distill.run(config, problem))
            except Diverged as error:
                raise UserError(
                    f"{row} cannot be run with seed {seed}, since {error.fault}: leave "
                    "it out, and the same command goes on with what is finished"
                ) from error
        return runs


@dataclass(frozen=True)
class Opened(Generic[C, Key]):
    """A comparison whose flags are checked and whose folder is owned.

    Attributes:
        config: the program's flags.
        seeds: of every row.
        groups: the rows, by method.
        problems: {method: data}.
        folder: the workdir.
        selection: accuracies of candidates; empty where nothing is selected.
    """

    config: C
    seeds: Sequence[int]
    groups: Sequence[Group[Key]]
    problems: Mapping[str, Problem]
    folder: Path
    selection: Selection = field(default_factory=dict)


@dataclass(frozen=True)
class Finished(Opened[C, Key]):
    """A comparison whose runs are finished.

    Attributes:
        runs: {row: [summary per seed]}, of all groups.
    """

    runs: Mapping[Key, Sequence[Summary]] = field(default_factory=dict)

    def runs_of(self, group: Group[Key]) -> dict[Key, Sequence[Summary]]:
        return {row: self.runs[row] for row in group.rows}

    def folders_of(self, row: Key) -> list[Path]:
        """The folders of a row's runs, one per seed."""
        return [pairs.folder_of(self.folder, row, seed) for seed in self.seeds]
