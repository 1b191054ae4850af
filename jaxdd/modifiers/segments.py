"""D4A: a set is distilled in segments, each from samples that the earlier ones miss.

The method section of D4A (dynamic difficulty alignment) is not public in detail; our
own choices are marked "ours" in each docstring. A segment is an ordinary distillation
with other inputs: `real` has the samples that remain in play, `earlier` the images of
the segments before.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import jax.numpy as jnp

from jaxdd.errors import UserError
from jaxdd.fields import Choice, option
from jaxdd.modifiers.forgetting import REMEMBERED, Forgetting, forgetting
from jaxdd.training.fit import Training
from jaxdd.types import Array, RealData, Synthetic

RULES = ("filter", "pdd", "boost")
KEEPING = ("margin", "learnability")
# That of nearly all evaluations in the field.
LESSONS = Training(1, 0.01, momentum=0.9, weight_decay=5e-4)


def sizes(ipc: int, segments: int) -> tuple[int, ...]:
    """Images per class of each segment, as even as possible, larger ones first.

    Raises:
        UserError: there are more segments than images.

    Example:
        >>> sizes(ipc=10, segments=4)
        (3, 3, 2, 2)
    """
    if not 1 <= segments <= ipc:
        raise UserError(
            f"{segments} segments need at least as many images per class: choose 1 to "
            f"{ipc} segments for ipc {ipc}"
        )
    return tuple(ipc // segments + (k < ipc % segments) for k in range(segments))


def pad(synthetic: Synthetic, slots: int, absent: float = 0.0) -> Synthetic:
    """The set with rows of padding up to `slots` per class.

    Args:
        synthetic: [K, n, ...].
        slots: at least n.
        absent: the value of labels of padding: 0, or `decoder.ABSENT` if labels are
            logits.
    """
    rows = ((0, 0), (0, slots - synthetic.images.shape[1]))
    sides = ((0, 0),) * (synthetic.images.ndim - 2)
    images = jnp.pad(synthetic.images, (*rows, *sides))
    labels = jnp.pad(synthetic.labels, (*rows, (0, 0)), constant_values=absent)
    return synthetic._replace(images=images, labels=labels)


def join(parts: Sequence[Synthetic]) -> Synthetic:
    """Sets of the same classes as one; the step size is that of the last."""
    return Synthetic(
        jnp.concatenate([x.images for x in parts], axis=1),
        jnp.concatenate([x.labels for x in parts], axis=1),
        parts[-1].step_size,
    )


def keep_hardest(
    real: RealData, margins: Array, min_keep: int, scores: Array | None = None
) -> RealData:
    """The samples in play of the next segment: those with margins >= 0.

    A class keeps its hardest `min_keep` samples at least (all, if it has fewer). With
    scores it keeps as many, but those with the highest scores (ours).

    Args:
        real: the data, with a window if there is one.
        margins: [M], from a judge.
        min_keep: the least number of samples per class.
        scores: [M], in whose order samples are kept; None for that of the margins.

    Returns:
        The same data with fewer samples in play, hardest first in `table`: a window,
        which counts from the easy end, comes before this and not after.

    Example:
        >>> import jaxdd, numpy as np
        >>> images = np.ones((6, 8, 8, 1), np.float32)
        >>> real = jaxdd.real_data(images, np.array([0, 0, 0, 1, 1, 1]), 2)
        >>> margins = jnp.array([0.1, -0.5, 0.3, -0.2, -0.1, -0.3])
        >>> harder = keep_hardest(real, margins, min_keep=1)
        >>> harder.counts.tolist(), harder.table[:, 0].tolist()
        ([2, 1], [2, 4])
    """
    in_play = jnp.arange(real.table.shape[1])[None] < real.counts[:, None]
    hardness = margins if scores is None else scores
    hardness = jnp.where(in_play, hardness[real.table], -jnp.inf)
    order = jnp.argsort(-hardness, axis=1, stable=True)
    wrong = jnp.sum(in_play & (margins[real.table] >= 0), axis=1)
    counts = jnp.minimum(jnp.maximum(wrong, min_keep), real.counts)
    table = jnp.take_along_axis(real.table, order, axis=1)
    return real._replace(table=table, counts=counts.astype(jnp.int32))


def forgotten(before: Array, after: Array) -> Array:
    """The share [] of the samples that a judge had right and the next one has wrong.

    Args:
        before, after: margins [M] after two consecutive segments.

    Example:
        >>> before, after = jnp.array([-1.0, -1.0, 0.5]), jnp.array([-1.0, 0.5, 0.5])
        >>> float(forgotten(before, after))
        0.5
    """
    was_right = before < 0
    lost = jnp.sum(was_right & (after >= 0))
    return lost / jnp.maximum(jnp.sum(was_right), 1)


@dataclass(frozen=True)
class Segments(Choice):
    """A set is distilled in segments, each from what the earlier ones get wrong (D4A).

    Attributes:
        count: the number of segments.
        rule: how later segments differ from the first: "filter", by the real samples,
            which the earlier segments do not teach; "pdd", by the networks, which have
            learned the earlier segments, while all real samples stay (PDD); or "boost",
            by the set, which grows: the earlier images are in it and go on being
            optimised at a smaller rate (Boost-DD), so that the first images of each
            class are a set for their number.
        score: which samples the filter keeps: those with the largest "margin" of a
            wrong class, or the largest "learnability", see `scores.learnability`.
        boost_rate: by how much the updates of earlier images are scaled, under "boost".
        lesson_epochs: epochs on the earlier segments of every new network, under "pdd".
        reference_epochs: epochs on all real data of the networks that learnability
            compares with.
        forgetting: the term against forgetting, "none", "proxy" or "replay".
        forgetting_weight: its weight.
        judges: networks that decide which samples a segment leaves to the next ones.
        judge_epochs: epochs of their training; None for those of the evaluation.
        min_keep: samples of a class that are kept at least, the hardest ones.
        segment_experts: short expert runs on the kept samples; None for as many as the
            bank has.
        segment_epochs: epochs of each of them; None for just one span.
    """

    subject: ClassVar[str] = "segments"
    remedy: ClassVar[str] = "add e.g. --segments=2, or leave it out"

    count: int = option(
        2,
        "number of segments in which the set is distilled (D4A); 1 for one piece",
        flag="segments",
        above=0,
        opens=True,
        closes=1,
    )
    rule: str = option(
        "filter",
        "how a later segment is distilled: from the real samples that the earlier "
        "segments do not teach (filter), from all of them by networks that have "
        "learned the earlier segments (pdd), or from all of them together with the "
        "earlier images, which move on at a smaller rate (boost)",
        flag="segment_rule",
        choices=RULES,
    )
    score: str = option(
        "margin",
        "which real samples a later segment keeps, as many as the judges get wrong: "
        "those with the largest probability of a wrong class (margin), or those that "
        "networks trained on all data find much easier than the judges (learnability)",
        flag="segment_score",
        choices=KEEPING,
        beside={"rule": ("filter",)},
    )
    boost_rate: float = option(
        0.1,
        "share of the learning rate at which images of earlier segments are optimised "
        "with those of later ones (--segment_rule=boost); 0 keeps them",
        at_least=0.0,
        beside={"rule": ("boost",)},
    )
    lesson_epochs: int = option(
        20,
        "epochs that every new network is trained on the earlier segments "
        "(--segment_rule=pdd)",
        above=0,
        beside={"rule": ("pdd",)},
    )
    reference_epochs: int = option(
        10,
        "epochs of the networks trained on all data that learnability compares with "
        "(--segment_score=learnability)",
        above=0,
        beside={"rule": ("filter",), "score": ("learnability",)},
    )
    forgetting: str = option(
        "none",
        "term against forgetting what earlier segments hold: none, proxy or replay",
        choices=REMEMBERED,
    )
    forgetting_weight: float = option(
        1.0,
        "weight of the term against forgetting (--forgetting)",
        beside={"forgetting": ("replay", "proxy")},
    )
    judges: int = option(
        3,
        "number of networks trained on the finished segments (judges): the next "
        "segment matches the samples that they get wrong",
        above=0,
    )
    judge_epochs: int | None = option(
        None,
        "epochs of the training of the judges of segments; default: --eval_epochs",
        above=0,
    )
    min_keep: int = option(
        10,
        "number of real samples of a class, the hardest, that a later segment "
        "matches at least",
        above=0,
        beside={"rule": ("filter",)},
    )
    segment_experts: int | None = option(
        None,
        "number of short expert runs on the samples that a later segment matches; "
        "default: as many as the bank has experts",
        above=0,
        beside={"rule": ("filter",)},
    )
    segment_epochs: int | None = option(
        None,
        "epochs of each short expert run of a later segment; default: --expert_epochs",
        above=0,
        beside={"rule": ("filter",)},
    )

    @property
    def teaches(self) -> bool:
        """Whether new networks learn the earlier segments, if there are any."""
        return self.rule == "pdd" and self.count > 1

    @property
    def boosts(self) -> bool:
        """Whether a segment is a larger set that holds the earlier ones."""
        return self.rule == "boost" and self.count > 1

    @property
    def filters(self) -> bool:
        """Whether later segments leave out real samples."""
        return self.rule == "filter"

    @property
    def keeps_learnable(self) -> bool:
        """Whether the filter keeps what can be learned, rather than what is wrong."""
        return self.filters and self.score == "learnability"

    def lessons(self) -> Training:
        """The training of new networks on the earlier segments (ours)."""
        return replace(LESSONS, epochs=self.lesson_epochs)

    def references(self) -> Training:
        """The training of the networks that learnability compares with (ours)."""
        return replace(LESSONS, epochs=self.reference_epochs)

    def make(self) -> Forgetting | None:
        """The term against forgetting; None without one, or in a single piece."""
        if self.count == 1:
            return None
        return forgetting(self.forgetting, self.forgetting_weight)
