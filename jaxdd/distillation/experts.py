"""Train a bank of experts that has a workdir of its own."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxdd import augment, fields
from jaxdd.data.problem import DataFlags, Problem
from jaxdd.devices.timing import Stopwatch
from jaxdd.distillation import banks, options, resolution, sorting
from jaxdd.distillation import memory as least
from jaxdd.errors import UserError, quoted
from jaxdd.evaluation.statistics import statistics
from jaxdd.experts import DTYPES, Bank, Manifest
from jaxdd.experts.bank import CHECKSUMS, MANIFEST, SNAPSHOTS
from jaxdd.experts.manifest import read_manifest
from jaxdd.fields import option
from jaxdd.methods import presets
from jaxdd.methods.network import network_for
from jaxdd.progress import say
from jaxdd.storage import provenance
from jaxdd.storage.files import set_aside, to_json, write_atomically
from jaxdd.storage.paths import shown
from jaxdd.storage.records import integer, mapping, number, read_json, text
from jaxdd.storage.workdir import Record, owned
from jaxdd.types import Network

_SUMMARY = mapping(
    bank=mapping(),
    bytes=integer(1, 2**60),
    accuracy=mapping(
        split=text(100), mean=number(0, 100), std=number(0, 100), n=integer(1)
    ),
)


@dataclass(frozen=True)
class Config(DataFlags):
    """Flags of `experiments.experts`. None stands for the preset's value."""

    workdir: str = option(..., "folder for the bank", kind="path")
    method: str = option("mtt", "whose experts: mtt, ftd, tesla, datm or pad")
    ipc: int = option(1, "images per class that the experts will serve (presets only)")
    seed: int = option(0, "of everything random", kind="seed")
    validation: float = option(0.1, "share of train held out; as in the distillation")
    split_seed: int | None = option(
        None, "of that share; default: the seed", kind="seed"
    )
    zca: bool | None = option(None, "ZCA whitening; as in the distillation")
    constants: str | None = option(None, "of the normalisation; as in the distillation")
    net: str = option("convnet", "network")
    width: int | None = option(None, "channels of the ConvNet")
    depth: int | None = option(None, "blocks of the ConvNet")
    norm: str | None = option(None, "instance, batch, layer, group or none")
    activation: str | None = option(None, "relu, leaky_relu, sigmoid or swish")
    pooling: str | None = option(None, "avg, max or none")
    augmentation: str | None = option(None, "names joined by _, or none")
    num_experts: int | None = option(None, "how many experts")
    epochs: int | None = option(None, "of training")
    keep_first: int | None = option(None, "first epoch that is stored; default 0")
    keep_last: int | None = option(None, "last epoch that is trained and stored")
    dtype: str = option("float32", f"on disk: {' or '.join(DTYPES)}")
    learning_rate: float | None = option(None, "of SGD without momentum")
    batch_size: int | None = option(None, "of SGD")
    gsam_rho: float | None = option(None, "radius of adaptive GSAM; 0 for SGD")
    gsam_alpha: float | None = option(None, "weight of GSAM's orthogonal part")
    score: str | None = option(None, "sorts each class easy to hard, e.g. el2n")
    scores: str | None = option(None, "the same from a scores.npz", kind="path")
    drop_easiest: float | None = option(None, "share of each class that is left out")
    drop_hardest: float | None = option(None, "share of each class that is left out")
    init_ratio: float | None = option(None, "IR: the share of a class in epoch 0")
    add_end_epoch: int | None = option(None, "AEE: epoch from which all is seen")
    removals: str | None = option(None, "EPOCH:SHARE,... of the easiest, or none")


def _as_distillation(config: Config) -> options.Config:
    """The distillation that such experts would serve: one way to resolve both."""
    names = {f.name for f in dataclasses.fields(options.Config)}
    shared = {k: v for k, v in dataclasses.asdict(config).items() if k in names}
    epochs = config.keep_last if config.keep_last is not None else config.epochs
    return options.Config(
        **shared,
        # The start epochs are the distillation's business.
        expert_epochs=1,
        first_start=1,
        max_start=1,
        min_start=0,
        expansion=0,
        bank_epochs=epochs,
        bank_dtype=config.dtype,
        expert_lr=config.learning_rate,
        expert_batch=config.batch_size,
    )


def run(config: Config, problem: Problem | None = None) -> dict[str, Any]:
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
    opened = open_run(config, problem)
    with owned(config.workdir) as folder:
        summary = folder / "summary.json"
        resumed = Record(folder, opened.record, "experts")
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
        if opened.told is not None:
            say(opened.told)
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
        told: what the curriculum leaves out.
    """

    problem: Problem
    values: dict[str, Any]
    network: Network
    manifest: Manifest
    record: dict[str, Any]
    told: str | None


def open_run(config: Config, problem: Problem | None = None) -> Opened:
    """Check the flags against the data; see `run` for the arguments and errors."""
    fields.check(config)
    if config.dtype not in DTYPES:
        raise UserError(
            f"--dtype must be {' or '.join(DTYPES)}, not {quoted(config.dtype)}"
        )
    # Under the names of this program; `options.check` knows those of a distillation.
    for name in ("epochs", "keep_last", "batch_size", "learning_rate"):
        value = getattr(config, name)
        if value is not None and not 0 < value < math.inf:
            raise UserError(f"--{name} must be positive, not {value}")
    if config.epochs is not None and (config.keep_last or 0) > config.epochs:
        raise UserError(
            f"--keep_last={config.keep_last} is beyond --epochs={config.epochs}"
        )
    base = presets.preset(config.method, config.dataset, config.ipc).experts
    if base is None:
        raise UserError(
            f"--method={config.method} has no experts: choose mtt, ftd, tesla, datm or "
            "pad"
        )
    if config.epochs is None and config.keep_last is None:
        config = dataclasses.replace(config, epochs=base.epochs or 50)
    wanted = _as_distillation(config)
    options.check(wanted)
    problem = problem or resolution.open_data(wanted)
    problem = problem.scaled(resolution.scaling_of(wanted, problem.dataset.name))
    values = resolution.resolve(wanted, problem)
    network = network_for(problem.dataset, values["network"])
    least.check(least.networks(network, 1, "width"))
    last = values["bank"]["epochs"]
    first = config.keep_first or 0
    if not 0 <= first < last:
        raise UserError(
            f"--keep_first={first} must lie below the last stored epoch, {last}"
        )
    manifest = banks.manifest_of(problem, network, values, (first, last))
    record = dataclasses.asdict(dataclasses.replace(manifest, complete=True))
    told = sorting.foretell(problem, values)
    augment.dsa(values["augmentation"])  # or it would be refused after the sorting
    return Opened(problem, values, network, manifest, record, told)


def _train(opened: Opened, folder: Path, resumed: Record) -> dict[str, Any]:
    """Make the bank and measure it; what the summary says of it."""
    problem, network, manifest = opened.problem, opened.network, opened.manifest
    real = sorting.sorted_real(problem, network, opened.values, folder)

    def on_resume(done: int) -> None:
        resumed.resumed_at.append(done)
        resumed.save()

    bank = banks.make(folder, manifest, problem, network, real, on_resume)
    held_out = problem.splits.validation
    split = "train" if held_out is None else "validation"
    part = real if held_out is None else problem.on_device(held_out)
    found = banks.reach(bank, network, part)
    return {
        "bank": opened.record,
        "bytes": manifest.bytes,
        "accuracy": {"split": split, **statistics(np.array(found))},
        "resumed_at": resumed.resumed_at,
        "versions": provenance.versions(),
        "device": provenance.device(),
    }
