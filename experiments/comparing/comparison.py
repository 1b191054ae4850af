"""The skeleton of a comparison: what `pad`, `sdc` and `d4a` have in common.

A program states its flags, its rows, what its tables mean and its plots; `Comparison`
does the rest. All flags are checked before anything is written. A stopped comparison
continues where it was, a finished one is only read, and other flags are refused. A
comparison of two learning rates of the images, complete:

    @dataclass(frozen=True, kw_only=True)
    class Config(ComparisonFlags):
        factor: float = option(2.0, "factor between the two learning rates")

    class Rate(NamedTuple):
        value: float

        def __str__(self):
            return f"image_lr {self.value:g}"

    def groups(config):
        rates = (0.1, 0.1 * config.factor)
        rows = {Rate(rate): {"image_lr": rate} for rate in rates}
        return [Group(base_of(config, "dsa"), rows)]

    comparison = Comparison("rates", Config, lambda config: "DSA", groups, meaning)
    main(Config, comparison.run, comparison.show)
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

from experiments.comparing import lists, methods, pairs, reports, shared_banks
from experiments.comparing.flags import ComparisonFlags, refuse_unused
from experiments.comparing.groups import (
    C,
    Finished,
    Group,
    Key,
    Opened,
    Selection,
)
from jaxdd import fields
from jaxdd.data import check_ipc
from jaxdd.data.problem import Problem
from jaxdd.distillation import resolution
from jaxdd.progress import say
from jaxdd.report.pictures import draw
from jaxdd.storage.files import make_folder, to_json, write_atomically
from jaxdd.storage.lock import owned
from jaxdd.storage.paths import shown
from jaxdd.storage.workdir import Record

Table = dict[str, Any]  # the content of `table.json`


SELECT = "select"  # folder of the runs on which a choice rests


def nothing(*_: Any) -> dict:
    """No further entries."""
    return {}


def nothing_to_choose(*_: Any) -> Sequence[Group]:
    """No candidates."""
    return ()


def as_it_is(config: C, selection: Selection) -> C:
    """Flags with nothing to choose."""
    return config


@dataclass(frozen=True)
class Comparison(Generic[C, Key]):
    """A program that compares rows in paired seeds.

    Attributes:
        name: the kind of experiment that `run.json` states.
        flags: the program's dataclass of flags, a `ComparisonFlags`.
        subject: (flags) -> what is compared, for the heading of the tables.
        groups: (flags) -> the rows, by method. Raises UserError for bad flags.
        meaning: (flags, table) -> lines below the rows: what the numbers mean.
        layout: the columns of the table.
        candidates: (flags) -> rows among which something is chosen on validation data
            before the others run: their bases hold out a share of the training split.
            Raises UserError for bad flags.
        choose: (flags, {method: {candidate: accuracies}}) -> the flags with the choice.
        banks: (opened) -> {row: folder of its experts}; trains them.
        identity: (values of run.json) -> the values that make it this comparison.
        check_data: (flags, group, problem) -> None. Raises UserError before anything
            is written.
        details: (finished) -> {row: further entries of its record}.
        findings: (finished) -> further entries of the table beside its rows.
        plots: {file name: (finished, table, path) -> path}.
    """

    name: str
    flags: type[C]
    subject: Callable[[C], str]
    groups: Callable[[C], Sequence[Group[Key]]]
    meaning: Callable[[C, Table], list[str]]
    layout: pairs.Layout = pairs.PLAIN
    candidates: Callable[[C], Sequence[Group[Key]]] = nothing_to_choose
    choose: Callable[[C, Selection], C] = as_it_is
    banks: Callable[[Opened[C, Key]], Mapping[Any, Path]] = nothing
    identity: Callable[[Mapping[str, Any]], dict[str, Any]] = dict
    check_data: Callable[[C, Group[Key], Problem], Any] = nothing
    details: Callable[[Finished[C, Key]], Mapping[Key, Mapping[str, Any]]] = nothing
    findings: Callable[[Finished[C, Key]], Mapping[str, Any]] = nothing
    plots: Mapping[str, Callable[[Finished[C, Key], Table, Path], Path]] = (
        dataclasses.field(default_factory=dict)
    )

    def run(self, config: C) -> Table:
        """Run all rows, or continue, or read what is finished.

        Returns:
            The content of `table.json`.

        Raises:
            UserError: bad input, named.
            signals.Interrupted: a signal stopped it; finished runs are kept.
        """
        fields.check(config)
        seeds = lists.seeds(config.seeds)
        groups, candidates = self.groups(config), self.candidates(config)
        check_rows(config, groups, seeds)
        for group in candidates:
            group.check(seeds)
        problems = resolution.open_each({x.method: x.base for x in groups})
        for group in groups:
            problem = problems[group.method]
            labels, classes = problem.splits.train.labels, problem.dataset.num_classes
            check_ipc(labels, classes, config.ipc)
            self.check_data(config, group, problem)
            group.check_data(problem)
        held_out = _held_out(candidates, problems)
        with opened_folder(config, self.name, problems, self.identity) as folder:
            opened = Opened(config, seeds, groups, problems, folder)
            if candidates:
                opened = self._chosen(opened, candidates, held_out)
            return self.finish(self._filled(opened))

    def _chosen(
        self,
        opened: Opened[C, Key],
        candidates: Sequence[Group[Key]],
        held_out: Mapping[str, Problem],
    ) -> Opened[C, Key]:
        """The comparison with what validation data choose, never having seen test."""
        say("choosing on validation data")
        trial = self._filled(
            dataclasses.replace(
                opened,
                groups=candidates,
                problems=held_out,
                folder=make_folder(opened.folder / SELECT),
            )
        )
        selection = {
            group.method: {
                row: [x["distilled"]["mean"] for x in trial.runs[row]]
                for row in group.rows
            }
            for group in candidates
        }
        config = self.choose(opened.config, selection)
        return dataclasses.replace(
            opened, config=config, groups=self.groups(config), selection=selection
        )

    def _filled(self, opened: Opened[C, Key]) -> Finished[C, Key]:
        """The comparison with all its runs."""
        banks, seeds = self.banks(opened), opened.seeds
        runs: dict[Key, list[pairs.Summary]] = {}
        for group in opened.groups:
            say(f"{group.method}: {len(group.rows)} rows, {len(seeds)} seeds")
            served = group.with_banks(banks)
            runs |= served.run(seeds, opened.folder, opened.problems[group.method])
        return Finished(**vars(opened), runs=runs)

    def finish(self, finished: Finished[C, Key]) -> Table:
        """Write the tables and plots of finished runs."""
        rows = [
            row for x in finished.groups for row in pairs.compare(finished.runs_of(x))
        ]
        details = self.details(finished)
        for key, row in zip(finished.runs, rows, strict=True):
            row |= details.get(key, {})
        table = {
            "rows": rows,
            **self.findings(finished),
            **pairs.provenance_of(dataclasses.asdict(finished.config)),
        }
        folder, notes = finished.folder, self.meaning(finished.config, table)
        title = self.title(finished.config)
        pairs.write_tables(folder, title, rows, notes, self.layout)
        write_atomically(folder / "table.json", to_json(table))
        for name, plot in self.plots.items():
            draw(plot, finished, table, folder / name)
        reports.write(folder, self.text(table), list(self.plots))
        written = ("table.md", "table.csv", "table.json", *self.plots, reports.FILE)
        say(f"{shown(folder)}: {', '.join(written)}")
        return table

    def title(self, config: C) -> str:
        """The heading of the tables, such as "datm on digits, 1 per class"."""
        subject = shown(f"{self.subject(config)} on {config.dataset}")
        return f"{subject}, {config.ipc} per class"

    def text(self, table: Table) -> str:
        """The content of `table.md`."""
        config = self.flags(**table["config"])
        notes = self.meaning(config, table)
        return pairs.markdown(self.title(config), table["rows"], notes, self.layout)

    def show(self, table: Table) -> None:
        """Print the table and what it means."""
        print(self.text(table))


def _held_out(
    groups: Sequence[Group], problems: Mapping[str, Problem]
) -> dict[str, Problem]:
    """{method: its data with a share held out, which stands in the place of test}."""
    blind: dict[tuple, Problem] = {}  # methods may share their data
    chosen = {}
    for group in groups:
        problem, base = problems[group.method], group.base
        key = problem.scaling, base.validation, base.split_seed
        if key not in blind:
            apart = problem.held_out(base.validation, base.split_seed or 0)
            blind[key] = apart.blind()
        chosen[group.method] = blind[key]
    return chosen


def check_rows(
    config: ComparisonFlags, groups: Sequence[Group], seeds: Sequence[int]
) -> None:
    """Refuse bad flags of any run or bank: the first of them may take hours.

    Raises:
        UserError: such a flag, named.
    """
    refuse_unused(config, [group.method for group in groups])
    for group in groups:
        group.check(seeds)
        if methods.has_experts(group.method):
            shared_banks.check(group.base, config.num_experts, config.bank_epochs)


@contextlib.contextmanager
def opened_folder(
    config: Any,
    name: str,
    problems: Mapping[str, Problem],
    identity: Callable[[Mapping[str, Any]], dict[str, Any]] = dict,
) -> Iterator[Path]:
    """Own the workdir of a comparison, which may not hold another one.

    Other seeds make none: every run has a folder of its own, and the tables have those
    that are asked for.

    Args:
        config: the program's flags.
        name: the kind of experiment.
        problems: {method: data}, all of one dataset.
        identity: (values of run.json) -> the values that make it this comparison.

    Raises:
        UserError: another live run owns the folder, or it holds another comparison.
    """
    fingerprint = next(iter(problems.values())).dataset.fingerprint
    values = {**dataclasses.asdict(config), "fingerprint": fingerprint}
    # A flag that an earlier version did not have stands for its default.
    usual = {
        field.name: field.default
        for field in dataclasses.fields(config)
        if field.default is not dataclasses.MISSING
    }

    def known_by(values: Mapping[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in identity({**usual, **values}).items() if k != "seeds"}

    with owned(config.workdir) as folder:
        Record(folder, known_by(values), name, known_by)
        yield folder
