"""The images that a run begins at: noise, real ones, their crops, a set made before."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp

from jaxdd.artifact.artifact import Artifact
from jaxdd.artifact.restart import initial_from
from jaxdd.distillation.job import Job
from jaxdd.experts.teaching import Teaching
from jaxdd.progress import say
from jaxdd.scores.table import score_named
from jaxdd.synthetic.crops import Crops, crop_classes
from jaxdd.synthetic.initial import (
    correct_set,
    initial_set,
    label_logits,
    mosaics,
    with_hard_labels,
)
from jaxdd.synthetic.labels import TeacherLabels
from jaxdd.synthetic.sets import flatten
from jaxdd.training.evaluate import right
from jaxdd.types import Array, Batch, Key, Learner, Params, RealData, Synthetic

# Images at a time when an expert is asked about all of train.
CHUNK = 100


def first_images(job: Job, key: jax.Array, real: RealData, size: int) -> Synthetic:
    """Images to start from, in the input space, `size` per class.

    Labels are in the form that the recipe learns, such as logits.
    """
    if job.start is not None:
        return _of_a_set(job, job.start)
    kind, factor = job.recipe.images.init, job.recipe.images.factor
    count = size if "noise" in kind else size * factor**2
    if kind == "correct":
        first, wrong = correct_set(key, real, _right(job), count)
        if wrong:
            say(f"{wrong} initial images are right for none of the experts")
    elif kind == "crops":
        first = _cropped(key, real, count, job.recipe.images.crops, job.teacher)
    else:
        first = initial_set(key, kind, real, count)
    if job.recipe.learned_labels:
        images = flatten(first).images
        logits = expert_logits(job, images) if kind == "correct" else [
            next(expert_logits(job, images))
        ]  # fmt: skip
        first = first._replace(labels=label_logits(first, logits))
    elif isinstance(job.recipe.labels, TeacherLabels) and kind == "crops":
        first = first._replace(labels=job.teacher.probabilities(first.images))
    else:
        first = first._replace(labels=job.recipe.labels.begin(first.labels))
    if count > size:
        first = mosaics(first, factor, job.space)
    return first._replace(step_size=jnp.float32(job.recipe.step_size))


def _of_a_set(job: Job, start: Artifact) -> Synthetic:
    """The images of an artifact, and its labels where they are learned.

    Where logits are learned, hard labels begin as those of real images do: with an
    expert's logits, here the mean over the tiles of an image.
    """
    learned = job.recipe.learned_labels
    first = initial_from(start, job.problem.preprocess, learned)
    if learned and start.label_kind == "hard":
        stored = first._replace(images=job.space.encode(first.images))
        logits = next(expert_logits(job, flatten(job.decode(stored)).images))
        classes, size = first.labels.shape[:2]
        parts = logits.reshape(classes, -1, size, classes)
        first = first._replace(labels=jnp.mean(parts, axis=1))
    elif (labels := job.recipe.labels).space != "probabilities":
        own = jnp.asarray(start.labels)
        if labels.space != start.label_space:
            own = labels.begin(jnp.asarray(start.probabilities()))
        first = first._replace(labels=own)
    return first._replace(step_size=jnp.float32(job.recipe.step_size))


def as_first_images(job: Job, stored: Synthetic) -> Synthetic:
    """A stored set as one to start from: in the input space, with what is learned.

    Logits come back from probabilities, which are the same for all that differ by
    a constant.
    """
    labels = stored.labels
    if job.recipe.learned_labels:
        labels = jnp.log(jnp.maximum(labels, jnp.finfo(labels.dtype).tiny))
    return stored._replace(images=job.space.decode(stored.images), labels=labels)


def _cropped(
    key: Key, real: RealData, count: int, crops: Crops, teacher: Teaching
) -> Synthetic:
    """Crops of real images with hard labels, and a sentence about their difficulty.

    Args:
        key: consumed.
        real: the images in play.
        count: crops of each class.
        crops: how they are cut and chosen.
        teacher: the network by whose score they are chosen.

    Returns:
        [K, count, ...] images, from easy to hard; of hard ones the hardest first.
    """
    network, compute = teacher.network, score_named(crops.score).compute

    @jax.jit
    def chosen(key: Key, real: RealData, learner: Learner) -> tuple[Array, Array]:
        def score(batch: Batch) -> Array:
            return compute(network, learner, batch)

        return crop_classes(key, real, count, crops, score)

    images, scores = chosen(key, real, teacher.learner)
    say(
        f"the first images are cut from real ones: the teacher's {crops.score} of the "
        f"{crops.realism} ones is {float(scores.mean()):.3g} on average"
    )
    return with_hard_labels(images)


def expert_logits(job: Job, images: Array) -> Iterator[Array]:
    """For one expert after another, its logits of some images."""
    stats = job.network.init(jax.random.key(0))[1]
    apply = jax.jit(
        lambda params, x: job.network.apply(params, stats, x, False)[0].logits
    )
    return (apply(params, images) for params in _ends(job))


def _right(job: Job) -> Iterator[Array]:
    """For one expert after another, which training images it gets right."""
    stats = job.network.init(jax.random.key(0))[1]

    @jax.jit
    def hits(params: Params, real: RealData) -> Array:
        return right(job.network, Learner(params, stats), real, CHUNK) > 0

    return (hits(params, job.inputs.full) for params in _ends(job))


def _ends(job: Job) -> Iterator[Params]:
    """Every expert's parameters after its last epoch."""
    assert job.bank is not None
    last = job.bank.manifest.last_epoch
    for expert in range(job.bank.manifest.experts):
        yield job.bank.snapshot(expert, last, job.params)
