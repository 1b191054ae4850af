"""New random networks, which nothing trains."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from jaxdd.data.real import sample_classes
from jaxdd.fields import Choice, option
from jaxdd.learners.context import Context
from jaxdd.types import Array, Inputs, Key, Learner, LearnerSource, Network

# Real images per class that set batch-norm statistics before a match (DC's code).
REFRESH_IMAGES = 16


def refresh_statistics(
    key: Key, network: Network, learner: Learner, inputs: Inputs
) -> Learner:
    """Set batch-norm statistics from one pass over real images of all classes.

    They stay frozen during the match. Learners without running statistics are returned
    unchanged. As in DC's official code (main.py), this is a single update with the
    layer's momentum.

    Args:
        key: consumed.
        network: the network of the learner.
        learner: the learner, whose statistics are replaced.
        inputs: the data; samples are drawn from `inputs.real`.
    """
    if not jax.tree.leaves(learner.stats):
        return learner
    batch = sample_classes(key, inputs.real, REFRESH_IMAGES)
    images = batch.images.reshape(-1, *batch.images.shape[2:])
    _, stats = network.apply(learner.params, learner.stats, images, True)
    return learner._replace(stats=stats)


def fresh(network: Network, matches: int = 1) -> LearnerSource:
    """A new random network for every few matches.

    For every single one in DM, and in DC at one image per class; for five in M3D.

    Args:
        network: the architecture.
        matches: matches per network.

    Example:
        >>> source = fresh(network, matches=2)
        >>> state = source.init(key)
        >>> inputs = jaxdd.Inputs(real, real)
        >>> ages = []
        >>> for i in range(4):
        ...     ages.append(int(state.age))
        ...     state = source.advance(key, state, state.learner, None, inputs)
        >>> ages
        [0, 1, 0, 1]
    """
    if matches > 1:
        return _held(network, matches)

    def init(key: Key):
        return ()

    def draw(key: Key, state, inputs: Inputs) -> Learner:
        key_init, key_refresh = jax.random.split(key)
        learner = Learner(*network.init(key_init))
        return refresh_statistics(key_refresh, network, learner, inputs)

    def advance(key: Key, state, learner, synthetic, inputs):
        return state

    return LearnerSource(init, draw, advance, is_new=lambda state: jnp.bool_(True))


class Held(NamedTuple):
    """A network that several matches share, and its age."""

    learner: Learner
    age: Array  # [] int32: matches done with this network


def _held(network: Network, matches: int) -> LearnerSource:
    def init(key: Key) -> Held:
        return Held(Learner(*network.init(key)), jnp.int32(0))

    def draw(key: Key, state: Held, inputs: Inputs) -> Learner:
        return refresh_statistics(key, network, state.learner, inputs)

    def advance(key: Key, state: Held, learner: Learner, synthetic, inputs) -> Held:
        last = state.age + 1 >= matches
        new = lambda: Learner(*network.init(key))
        following = jax.lax.cond(last, new, lambda: learner)
        return Held(following, jnp.where(last, 0, state.age + 1))

    return LearnerSource(init, draw, advance, is_new=lambda state: state.age == 0)


MATCHES = "updates of the images before a network is replaced by a new one"


@dataclass(frozen=True)
class Fresh(Choice):
    """New random networks that nothing trains (DM).

    Attributes:
        matches: steps per network.
    """

    name: ClassVar[str] = "fresh"
    subject: ClassVar[str] = "networks that are replaced"

    matches: int = option(1, MATCHES, above=0)

    def make(
        self, network: Network, context: Context, augmentation: str
    ) -> LearnerSource:
        """The source; nothing is trained, so that nothing is augmented."""
        del context, augmentation
        return fresh(network, self.matches)
