"""The set that --init names: whether a run can begin at it."""

from pathlib import Path
from typing import NamedTuple

from jaxdd.artifact.artifact import Artifact
from jaxdd.artifact.file import load
from jaxdd.artifact.restart import same_preprocessing
from jaxdd.artifact.slim import filled
from jaxdd.data.problem import Problem
from jaxdd.data.unfitted import Unfitted
from jaxdd.distillation.resolution import Resolved
from jaxdd.errors import UserError
from jaxdd.evaluation.reopening import check_kind
from jaxdd.storage.paths import existing_file, shown
from jaxdd.synthetic.formation import Formation
from jaxdd.synthetic.images import INITIAL_CHOICES


class Start(NamedTuple):
    """A set to begin at.

    Attributes:
        artifact: the set, whole.
        digest: of the set as its file has it. That of a slim one does not depend on the
            rounding of the machine that fits its whitening again.
        remarks: sentences about what of it is used, and how.
    """

    artifact: Artifact
    digest: str
    remarks: list[str]


def open_start(path: str, problem: Problem, resolved: Resolved) -> Start:
    """Read the set at which a run is to begin.

    Args:
        path: of the artifact.
        problem: the data of the run.
        resolved: every value of the run.

    Raises:
        UserError: there is no such set, or it has other classes, another shape or
            number of images, another decoder or kind of preprocessing than the run; or
            it is slim, and was whitened by other data.
    """
    place = existing_file(path, "--init", INITIAL_CHOICES)
    artifact = load(place)
    check_kind(artifact, problem.dataset, problem.name)
    recipe = resolved.recipe
    formation = recipe.formation.evaluated()
    ours = Formation(artifact.factor, artifact.formation)
    for what, flag, there, here in (
        ("images per class", "ipc", artifact.ipc, resolved.task.ipc),
        ("factor", "factor", ours.factor, formation.factor),
        ("formation", "formation", ours.kind, formation.kind),
        ("space", "space", artifact.space, recipe.images.space),
    ):
        if flag == "formation" and formation.factor == 1:
            continue  # of one tile, all are the same
        if there != here:
            raise UserError(
                f"the set {shown(place)} of --init has {what} {there} and the run "
                f"{here}: give --{flag}={there}, or a set that agrees"
            )
    own, asked = artifact.preprocess, problem.preprocess
    if own.kind != asked.kind:
        blocks = own.block(artifact.images.shape[2:])
        zca = str(own.kind != "affine").lower()
        zca += "" if blocks is None else f" --zca_blocks={blocks}"
        raise UserError(
            f"the set {shown(place)} of --init has the preprocessing {own.kind} and "
            f"the run {asked.kind}: give --zca={zca}, or a set that agrees"
        )
    if isinstance(own, Unfitted) and not own.agrees(asked):
        raise UserError(
            f"the slim set {shown(place)} of --init was whitened by other training "
            "data than the run's, and its own matrices are left out: make it whole "
            "by experiments.convert with --dataset (and --data_dir)"
        )
    whole = filled(artifact, asked)
    remarks = _told(whole, place, problem, recipe.labels.name)
    return Start(whole, artifact.digest, remarks)


def _told(artifact: Artifact, place: Path, problem: Problem, labels: str) -> list[str]:
    """What a start from this set means, where it is not obvious."""
    remarks = [f"beginning at the images of {shown(place)}"]
    same = same_preprocessing(artifact.fitted, problem.preprocess)
    if artifact.space == "input" and not same:
        remarks.append(
            "its images were normalised by other numbers: they are converted, so that "
            "they show the same"
        )
    if artifact.label_kind != "hard" and labels in ("hard", "teacher"):
        remarks.append(
            f"its {artifact.label_kind} labels are left out, since --labels={labels} "
            "starts from hard ones"
        )
    if artifact.label_kind == "hard" and labels == "soft":
        remarks.append("its labels are hard: learned ones start from an expert's")
    return remarks
