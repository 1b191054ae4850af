"""A teacher: a bank of one network, trained here or imported, with its statistics."""

import dataclasses
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jaxdd.data.problem import Problem
from jaxdd.distillation import banks, experts
from jaxdd.distillation.bank_spec import USUAL_EPOCHS
from jaxdd.distillation.choices import Run
from jaxdd.distillation.experts import NAMES, Opened
from jaxdd.distillation.options import FLAGS, filled_by_preset, run_of
from jaxdd.errors import UserError
from jaxdd.exchange.weights import read_weights
from jaxdd.experts import Bank
from jaxdd.experts.statistics import CLASS_FILE, FILE, write_statistics
from jaxdd.experts.teaching import first_teacher, known_of_classes
from jaxdd.fields import config_class, option
from jaxdd.modifiers.curriculum import Curriculum
from jaxdd.nets import has_batch_statistics
from jaxdd.progress import say
from jaxdd.statistics import statistics
from jaxdd.storage import provenance
from jaxdd.storage.files import to_json, write_atomically
from jaxdd.storage.lock import owned
from jaxdd.storage.paths import shown
from jaxdd.storage.workdir import Record
from jaxdd.types import Learner

# A method whose teachers these are; RDED's and CDA's are the same.
METHOD = "sre2l"
# What a teacher has no use for: it is one network, of which the end counts.
_WITHOUT = ("num_experts", "ipc", "gsam_rho", "gsam_alpha", "match_norm",
            "match_activation")  # fmt: skip
# Flags of a training, which imported weights have behind them.
_OF_TRAINING = (
    "epochs", "learning_rate", "batch_size", "augmentation",
    *(name for name in NAMES if FLAGS[name].group == "window"),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TeacherFlags:
    """What the configuration of a teacher has beside flags of a distillation."""

    workdir: str = option(..., "folder for the teacher", kind="path", often=True)
    weights: str | None = option(
        None,
        "file of trained weights that are imported in place of a training: "
        "torchvision's resnet18 as .safetensors, .pt or .pth, for "
        "--net=resnet18_imagenet",
        kind="path",
        often=True,
    )

    class_statistics: bool = option(
        False,
        "store the statistics of every class beside the teacher, for "
        "--statistics_of=class, which measures them where they are not stored",
    )

    if TYPE_CHECKING:  # the other fields are made below

        def __getattr__(self, name: str) -> Any: ...


_NAMES = {name: own for name, own in NAMES.items() if name not in _WITHOUT}
Config = config_class(
    "Config",
    "Flags of `experiments.teacher`. None stands for the preset's value.",
    (TeacherFlags,),
    Run,
    filled_by_preset,
    _NAMES,
)


def bank_config(config: TeacherFlags) -> experts.BankFlags:
    """The same as flags of `experiments.experts`: one expert, of which the last two
    epochs are stored."""
    flags = {own: getattr(config, own) for own in _NAMES.values()}
    of_run = {name: getattr(config, own) for name, own in _NAMES.items()}
    run = run_of(METHOD, of_run)
    assert run.experts is not None, "the method has a teacher"
    epochs = run.experts.epochs or USUAL_EPOCHS
    return experts.Config(
        workdir=config.workdir,
        method=METHOD,
        num_experts=1,
        keep_first=max(0, epochs - 1),
        **{**flags, "epochs": epochs},
    )


def run(config: TeacherFlags, problem: Problem | None = None) -> dict[str, Any]:
    """Train a teacher, or continue, or import one, or report what is finished.

    Args:
        config: the flags.
        problem: the data, where they are in memory already; by default they are read.

    Returns:
        The content of `summary.json`, as of `experts.run`: the accuracy is the
        teacher's, in percent.

    Raises:
        UserError: bad input, named.
        signals.Interrupted: a signal stopped the training; its state is saved.
    """
    for name in () if config.weights is None else _OF_TRAINING:
        if getattr(config, name) is not None:
            raise UserError(
                f"--{name} is about a training, and --weights imports a trained "
                "network: give one of them"
            )
    opened = experts.open_run(bank_config(config), problem)
    if config.class_statistics and not has_batch_statistics(opened.network):
        raise UserError(
            "--class_statistics are those of batch norm, which this network has not: "
            "use --net=convnet_bn or another network with it"
        )
    if config.weights is None:
        summary = experts.run_opened(opened, config.workdir)
        with owned(config.workdir) as folder:
            _store_statistics(opened, folder)
            _store_classes(config, opened, folder)
        return summary
    learner, digest = read_weights(config.weights, opened.network)
    opened = _of_weights(opened, digest)
    summary = _import(opened, learner, config.workdir)
    with owned(config.workdir) as folder:
        _store_classes(config, opened, folder)
    return summary


def _store_statistics(opened: Opened, folder: Path) -> None:
    """The statistics of a trained teacher, on the data that it was trained on."""
    bank, network = Bank.open(folder), opened.network
    stats = jax.eval_shape(network.init, jax.random.key(0))[1]
    if not jax.tree.leaves(stats) or (folder / FILE).exists():
        return
    problem = opened.problem
    real = problem.on_device(problem.splits.train)
    write_statistics(folder, first_teacher(bank, network, real).stats)


def _store_classes(config: TeacherFlags, opened: Opened, folder: Path) -> None:
    """The statistics of classes, where they are asked for and not there yet."""
    if not config.class_statistics or (folder / CLASS_FILE).exists():
        return
    bank, network = Bank.open(folder), opened.network
    real = opened.problem.on_device(opened.problem.splits.train)
    teacher = first_teacher(bank, network, real)
    known = known_of_classes(bank, network, teacher, real)
    write_statistics(folder, known, CLASS_FILE)


def _of_weights(opened: Opened, digest: str) -> Opened:
    """A bank of imported weights: one snapshot, after an epoch of another training."""
    manifest = replace(
        opened.manifest,
        training={"weights": digest},
        augmentation="none",
        curriculum=banks.described(Curriculum()),
        first_epoch=1,
        last_epoch=1,
    )
    record = dataclasses.asdict(replace(manifest, complete=True))
    return replace(opened, manifest=manifest, record=record)


def _import(opened: Opened, learner: Learner, workdir: str) -> dict[str, Any]:
    """Write a bank of one network, and measure it."""
    problem, network, manifest = opened.problem, opened.network, opened.manifest
    with owned(workdir) as folder:
        summary = folder / "summary.json"
        record = Record(folder, opened.record, "experts", experts.identity)
        if summary.exists():
            say(f"{shown(folder)} is finished: nothing to do")
            Bank.open(folder)
            return experts.read_summary(summary)
        record.save()
        if not Bank.is_finished(folder):
            write_statistics(folder, learner.stats)
            bank = Bank.create(folder, manifest)
            bank.write(0, manifest.last_epoch, jax.device_get(learner.params))
            bank.finish()
        held_out = problem.splits.validation
        real = problem.on_device(problem.splits.train)
        part = real if held_out is None else problem.on_device(held_out)
        reached = banks.reach(Bank.open(folder), network, part, real)
        split = "train" if held_out is None else "validation"
        content = {
            "bank": opened.record,
            "bytes": manifest.bytes,
            "accuracy": {"split": split, **statistics(np.array(reached))},
            "resumed_at": [],
            "versions": provenance.versions(),
            "device": provenance.device(),
        }
        write_atomically(summary, to_json(content))
        return experts.read_summary(summary)
