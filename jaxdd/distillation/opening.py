"""Opening a run: flags are checked against data before anything is written."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jaxdd.artifact.artifact import Artifact
from jaxdd.augment import training as training_augmentation
from jaxdd.data import Dataset, check_ipc
from jaxdd.data.problem import Problem
from jaxdd.devices import needs
from jaxdd.distillation import banks, memory, resolution, sorting
from jaxdd.distillation.checks import check_files
from jaxdd.distillation.commands import command_of
from jaxdd.distillation.identity import identity
from jaxdd.distillation.job import Job
from jaxdd.distillation.options import run_of
from jaxdd.distillation.place import Place
from jaxdd.distillation.resolution import Resolved
from jaxdd.distillation.starts import Start, open_start
from jaxdd.distillation.storing import check_storable
from jaxdd.experts import Bank
from jaxdd.learners.context import Context
from jaxdd.methods.build import build
from jaxdd.methods.masking import describe_mask
from jaxdd.methods.presets import unpublished
from jaxdd.methods.recipe import Recipe
from jaxdd.objectives.capabilities import ChecksRun, LearnsStepSize
from jaxdd.progress import say
from jaxdd.scores.ensemble import check_shape
from jaxdd.storage.files import make_folder
from jaxdd.storage.lock import owned
from jaxdd.storage.workdir import Record, same_run
from jaxdd.synthetic.decoder import INPUT
from jaxdd.synthetic.initial import INITIALS
from jaxdd.types import Network, RealData


@dataclass(frozen=True)
class Opened:
    """A run whose flags are checked and of which nothing is written yet.

    Attributes:
        problem: the data.
        resolved: every value of the run.
        network: what is evaluated, and matched where nothing else is.
        given: the bank that the flags name, where they do.
        remarks: sentences about settings that nobody published, about what the window
            and the mask leave out, and about the set that the run begins at.
        differences: between the experts given and the method's own.
        start: the set to begin at, where --init names one.
        command: (workdir) -> how the run was started, as text.
    """

    problem: Problem
    resolved: Resolved
    network: Network
    given: Bank | None
    remarks: list[str]
    differences: list[str]
    start: Artifact | None = None
    command: Callable[[str | None], str] = lambda workdir: ""

    def record(self, folder: Path, name: str | None = None) -> Record:
        """The folder's record of this run; a new run is recorded at once.

        Args:
            folder: of the run.
            name: what the record calls it; by default its path.

        Raises:
            UserError: it holds another run, by all that alters a step.
        """
        values = self.resolved.values(name or str(folder))
        return Record(folder, values, identity=self._identity)

    def compare(self, folder: Path) -> None:
        """Refuse a folder as `record` does; nothing is written."""
        values = self.resolved.values(str(folder))
        same_run(folder, values, identity=self._identity)

    def _identity(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        return identity(values, self.problem)

    def job(self, place: Place) -> Job:
        """Sort the data and train experts where that is needed."""
        for sentence in [*self.remarks, *(f"warning: {x}" for x in self.differences)]:
            say(sentence)
        if place.folder is not None:
            for name in self.resolved.unknown_codes:
                say(
                    f"warning: the code of the {name} cannot be read, or holds what no "
                    "file can: a run that goes on will not notice that it was changed"
                )
        problem, resolved, bank = self.problem, self.resolved, self.given
        if bank is not None and resolved.recipe.follows:
            real: RealData = problem.on_device(problem.splits.train)
        else:
            real = sorting.sorted_real(problem, self.network, resolved, place.folder)
            if bank is None and resolved.bank is not None:
                bank = self._own_bank(place, real)
        return Job(problem, resolved, self.network, real, bank, self.start, place.name)

    def _own_bank(self, place: Place, real: RealData) -> Bank:
        """The bank of the run, trained now or before."""
        manifest = banks.manifest_of(self.problem, self.network, self.resolved)
        if Bank.is_finished(place.experts):
            return Bank.open(place.experts)
        with owned(make_folder(place.experts)) as target:
            return banks.make(target, manifest, self.problem, self.network, real)


def open_run(
    method: str | Recipe,
    flags: Mapping[str, Any],
    problem: Problem | None = None,
    dataset: Dataset | None = None,
) -> Opened:
    """Check the flags against the data.

    Args:
        method: a name in `METHODS`, or a recipe of your own.
        flags: {flag: value}.
        problem: the data, where they are split and scaled already; by default they are
            read, or split from a dataset.
        dataset: the data, where they are in memory.

    Raises:
        UserError: bad input, named.
    """
    run = run_of(method, flags, None if dataset is None else dataset.name)
    check_files(run)
    path = None if run.experts is None else run.experts.bank
    bank = None if path is None else Bank.open(path)
    if problem is None:
        problem = resolution.open_data(run, dataset)
    run, problem = resolution.on_data(method, flags, problem)
    dataset = problem.dataset
    check_ipc(problem.splits.train.labels, dataset.num_classes, run.task.ipc)
    manifest = None if bank is None else bank.manifest
    resolved = resolution.resolve(run, problem, manifest)
    network = resolved.network.make(dataset, resolved.arithmetic)
    matched = resolved.matched(dataset, network)
    needs.check(memory.distillation(problem, network, matched, resolved))
    training_augmentation(resolved.evaluation.augmentation)
    resolved.recipe.formation.check_samples(dataset.image_shape)
    _check_method(matched, resolved.recipe, dataset, run.task.ipc)
    resolved, differences = _with_bank(bank, problem, network, resolved)
    remarks = _left_out(problem, resolved, matched, bank)
    if isinstance(method, str):
        stand_in = unpublished(method, dataset.name, run.task.ipc)
        remarks = remarks if stand_in is None else [stand_in, *remarks]
    start, init = None, resolved.recipe.images.init
    if init not in INITIALS:
        begun = open_start(init, problem, resolved)
        start, remarks = begun.artifact, remarks + begun.remarks
        resolved = replace(resolved, recipe=_begun_at(begun, resolved.recipe, flags))

    def command(workdir: str | None) -> str:
        return command_of(method, flags, workdir, problem.source is not None)

    if dataset.is_decoded:  # else it is a plan
        check_storable(problem, resolved)
    return Opened(
        problem, resolved, network, bank, remarks, differences, start, command
    )


def _begun_at(start: Start, recipe: Recipe, flags: Mapping[str, Any]) -> Recipe:
    """The recipe of a run that begins at a set: what is in it, not where it is."""
    images = replace(recipe.images, init=f"set {start.digest}")
    recipe = replace(recipe, images=images)
    step_size, given = start.artifact.step_size, flags.get("step_size") is not None
    objective: Any = recipe.objective
    takes_it = recipe.follows and isinstance(objective, LearnsStepSize)
    if takes_it and step_size is not None and not given:
        recipe = replace(recipe, objective=replace(objective, step_size=step_size))
    return recipe


def _check_method(network: Network, recipe: Recipe, dataset: Dataset, ipc: int) -> None:
    """Refuse choices that do not fit the network or the data, before any work."""
    build(network, recipe, Context(experts=1, pixels=INPUT))
    if recipe.needs_teacher:
        score, classes = recipe.images.crops.score, dataset.num_classes
        check_shape(score, network, dataset.image_shape, classes)
    if isinstance(recipe.objective, ChecksRun):
        shape, images = dataset.image_shape, recipe.formation.count(ipc)
        recipe.objective.check_run(network, shape, dataset.num_classes, images)


def _with_bank(
    bank: Bank | None, problem: Problem, network: Network, resolved: Resolved
) -> tuple[Resolved, list[str]]:
    """The run with its bank's digest, and how a given one differs from its own.

    A bank that the run trains counts as if it were given: the run may go on with
    --experts=WORKDIR/experts.
    """
    if resolved.bank is None:
        return resolved, []
    wanted = banks.manifest_of(problem, network, resolved)
    if bank is None:
        digest = replace(wanted, complete=True).digest
        spec = replace(resolved.bank, manifest=digest)
        return replace(resolved, bank=spec), []
    if not problem.dataset.is_decoded:  # in a plan
        wanted = banks.as_of(wanted, bank.manifest)
    needed = banks.needed_epochs(resolved.recipe, bank.manifest)
    return resolved, bank.check(wanted, needed)


def _left_out(
    problem: Problem, resolved: Resolved, network: Network, bank: Bank | None
) -> list[str]:
    """What the window and the mask leave out, and a refusal where that is nothing."""
    # The window of a given bank was fixed when it was trained.
    fixed = bank is not None and resolved.recipe.follows
    window = None if fixed else sorting.describe_window(problem, resolved)
    shape = problem.dataset.image_shape
    mask = describe_mask(network, resolved.recipe, shape)
    return [sentence for sentence in (window, mask) if sentence is not None]
