"""Images that a trained teacher recognises and finds like its data (SRe2L, CDA)."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jaxdd.augment.views import Views, seen
from jaxdd.errors import UserError
from jaxdd.fields import Choice, option
from jaxdd.modifiers.depth import depth_order, layer_of
from jaxdd.modifiers.masks import Masking
from jaxdd.modifiers.terms import WeightedTerm, add_terms
from jaxdd.nets import has_batch_statistics, told_moments
from jaxdd.objectives.bases import AUGMENTATION
from jaxdd.objectives.lifts import class_gradients
from jaxdd.objectives.parts import Parts
from jaxdd.primitives.evidence import later_gradient
from jaxdd.primitives.losses import cross_entropy, present
from jaxdd.primitives.trees import apply_mask, named_leaves, safe_sqrt
from jaxdd.synthetic.sets import fill
from jaxdd.types import (
    Array,
    Batch,
    Evidence,
    Info,
    Inputs,
    Key,
    Known,
    Learner,
    Network,
    Objective,
    Scalar,
    Stats,
    Synthetic,
    TeacherMatch,
)

# Classes of which one batch holds an image each, at most.
CLASSES_AT_ONCE = 100


def statistics_distance(
    moments: Stats, running: Stats, first: float = 1.0, mask: Masking | None = None
) -> Scalar:
    """How far the inputs of the batch norms of a network are from what it has learned.

    The sum over layers of |mean - running mean| + |variance - running variance|, L2
    norms over channels. Yin et al., "Dreaming to Distill" (DeepInversion), CVPR 2020,
    eq. (4); its gradient at 0 is 0.

    Args:
        moments: of a batch, see `Outputs.moments`.
        running: the running statistics, a tree of the same structure.
        first: the weight of the first layer (SRe2L, official code: 10).
        mask: the entries that are compared; None for all of them.

    Example:
        >>> of = lambda x: {"block0": {"mean": jnp.full(4, x), "variance": jnp.ones(4)}}
        >>> float(statistics_distance(of(2.0), of(1.0), first=10.0))
        20.0
    """
    squares = jax.tree.map(lambda x, y: jnp.square(x - y), moments, running)
    if mask is not None:
        squares = apply_mask(mask(squares), squares)
    named = named_leaves(squares)
    layer = layer_of(depth_order(list(named))[0])
    norms = {
        name: safe_sqrt(jnp.sum(x)) * (first if layer_of(name) == layer else 1.0)
        for name, x in named.items()
    }
    return jnp.sum(jnp.stack(list(norms.values())))


def statistics_match(
    network: Network,
    views: Views,
    weight: float,
    first: float = 10.0,
    mask: Masking | None = None,
) -> TeacherMatch:
    """Cross-entropy at a teacher, and the distance of its batch norms' statistics.

    Yin, Xing, Shen, "Squeeze, Recover and Relabel" (SRe2L), NeurIPS 2023, and Yin, Shen
    (CDA), TMLR 2024, official code: of a batch in one random view, the mean
    cross-entropy plus `weight` times `statistics_distance`, the teacher in evaluation
    mode. Of a batch that is padded the missing rows are copies of
    others, since they would be part of the statistics (ours).

    Args:
        network: of the teacher, with batch norm.
        views: of the images; with a schedule they become harder (CDA).
        weight: of the statistics.
        first: weight of the first layer among them.
        mask: the entries that are compared.

    Example:
        >>> network = jaxdd.make_network("convnet_bn", (8, 8, 1), 3, width=4, depth=1)
        >>> learner = jaxdd.Learner(*jax.jit(network.init)(key))
        >>> match = jax.jit(statistics_match(network, Views(), weight=0.01))
        >>> known = Known(jnp.int32(0), learner.stats)
        >>> value, evidence = match(key, batch, known, learner)
        >>> sorted(evidence.info)
        ['entropy', 'statistics']
    """

    def match(
        key: Key, images: Batch, known: Known, learner: Learner
    ) -> tuple[Scalar, Evidence]:
        whole = fill(images)
        view = seen(views.draw(key, known.step), whole)
        outputs, _ = network.apply(learner.params, learner.stats, view, False)
        entropy = cross_entropy(outputs.logits, images.labels)
        moments = told_moments(outputs, learner.stats)
        apart = statistics_distance(moments, known.moments, first, mask)
        # A slot that holds no image at all has nothing to match.
        apart = jnp.where(jnp.any(present(images.labels)), apart, 0)
        batch = Batch(view, images.labels)
        gradient = later_gradient(network, learner, batch)
        info = jax.lax.stop_gradient({"entropy": entropy, "statistics": apart})
        return entropy + weight * apart, Evidence(batch, gradient, info)

    return match


def per_slot(
    match: TeacherMatch, terms: dict[str, WeightedTerm] | None = None
) -> Objective:
    """Lift a match of one image per class to the sum over the images of a class.

    The i-th images of all classes are one batch, as in SRe2L, or several of at most
    `CLASSES_AT_ONCE` classes; each has a view of its own. Batches are worked on one
    after another, each with its gradient, as classes are in `lifts.class_gradients`.
    Whatever the labels of the set, a match sees those of the classes.

    Args:
        match: of a batch.
        terms: penalties by name.

    Returns:
        The objective. Its info has "match", "entropy" and "statistics" (sums over
        batches) and each term's value (their mean).
    """

    def objective(
        key: Key, synthetic: Synthetic, learner: Learner, inputs: Inputs, step: Array
    ) -> tuple[Scalar, Info]:
        batches = in_batches(synthetic, CLASSES_AT_ONCE)
        share = 1 / batches.labels.shape[0]

        def of_batch(
            images: Batch, key: Key, index: Array, learner: Learner, inputs, step
        ) -> tuple[Scalar, Info]:
            del index, inputs
            weighted = add_terms(match, terms or {})
            known = Known(step, learner.stats)
            return weighted(key, images, known, learner, step, share)

        return class_gradients(of_batch)(key, batches, learner, inputs, step)

    return objective


def per_class(
    match: TeacherMatch, terms: dict[str, WeightedTerm] | None = None
) -> Objective:
    """Lift a match of the images of one class to the sum over classes.

    All images of a class are one batch, compared with the moments of the samples of
    that class. Liu et al., "Dataset Distillation via the Wasserstein Metric" (WMDD),
    ICCV 2025, official code, whose regulariser it is. Whatever the labels of the set, a
    match sees those of the classes.

    Args:
        match: of a batch.
        terms: penalties by name.

    Returns:
        The objective, which needs `Inputs.class_moments`. Its info is as of `per_slot`,
        with classes in the place of batches.
    """

    def of_class(
        images: Batch, key: Key, index: Array, learner: Learner, inputs: Inputs, step
    ) -> tuple[Scalar, Info]:
        classes = images.labels.shape[-1]
        hard = jax.nn.one_hot(index, classes, dtype=images.labels.dtype)
        there = jax.lax.stop_gradient(present(images.labels))[..., None]
        batch = images._replace(labels=jnp.where(there, hard, 0))
        moments = jax.tree.map(lambda x: x[index], inputs.moments_of_classes())
        weighted = add_terms(match, terms or {})
        known = Known(step, moments)
        return weighted(key, batch, known, learner, step, 1 / classes)

    return class_gradients(of_class)


def in_batches(synthetic: Synthetic, size: int) -> Synthetic:
    """The images of a set in batches that hold at most one image of each class.

    Args:
        synthetic: [K, n, ...].
        size: the most classes of a batch.

    Returns:
        [n * P, ceil(K / P), ...] with P = ceil(K / size), the first images of all
        classes first; labels are those of the classes, and rows without an image are
        padding.

    Example:
        >>> images = jnp.arange(6.0).reshape(3, 2, 1, 1, 1)
        >>> labels = jnp.eye(3)[:, None].repeat(2, axis=1)
        >>> batches = in_batches(Synthetic(images, labels, jnp.float32(0)), size=2)
        >>> batches.images.reshape(4, 2).tolist()
        [[0.0, 2.0], [4.0, 0.0], [1.0, 3.0], [5.0, 0.0]]
    """
    classes, count = synthetic.labels.shape[:2]
    parts = -(-classes // size)
    rows = -(-classes // parts)
    there = present(synthetic.labels)[..., None]
    hard = jnp.eye(classes, dtype=synthetic.labels.dtype)[:, None]
    labels = jax.lax.stop_gradient(jnp.where(there, hard, 0))

    def grouped(x: Array) -> Array:
        missing = ((0, 0), (0, parts * rows - classes), *[(0, 0)] * (x.ndim - 2))
        padded = jnp.pad(jnp.swapaxes(x, 0, 1), missing)
        return padded.reshape(count * parts, rows, *x.shape[2:])

    return synthetic._replace(images=grouped(synthetic.images), labels=grouped(labels))


@dataclass(frozen=True)
class StatisticsMatching(Choice):
    """A teacher recognises the images, and they have the statistics of its data.

    SRe2L, CDA; see `statistics_match`.

    Attributes:
        augmentation: of the training of the teacher alone: the images have `views`.
        statistics_weight: of the statistics beside the cross-entropy.
        first_weight: of the first layer among the statistics.
        statistics_of: whose statistics they are.
        views: of the images.
    """

    name: ClassVar[str] = "statistics"
    subject: ClassVar[str] = "matching a teacher's statistics"
    batch_syn: ClassVar[int | None] = None

    augmentation: str = option("none", AUGMENTATION)
    statistics_weight: float = option(
        0.01,
        "weight of the distance of batch norm statistics from those of a teacher",
        at_least=0,
    )
    first_weight: float = option(
        10.0,
        "weight of the first batch norm among those whose statistics are matched",
        at_least=0,
    )
    statistics_of: str = option(
        "all",
        "whose statistics images are compared with: those of all samples, the i-th "
        "images of all classes together (all), or those of their class, all of its "
        "images together (class)",
        choices=("all", "class"),
    )
    views: Views = field(default_factory=Views)

    def make(self, network: Network, parts: Parts) -> Objective:
        """The objective.

        Raises:
            UserError: the network has no batch norm, or a term against forgetting is
                asked for.
        """
        if not has_batch_statistics(network):
            raise UserError(
                "a teacher's statistics are those of its batch norm, which this "
                "network has not: use --net=convnet_bn or another network with it"
            )
        if parts.remember is not None:
            raise UserError(
                "--forgetting compares a set with real samples, and here it is a "
                "teacher's statistics that are matched: use none"
            )
        match = statistics_match(
            network, self.views, self.statistics_weight, self.first_weight, parts.mask
        )
        lift = per_class if self.needs_class_moments else per_slot
        return lift(match, dict(parts.terms))

    @property
    def needs_class_moments(self) -> bool:
        """Whether images are compared with samples of their class."""
        return self.statistics_of == "class"

    def matched(self, network: Network, image_shape: tuple[int, ...]) -> Any:
        """The shapes of what is compared: the running statistics of all layers."""
        del image_shape
        return jax.eval_shape(network.init, jax.random.key(0))[1]
