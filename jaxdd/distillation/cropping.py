"""The first images of a run, cut from real ones and chosen by a teacher."""

import jax

from jaxdd.experts.teaching import Teaching
from jaxdd.progress import say
from jaxdd.scores.table import score_named
from jaxdd.synthetic.crops import Crops, crop_classes
from jaxdd.synthetic.initial import with_hard_labels
from jaxdd.types import Array, Batch, Key, Learner, RealData, Synthetic


def cropped(
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
