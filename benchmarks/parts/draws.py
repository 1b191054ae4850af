"""What our side draws for given keys, so that the reference can be given the same.

The keys are split as in `jaxdd.objectives` and `jaxdd.augment`; where that changes, the
comparison in `equality` fails.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.parts.cases import Case
from jaxdd import augment
from jaxdd.augment.named import MIXED
from jaxdd.data.real import sample_class
from jaxdd.objectives import minibatches
from jaxdd.objectives.bases import SampleMatching
from jaxdd.objectives.trajectory import TrajectoryMatching
from jaxdd.primitives.keys import Draw
from jaxdd.synthetic.sets import choose_rows
from jaxdd.types import Array, Batch, Key

# (name of an operation, its numbers with an axis of 1 or B in front)
Named = tuple[str, Array | tuple[Array, ...]]


class ClassNumbers(NamedTuple):
    """Of the match of one class."""

    real: Array  # [B, H, W, C]
    operations: list[Named]
    rows: Array  # which synthetic images


class StepNumbers(NamedTuple):
    """Of one student step."""

    rows: np.ndarray
    operations: list[Named]


def groups_of(strategy: str) -> list[list[str]]:
    """The names of a pipeline's operations, group by group."""
    names = {id(op): name for name, op in augment.OPS.items()}
    pipeline = augment.pipeline(strategy.partition(MIXED)[0])
    return [[names[id(op)] for op in group] for group in pipeline]


def operations(
    strategy: str, key: Key, shape: tuple[int, ...], count: int | None
) -> list[Named]:
    """What `augment.siamese` (count None) or `augment.per_image` applies."""
    found: list[Named] = []
    for i, names in enumerate(groups_of(strategy)):
        key_choice, key_draw = jax.random.split(jax.random.fold_in(key, i))
        name = names[int(jax.random.randint(key_choice, (), 0, len(names)))]
        draw = augment.OPS[name].draw
        if count is None:
            values = jax.tree.map(lambda x: x[None], draw(key_draw, shape))
        else:
            one = lambda i: draw(jax.random.fold_in(key_draw, i), shape)
            values = jax.vmap(one)(jnp.arange(count))
        found.append((name, values))
    return found


def of_classes(case: Case, key: Key) -> list[ClassNumbers]:
    """Of one step of an objective that is lifted by `per_class`."""
    objective, real = case.recipe.objective, case.inputs.real
    assert isinstance(objective, SampleMatching)
    made = case.recipe.formation.count(case.ipc)
    found = []
    for k in range(case.setting.classes):
        key_sample, key_match = jax.random.split(jax.random.fold_in(key, k))
        batch = sample_class(key_sample, real, jnp.int32(k), objective.batch_real)
        drawn = operations(
            objective.augmentation,
            jax.random.fold_in(key_match, 0),
            case.setting.shape,
            None,
        )
        every = Batch(jnp.arange(made), jnp.ones((made, 1)))
        key_rows = Draw.ROWS.of(key_match)
        rows = choose_rows(key_rows, every, objective.batch_syn).images
        found.append(ClassNumbers(batch.images, drawn, rows))
    return found


def of_students(case: Case, key: Key) -> list[StepNumbers]:
    """Of one step of an objective that is lifted by `per_span`."""
    objective = case.recipe.objective
    assert isinstance(objective, TrajectoryMatching)
    key_order, key_augment = jax.random.split(jax.random.fold_in(key, 0))
    total = case.setting.classes * case.ipc
    chosen = minibatches(
        key_order, jnp.ones(total, bool), objective.batch_syn, objective.student_steps
    )
    keys = jax.random.split(key_augment, objective.student_steps)
    found = []
    for rows, weights, key_step in zip(*map(np.asarray, chosen), keys, strict=True):
        drawn = operations(
            objective.augmentation, key_step, case.setting.shape, len(rows)
        )
        if not weights.all():
            raise ValueError("a short minibatch: choose steps that use whole ones")
        found.append(StepNumbers(rows, drawn))
    return found
