"""Banks of experts: what one would hold, making it, and opening one that fits."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jax

from jaxdd import augment
from jaxdd.data.problem import Problem
from jaxdd.data.real import take
from jaxdd.distillation.resolution import Resolved
from jaxdd.experts import (
    Bank,
    Manifest,
    Snapshots,
    Watch,
    describe_size,
    layout,
    train_bank,
)
from jaxdd.experts.teaching import trained_expert
from jaxdd.methods.recipe import Recipe
from jaxdd.modifiers.curriculum import Curriculum
from jaxdd.progress import Stage, say
from jaxdd.scoring.files import SCORES_REMEDY
from jaxdd.storage.files import make_folder
from jaxdd.storage.paths import existing_file, shown
from jaxdd.training.evaluate import accuracy
from jaxdd.training.fit import Training, make_epochs
from jaxdd.types import Network, Params, RealData


def manifest_of(
    problem: Problem,
    network: Network,
    resolved: Resolved,
    keep: tuple[int, int] | None = None,
) -> Manifest:
    """What a bank for a run holds.

    Args:
        problem: the data.
        network: of the experts.
        resolved: every value of the run.
        keep: first and last epoch to store; None for all.
    """
    bank, window = resolved.bank, resolved.window
    assert bank is not None, "the method has experts"
    # How long to train is a matter of what will be matched, not of the optimiser.
    training = {
        "learning_rate": bank.learning_rate,
        "batch_size": bank.batch_size,
        "gsam_rho": bank.gsam_rho,
        "gsam_alpha": bank.gsam_alpha,
    }
    curriculum = described(resolved.curriculum)
    if resolved.curriculum != Curriculum():
        curriculum["score"] = window.score or _file_digest(window.scores)
    first, last = keep or (0, bank.epochs)
    held_out = resolved.data.validation
    return Manifest(
        data={
            "fingerprint": problem.dataset.fingerprint,
            "validation": held_out,
            "split_seed": problem.split_seed if held_out else None,
        },
        preprocess={
            "kind": problem.preprocess.kind,
            "digest": problem.preprocess.digest,
        },
        network=resolved.network.options(),
        training=training,
        curriculum=curriculum,
        augmentation=resolved.recipe.objective.augmentation,
        seed=bank.seed,
        experts=bank.experts,
        first_epoch=first,
        last_epoch=last,
        dtype=bank.dtype,
        leaves=layout(network),
        precision=resolved.arithmetic.precision,
    )


def as_of(wanted: Manifest, manifest: Manifest) -> Manifest:
    """A manifest as if its data were those of another one.

    Args:
        wanted: of a bank on data that are not decoded.
        manifest: of a bank whose data nobody can compare with them.
    """
    data, preprocess = dict(wanted.data), dict(wanted.preprocess)
    data["fingerprint"] = manifest.data.get("fingerprint")
    preprocess["digest"] = manifest.preprocess.get("digest")
    return replace(wanted, data=data, preprocess=preprocess)


def described(curriculum: Curriculum) -> dict[str, Any]:
    """A curriculum as manifests have it."""
    return json.loads(json.dumps(asdict(curriculum)))


def _file_digest(path: str | None) -> str:
    """Scores from a file are told apart by what is in it."""
    assert path is not None
    place = existing_file(path, "the scores", SCORES_REMEDY)
    with open(place, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return f"file {digest[:16]}"


def make(
    folder: Path,
    manifest: Manifest,
    problem: Problem,
    network: Network,
    real: RealData,
    on_resume: Callable[[int], None] = lambda done: None,
    begin: Callable[[int], Params] | None = None,
) -> Bank:
    """Train a bank in a folder that the caller owns, telling what it will weigh.

    Experts see the samples in play; see `train_bank` for `begin`.
    """

    def resumed(done: int) -> None:
        say(f"continuing after {done} epochs")
        on_resume(done)

    say(f"experts: {describe_size(manifest)} in {shown(folder)}")
    curriculum = _curriculum(manifest)
    training = Training(epochs=manifest.last_epoch, **manifest.training)
    everything = int(real.counts.sum()) == real.labels.shape[0]
    chosen = curriculum != Curriculum() or not everything
    epochs = make_epochs(
        network,
        training,
        augment.training(manifest.augmentation),
        fetch=take,
        members=curriculum.members if chosen else None,
        microbatch=problem.microbatch(manifest.network),
    )
    total = manifest.experts * manifest.last_epoch
    name = f"experts on {problem.dataset.name}"
    with Stage(name, total, f"{shown(folder)}/snapshots.bin", "epoch") as bar:
        watch = Watch(on_resume=resumed, progress=bar.count)
        target = make_folder(folder)
        return train_bank(target, manifest, network, epochs, real, watch, begin)


def _curriculum(manifest: Manifest) -> Curriculum:
    fields = {k: v for k, v in manifest.curriculum.items() if k != "score"}
    fields["removals"] = tuple((int(e), float(s)) for e, s in fields["removals"])
    return Curriculum(**fields)


def needed_epochs(recipe: Recipe, bank: Manifest) -> tuple[int, int]:
    """The first and the last snapshot of a bank that a method may read."""
    if recipe.taught or not recipe.needs_experts:
        return bank.last_epoch, bank.last_epoch  # those of a teacher
    if not recipe.follows:
        return 0, 1  # the first one, and any that is trained
    starts = recipe.spans.starts()
    return starts.lowest, starts.highest - 1 + recipe.span_epochs


def reach(
    bank: Snapshots, network: Network, split: RealData, real: RealData
) -> list[float]:
    """Accuracy of every expert after its last stored epoch, percent.

    Args:
        bank: the experts.
        network: theirs.
        split: the samples that are classified.
        real: those that they were trained on, for the statistics of batch norm.
    """
    measure = jax.jit(lambda learner, split: accuracy(network, learner, split))
    # Rounding makes 100.00001 of what is all right.
    return [
        min(100.0, float(measure(trained_expert(bank, e, network, real), split)))
        for e in range(bank.manifest.experts)
    ]
