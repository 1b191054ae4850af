"""A pool of networks of staggered ages, which are trained on the synthetic set."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from jaxdd import augment as augmentations
from jaxdd.augment import Augment
from jaxdd.devices.needs import Need
from jaxdd.devices.needs import networks as networks_at_once
from jaxdd.fields import Choice, Misfit, option
from jaxdd.learners.context import Context
from jaxdd.synthetic.labels import centred
from jaxdd.synthetic.sets import (
    choose_rows,
    fill,
    flatten,
    union,
    with_mirror_images,
)
from jaxdd.training.fit import FitState, Training, make_epochs
from jaxdd.types import (
    Array,
    Batch,
    Inputs,
    Key,
    Learner,
    LearnerSource,
    Network,
    Synthetic,
)


class AgedState(NamedTuple):
    """The networks of an aged pool, and the one that the next step matches."""

    members: FitState  # leaves of [P, ...] for P networks
    ages: Array  # [P] int32: steps of their training
    current: Array  # [] int32


def aged_pool(
    network: Network,
    networks: int,
    max_age: int,
    training: Training,
    steps: tuple[int, int] = (1, 1),
    augment: Augment | None = None,
    as_targets: bool = True,
    flip: bool = False,
) -> LearnerSource:
    """Networks of staggered ages, of which a random one is matched and then trained.

    Network j starts at age j * max_age / P, so that they are not replaced together. A
    network that the training after a match would bring beyond the largest age is
    replaced by a new one instead. Zhou, Nezhadarya, Ba, "Dataset Distillation using
    Neural Feature Regression", NeurIPS 2022, section 3.2 and official code. In later
    segments of D4A networks are trained on the images of all segments so far.

    Args:
        network: the network to train; its running statistics are those of the training.
        networks: P.
        max_age: the largest age, in steps of training.
        training: optimiser, rate, loss and samples per minibatch, which are drawn anew
            in every step where the set has more; its epochs are ignored.
        steps: the least and the largest number of steps after a match (uniform).
        augment: (key, batch) -> batch, applied in that training.
        as_targets: whether labels are targets; probabilities are centred otherwise.
        flip: whether networks are trained on the mirror images of the set, too (RCIG).
    """
    run = make_epochs(network, training)
    least, most = steps

    def begin(key: Key) -> FitState:
        return run.init(Learner(*network.init(key)))

    def init(key: Key) -> AgedState:
        key_members, key_current = jax.random.split(key)
        members = jax.vmap(begin)(jax.random.split(key_members, networks))
        ages = jnp.arange(networks, dtype=jnp.int32) * max_age // networks
        return AgedState(members, ages, choose(key_current))

    def choose(key: Key) -> Array:
        return jax.random.randint(key, (), 0, networks)

    def draw(key: Key, state: AgedState, inputs: Inputs) -> Learner:
        return jax.tree.map(lambda x: x[state.current], state.members.learner)

    def minibatch(key: Key, data: Batch, padding: bool) -> Batch:
        """All images, or as many random ones as a minibatch has."""
        data = choose_rows(key, data, training.batch_size)
        # Batch norm in training sees every row.
        return data._replace(images=fill(data)) if padding else data

    def advance(
        key: Key,
        state: AgedState,
        learner: Learner,
        synthetic: Synthetic,
        inputs: Inputs,
    ) -> AgedState:
        key_steps, key_train, key_next = jax.random.split(key, 3)
        data = flatten(union(inputs.earlier, synthetic))
        if flip:
            data = with_mirror_images(data)
        if not as_targets:
            data = data._replace(labels=centred(data.labels))
        count = jax.random.randint(key_steps, (), least, most + 1, state.ages.dtype)
        age = state.ages[state.current] + count
        replaced = age > max_age

        def train(key: Key) -> FitState:
            def one(i: Array, fit: FitState) -> FitState:
                key_batch, key_augment = jax.random.split(jax.random.fold_in(key, i))
                batch = minibatch(key_batch, data, inputs.earlier is not None)
                if augment is not None:
                    batch = augment(key_augment, batch)
                rate = jnp.asarray(training.learning_rate, batch.images.dtype)
                return run.step(fit, batch, rate)

            member = jax.tree.map(lambda x: x[state.current], state.members)
            return jax.lax.fori_loop(0, count, one, member)

        new = jax.lax.cond(replaced, begin, train, key_train)
        members = jax.tree.map(
            lambda x, y: x.at[state.current].set(y), state.members, new
        )
        ages = state.ages.at[state.current].set(jnp.where(replaced, 0, age))
        return AgedState(members, ages, choose(key_next))

    return LearnerSource(init, draw, advance)


@dataclass(frozen=True)
class AgedPool(Choice):
    """Networks of staggered ages that are trained on the set (FRePo, RCIG).

    Attributes:
        networks: how many there are.
        max_age: steps of training after which a network is replaced.
        least_steps, most_steps: of the training after a match.
        network_lr: learning rate of Adam in that training.
        batch: images per minibatch of it.
        flip: whether it sees the mirror images of the set, too.
    """

    name: ClassVar[str] = "aged_pool"
    subject: ClassVar[str] = "networks of staggered ages"
    matches: ClassVar[int] = 1

    networks: int = option(
        10,
        "number of networks that are trained on the set side by side",
        flag="pool_networks",
        above=0,
    )
    max_age: int = option(
        101,
        "updates of a network's training on the set after which it is replaced by a "
        "new one",
        above=0,
    )
    least_steps: int = option(
        1, "least number of updates of a network's training after a match", above=0
    )
    most_steps: int = option(
        1, "largest number of updates of a network's training after a match", above=0
    )
    network_lr: float = option(
        3e-4,
        "learning rate of the networks' training between matches",
        above=0,
        about="networks in training",
    )
    batch: int = option(
        1000,
        "images of the set in an update of a network's training after a match",
        flag="pool_images",
        above=0,
    )

    flip: bool = option(
        False,
        "whether the networks are trained on the mirror images of the set, too",
        flag="pool_flip",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.least_steps > self.most_steps:
            raise Misfit(
                self, "{least_steps=} is above {most_steps=}: give numbers in order"
            )

    def memory_needs(self, network: Network, images: int) -> list[Need]:
        """All networks at once, each with Adam's two moments."""
        del images
        return networks_at_once(network, 3 * self.networks, "pool_networks")

    def training(self) -> Training:
        """The training of a network: Adam on the squared distance to the targets."""
        return Training(
            1, self.network_lr, batch_size=self.batch, optimizer="adam", loss="mse"
        )

    def make(
        self, network: Network, context: Context, augmentation: str
    ) -> LearnerSource:
        """The source, see `aged_pool`."""
        plain = augmentation == "none"
        return aged_pool(
            network,
            self.networks,
            self.max_age,
            self.training(),
            (self.least_steps, self.most_steps),
            None if plain else augmentations.training(augmentation),
            context.as_targets,
            self.flip,
        )
