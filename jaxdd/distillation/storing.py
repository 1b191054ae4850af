"""The artifact of a run, and whether a file could hold it, before there is a set."""

import math

import numpy as np

from jaxdd.artifact.artifact import Artifact
from jaxdd.artifact.file import check_growth, contents
from jaxdd.artifact.schema import agree
from jaxdd.data.problem import Problem
from jaxdd.distillation.resolution import Resolved
from jaxdd.errors import UserError
from jaxdd.evaluation.protocol import Protocol
from jaxdd.storage import provenance
from jaxdd.storage.paths import reason


def artifact_of(
    problem: Problem,
    resolved: Resolved,
    protocol: Protocol,
    images: np.ndarray,
    labels: np.ndarray,
    step_size: float | None,
    step: int,
    workdir: str | None,
) -> Artifact:
    """The set with all that its accuracy depends on, before it is measured.

    Args:
        problem: the data.
        resolved: every value of the run.
        protocol: of the evaluation.
        images: [K, n, ...] as they are stored.
        labels: [K, n, K].
        step_size: of students; None of methods without them.
        step: updates behind the set.
        workdir: the run's folder, where there is one.
    """
    dataset, data = problem.dataset, resolved.data
    formation = resolved.recipe.formation.evaluated()
    return Artifact(
        images=images,
        labels=labels,
        step_size=step_size,
        preprocess=problem.preprocess,
        class_names=dataset.class_names,
        dataset={
            "name": resolved.data_name,
            "fingerprint": dataset.fingerprint,
            "validation": data.validation,
            "split_seed": resolved.split_seed,
            **dataset.described,
            **data.form,  # how the data was read, where it was asked for
        },
        network=protocol.network,
        factor=formation.factor,
        formation=formation.kind,
        space=resolved.recipe.images.space,
        label_space=resolved.recipe.labels.space,
        augmentation=protocol.augmentation,
        training=protocol.training,
        measured={},
        provenance={
            "config": resolved.values(workdir),
            "seed": resolved.task.seed,
            "steps": step,
            "versions": provenance.versions(),
            "device": provenance.device(),
        },
    )


def check_storable(problem: Problem, resolved: Resolved) -> None:
    """Refuse a run whose set no file could hold now, and not when it is done.

    A set of one blank image per class stands for it; sizes are those of the whole.

    Raises:
        UserError: with the reason.
    """
    recipe, dataset = resolved.recipe, problem.dataset
    classes, shape = dataset.num_classes, dataset.image_shape
    step_size = recipe.step_size if recipe.follows else None
    protocol = resolved.protocol(resolved.evaluation.networks, step_size)
    images = np.zeros((classes, 1, *shape), np.float32)
    labels = np.eye(classes, dtype=np.float32)[:, None]
    blank = artifact_of(problem, resolved, protocol, images, labels, step_size, 0, None)
    contents(blank, "the set of this run", "change that, and run it then")
    ipc = resolved.task.ipc
    stored = (classes, ipc, *shape)
    try:
        agree({"images": stored, "labels": (classes, ipc, classes)}, classes)
        check_growth(recipe.formation.evaluated(), ipc, 4 * math.prod(stored))
    except ValueError as error:
        raise UserError(
            f"the set of this run cannot be saved ({reason(error)}): lower --ipc, "
            "or --factor where there is one"
        ) from error
