"""The rows of a referee's table: sets of images, and the labels that each can have."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdd.artifact.artifact import Artifact
from jaxdd.data.preprocess import Preprocess
from jaxdd.data.real import take
from jaxdd.evaluation.protocol import Protocol
from jaxdd.evaluation.teacher import Teacher
from jaxdd.primitives.keys import named_key
from jaxdd.primitives.losses import present
from jaxdd.synthetic.labels import trainable
from jaxdd.synthetic.sets import flatten
from jaxdd.training.evaluate import random_subsets
from jaxdd.types import Array, Batch, RealData

# Labels that networks are trained with: those of the classes, those that came with the
# set, and a teacher's.
COLUMNS = ("hard", "own", "teacher")
NO_LABELS = "real samples come with the labels of their classes alone"


class Labels(NamedTuple):
    """Labels of one column.

    Attributes:
        values: [S, N, K].
        space: what they are, a name in `synthetic.labels.LABEL_SPACES`.
    """

    values: Array
    space: str = "probabilities"


@dataclass(frozen=True, eq=False)
class Row:
    """Sets of images that are compared with others.

    Attributes:
        name: in the table.
        kind: "distilled", "random" or "selected".
        ipc: images per class, as they are stored.
        preprocess: what the images are network inputs of.
        images: [S, N, H, W, C]; S is 1 where all networks are trained on the same set.
        labels: by the name of a column.
        lacking: {column: why it is empty}.
    """

    name: str
    kind: str
    ipc: int
    preprocess: Preprocess
    images: Array
    labels: Mapping[str, Labels]
    lacking: Mapping[str, str] = field(default_factory=dict)

    def sets(self, column: str, count: int, protocol: Protocol) -> Batch:
        """What `count` networks are trained on, [count, N, ...], set by set."""
        values, space = self.labels[column]
        labels = trainable(values, space, protocol.training.loss)
        which = jnp.arange(count) % len(self.images)
        return Batch(self.images[which], labels[which])

    def taught(self, teacher: Teacher | None) -> "Row":
        """The same with a teacher's labels."""
        if teacher is None:
            return self
        labels = teacher.labels(self.images, self.preprocess)
        is_there = present(self.labels["hard"].values)[..., None]
        return replace(
            self,
            labels={**self.labels, "teacher": Labels(jnp.where(is_there, labels, 0))},
        )


def distilled(name: str, artifact: Artifact) -> Row:
    """The row of a distilled set."""
    synthetic = artifact.synthetic()
    classes = synthetic.labels.shape[-1]
    of_classes = jnp.eye(classes)[:, None] * present(synthetic.labels)[..., None]
    batch = flatten(synthetic)
    labels = {"hard": Labels(of_classes.reshape(1, -1, classes))}
    lacking = {}
    if artifact.label_kind == "hard":
        lacking["own"] = "its own labels are those of the classes"
    else:
        labels["own"] = Labels(batch.labels[None], artifact.label_space)
    preprocess, images = artifact.fitted, batch.images[None]
    return Row(name, "distilled", artifact.ipc, preprocess, images, labels, lacking)


def random(
    name: str, real: RealData, ipc: int, preprocess: Preprocess, protocol: Protocol
) -> Row:
    """The row of random real subsets, the same as those of `protocol.Judge`."""
    keys = jax.random.split(named_key(protocol.seed, "random"), protocol.num_random)
    return _real(name, "random", ipc, preprocess, random_subsets(keys, real, ipc))


def selected(
    name: str, real: RealData, chosen: np.ndarray, preprocess: Preprocess
) -> Row:
    """The row of selected real samples, [K, ipc] indices."""
    batch = take(real, jnp.asarray(chosen).ravel())
    sets = jax.tree.map(lambda x: x[None], batch)
    return _real(name, "selected", chosen.shape[1], preprocess, sets)


def _real(name: str, kind: str, ipc: int, preprocess: Preprocess, sets: Batch) -> Row:
    labels, lacking = {"hard": Labels(sets.labels)}, {"own": NO_LABELS}
    return Row(name, kind, ipc, preprocess, sets.images, labels, lacking)
