"""Train a bank of experts that has a workdir of its own."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxdd import augment, fields
from jaxdd.calling import called
from jaxdd.data.accepted import as_problem_data
from jaxdd.data.problem import Problem
from jaxdd.devices import needs
from jaxdd.devices.timing import Stopwatch
from jaxdd.distillation import banks, resolution, sorting
from jaxdd.distillation.bank_spec import USUAL_EPOCHS
from jaxdd.distillation.choices import Run
from jaxdd.distillation.options import FLAGS, filled_by_preset, run_of
from jaxdd.distillation.resolution import Resolved
from jaxdd.errors import UserError, quoted
from jaxdd.experts import DTYPES, Bank, Manifest
from jaxdd.experts.bank import CHECKSUMS, MANIFEST, SNAPSHOTS
from jaxdd.experts.manifest import read_manifest
from jaxdd.fields import config_class, from_keywords, option
from jaxdd.fields.keywords import takes
from jaxdd.methods.recipes import METHODS
from jaxdd.progress import Callback, say
from jaxdd.statistics import statistics
from jaxdd.storage import provenance
from jaxdd.storage.files import set_aside, to_json, write_atomically
from jaxdd.storage.lock import owned
from jaxdd.storage.paths import local_path, shown
from jaxdd.storage.records import integer, mapping, number, read_json, text
from jaxdd.storage.workdir import Record, same_run
from jaxdd.types import Network

_SUMMARY = mapping(
    bank=mapping(),
    bytes=integer(1, 2**60),
    accuracy=mapping(
        split=text(100), mean=number(0, 100), std=number(0, 100), n=integer(1)
    ),
)


# Methods that match experts, or whose first images a trained network chooses.
WITH_EXPERTS = tuple(
    name
    for name, recipe in METHODS.items()
    if recipe.needs_experts or recipe.needs_teacher
)
# The flags of a distillation that are about its experts, and their names here.
NAMES = {
    **{name: name for name, flag in FLAGS.items() if flag.path[0] in (
        "data", "scaling", "network", "arithmetic", "window")},
    **{name: name for name in ("ipc", "seed", "augmentation", "num_experts",
                               "gsam_rho", "gsam_alpha")},
    "bank_epochs": "epochs",
    "bank_dtype": "dtype",
    "expert_lr": "learning_rate",
    "expert_batch": "batch_size",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class BankFlags:
    """What the configuration of a bank has beside flags of a distillation."""

    workdir: str = option(..., "folder for the bank", kind="path", often=True)
    method: str = option(
        "mtt",
        f"method whose experts are trained: {', '.join(WITH_EXPERTS)}",
        often=True,
    )
    keep_first: int | None = option(None, "first epoch that is stored; default: 0")
    keep_last: int | None = option(
        None, "last epoch that is trained and stored; default: --epochs"
    )

    if TYPE_CHECKING:  # the other fields are made below

        def __getattr__(self, name: str) -> Any: ...


Config = config_class(
    "Config",
    "Flags of `experiments.experts`. None stands for the preset's value.",
    (BankFlags,),
    Run,
    filled_by_preset,
    NAMES,
)


def _given(config: BankFlags) -> dict[str, Any]:
    """{flag of a distillation: value}."""
    return {name: getattr(config, own) for name, own in NAMES.items()}


@takes(Config, without=("dataset",))
def train_experts(
    data: Any,
    method: str = "mtt",
    *,
    workdir: str | Path,
    progress: Callback | None = None,
    **flags: Any,
) -> Bank:
    """Train a bank of experts once, for many distillations of the same data.

    The same values give the same bank as `python -m experiments.experts`, and the same
    call continues a stopped training. `jaxdd.distill(data, "mtt", experts=bank)`
    follows it; a run with another `seed` has to be told the `split_seed` of the bank,
    which says what is held out.

    Args:
        data: as of `jaxdd.distill`.
        method: whose experts are trained: a trajectory method, or rded for its teacher.
        workdir: the folder of the bank.
        progress: called with events, see `jaxdd.progress`; `jaxdd.report.bar` draws a
            bar.
        flags: of `experiments.experts`, such as `num_experts=10`, `epochs=12` or
            `width=32`.

    Raises:
        UserError: bad input, in one sentence.
        signals.Interrupted: a signal stopped the training; its state is saved.

    Source: ours; the experts are those of MTT (Cazenavette et al., CVPR 2022).

    Example:
        >>> import tempfile
        >>> few = {"net": "mlp", "num_experts": 1, "epochs": 1}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     bank = train_experts("digits", "mtt", workdir=folder, **few)
        ...     bank.manifest.experts
        1
    """
    with called(Config, progress, {"dataset": "data"}):
        modality = None if isinstance(data, str) else flags.pop("modality", None)
        dataset, name = as_problem_data(data, modality)
        config = from_keywords(
            Config, flags, dataset=name or "in memory", method=method, workdir=workdir
        )
        config = fields.understood(config)
        problem = None
        _check(config)
        if dataset is not None:
            given = {**_given(config), "dataset": None}
            problem = resolution.open_data(run_of(method, given), dataset)
        run(config, problem)
        return Bank.open(local_path(config.workdir, "workdir"))


def run(config: BankFlags, problem: Problem | None = None) -> dict[str, Any]:
    """Train a bank, or continue, or report what is finished.

    Args:
        config: the flags.
        problem: the data, where it is in memory already; by default it is read.

    Returns:
        The content of `summary.json`: {"bank", "bytes", "accuracy", ...}; accuracies in
        percent on the validation split, or on train where there is none.

    Raises:
        UserError: bad input, named.
        signals.Interrupted: a signal stopped the training; its state is saved.
    """
    return run_opened(open_run(config, problem), config.workdir)


def run_opened(opened: "Opened", workdir: str | Path) -> dict[str, Any]:
    """Train the bank of flags that are checked; see `run`."""
    with owned(workdir) as folder:
        summary = folder / "summary.json"
        resumed = Record(folder, opened.record, "experts", identity)
        lost = _lost(folder) if summary.exists() else None
        if lost is not None:
            there = f"{shown(folder)} is finished"
            say(f"{there}, but {lost} is not there: training again")
            # The manifest first: a complete one without a summary is not made again.
            set_aside(folder / MANIFEST)
            set_aside(summary)
        elif summary.exists():
            say(f"{shown(folder)} is finished: nothing to do")
            Bank.open(folder)
            return read_summary(summary)
        if opened.remark is not None:
            say(opened.remark)
        with Stopwatch() as watch:
            content = _train(opened, folder, resumed)
        spent, compiling = watch.total_seconds, watch.compile_seconds
        say(f"experts: {spent:.1f} s, {compiling:.1f} s of it compiling")
        write_atomically(summary, to_json(content))
        return read_summary(summary)


def _lost(folder: Path) -> str | None:
    """The first file that a finished bank lacks."""
    if not (folder / MANIFEST).exists():
        return MANIFEST
    _, version = read_manifest(folder / MANIFEST)
    # Format 1 had no checksums.
    parts = (SNAPSHOTS, CHECKSUMS) if version > 1 else (SNAPSHOTS,)
    return next((name for name in parts if not (folder / name).exists()), None)


def read_summary(path: Path) -> dict[str, Any]:
    """The `summary.json` of a finished bank.

    Raises:
        UserError: it is damaged.
    """
    return read_json(path, _SUMMARY, "remove it, and the bank is measured again")


@dataclass(frozen=True)
class Opened:
    """A training whose flags are checked and of which nothing is written yet.

    Attributes:
        manifest: of the bank.
        record: the same as a finished one, which a workdir is compared by.
        remark: what the curriculum leaves out.
    """

    problem: Problem
    resolved: Resolved
    network: Network
    manifest: Manifest
    record: dict[str, Any]
    remark: str | None

    def compare(self, folder: Path) -> None:
        """Refuse a folder with another bank, as `run` does; nothing is written."""
        same_run(folder, self.record, "experts", identity)


def identity(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a workdir is compared by; records without a precision are of float32."""
    return {"precision": "float32", **record}


