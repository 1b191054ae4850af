"""The artifact of a run, and whether a file could hold it, before there is a set."""

import math

import jax.numpy as jnp
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
from jaxdd.types import Synthetic


def artifact_of(
    problem: Problem,
    resolved: Resolved,
    protocol: Protocol,
    stored: Synthetic,
    step: int,
    workdir: str | None,
) -> Artifact:
    """The set with all that its accuracy depends on, before it is measured.

    Args:
        problem: the data.
        resolved: every value of the run.
        protocol: of the evaluation.
        stored: the set; its step size counts where students follow experts.
        step: updates behind the set.
        workdir: the run's folder, where there is one.
    """
    dataset, data, recipe = problem.dataset, resolved.data, resolved.recipe
    formation = recipe.formation.evaluated()
    return Artifact(
        images=np.asarray(stored.images),
        labels=np.asarray(stored.labels),
        step_size=float(stored.step_size) if recipe.follows else None,
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
        space=recipe.images.space,
        label_space=recipe.labels.space,
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
    blank = Synthetic(
        jnp.zeros((classes, 1, *shape)),
        jnp.eye(classes)[:, None],
        jnp.float32(recipe.step_size),
    )
    artifact = artifact_of(problem, resolved, protocol, blank, 0, None)
    contents(artifact, "the set of this run", "change that, and run it then")
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
