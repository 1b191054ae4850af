"""Networks that have learned the earlier segments before they are matched (PDD)."""

import jax
import jax.numpy as jnp

from jaxdd.augment import Augment
from jaxdd.errors import UserError
from jaxdd.learners.fresh import refresh_statistics
from jaxdd.primitives.losses import present
from jaxdd.synthetic.sets import flatten
from jaxdd.training.fit import Training, make_fit
from jaxdd.types import Inputs, Key, Learner, LearnerSource, Network


def after_lessons(
    source: LearnerSource,
    network: Network,
    training: Training,
    augment: Augment | None = None,
    microbatch: int | None = None,
) -> LearnerSource:
    """A source whose new networks are first trained on the earlier segments.

    Chen et al., "Data Distillation Can Be Like Vodka: Distilling More Times for Better
    Quality" (PDD), ICLR 2024: a stage learns from networks that were trained on the
    images of the stages before. How long, and that a network is trained by itself and
    not continued from stage to stage, is ours. In the first segment nothing is trained.

    Args:
        source: of the networks.
        network: their architecture.
        training: of a new network on the images of all earlier segments.
        augment: (key, batch) -> batch, applied in that training.
        microbatch: samples per chunk of its gradients.

    Raises:
        UserError: the networks of the source do not begin at random.
    """
    is_new = source.is_new
    if is_new is None:
        raise UserError(
            "--segment_rule=pdd teaches the earlier segments to networks that begin at "
            "random for every few matches, and whose window no probe has chosen, which "
            "this method has not: use filter"
        )
    fit = make_fit(
        network,
        training,
        augment,
        members=lambda data, epoch: present(data.labels),
        microbatch=microbatch,
    )

    def draw(key: Key, state, inputs: Inputs) -> Learner:
        key_draw, key_fit, key_refresh = jax.random.split(key, 3)
        learner = source.draw(key_draw, state, inputs)
        earlier = inputs.earlier_set()

        def taught() -> Learner:
            # Lessons have no part in the steps that a window counts.
            begun = learner._replace(window=None)
            trained = fit(key_fit, begun, flatten(earlier))[0]
            trained = refresh_statistics(key_refresh, network, trained, inputs)
            return trained._replace(window=learner.window)

        lessons = is_new(state) & jnp.any(present(earlier.labels))
        return jax.lax.cond(lessons, taught, lambda: learner)

    return source._replace(draw=draw)