def open_run(config: BankFlags, problem: Problem | None = None) -> Opened:
    """Check the flags against the data; see `run` for the arguments and errors."""
    _check(config)
    flags = _given(config)
    run = run_of(config.method, flags)
    problem = problem or resolution.open_data(run)
    run, problem = resolution.on_data(config.method, flags, problem)
    assert run.experts is not None, "experts follow from the method"
    last = next(
        x for x in (config.keep_last, run.experts.epochs, USUAL_EPOCHS) if x is not None
    )
    resolved = resolution.resolve(run, problem, epochs=last)
    network = resolved.network.make(problem.dataset, resolved.arithmetic)
    needs.check(needs.networks(network, 1, "width"))
    first = config.keep_first or 0
    if not 0 <= first < last:
        raise UserError(
            f"--keep_first={first} must lie below the last stored epoch, {last}"
        )
    manifest = banks.manifest_of(problem, network, resolved, (first, last))
    finished = dataclasses.replace(manifest, complete=True)
    record = {**dataclasses.asdict(finished), **resolved.codes}
    remark = sorting.describe_window(problem, resolved)
    # Or it would be refused after the sorting.
    augment.pipeline(resolved.recipe.objective.augmentation)
    return Opened(problem, resolved, network, manifest, record, remark)


def _check(config: BankFlags) -> None:
    """Refuse what makes no sense, under the names of this program.

    Raises:
        UserError: it is that.
    """
    fields.check(config)
    for name in ("epochs", "keep_last", "batch_size", "learning_rate"):
        value = getattr(config, name)
        if value is not None and not value > 0:
            raise UserError(f"--{name} must be positive, not {value}")
    if config.dtype is not None and config.dtype not in DTYPES:
        raise UserError(
            f"--dtype must be {' or '.join(DTYPES)}, not {quoted(config.dtype)}"
        )
    if config.epochs is not None and (config.keep_last or 0) > config.epochs:
        raise UserError(
            f"--keep_last={config.keep_last} is beyond --epochs={config.epochs}"
        )
    # Or each of this program's own flags would be refused as one of experts.
    if run_of(config.method, {}).experts is None:
        raise UserError(
            f"--method={config.method} has no experts: choose one of "
            f"{', '.join(WITH_EXPERTS)}"
        )


def _train(opened: Opened, folder: Path, resumed: Record) -> dict[str, Any]:
    """Make the bank and measure it; what the summary says of it."""
    problem, network, manifest = opened.problem, opened.network, opened.manifest
    real = sorting.sorted_real(problem, network, opened.resolved, folder)

    def on_resume(done: int) -> None:
        resumed.resumed_at.append(done)
        resumed.save()

    bank = banks.make(folder, manifest, problem, network, real, on_resume)
    held_out = problem.splits.validation
    split = "train" if held_out is None else "validation"
    part = real if held_out is None else problem.on_device(held_out)
    accuracies = banks.reach(bank, network, part, real)
    return {
        "bank": opened.record,
        "bytes": manifest.bytes,
        "accuracy": {"split": split, **statistics(np.array(accuracies))},
        "resumed_at": resumed.resumed_at,
        "versions": provenance.versions(),
        "device": provenance.device(),
    }
