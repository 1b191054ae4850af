"""Networks that are trained between matches: on the synthetic set, or on real data."""

from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from jaxdd import augment as augmentations
from jaxdd.augment import Augment
from jaxdd.data.real import take
from jaxdd.fields import Choice, option
from jaxdd.learners.context import Context
from jaxdd.learners.fresh import MATCHES, fresh, refresh_statistics
from jaxdd.primitives.losses import present
from jaxdd.synthetic.sets import flatten, union
from jaxdd.training.fit import FitState, Training, make_epochs, make_fit
from jaxdd.types import (
    Array,
    Inputs,
    Key,
    Learner,
    LearnerSource,
    Network,
    RealData,
    Synthetic,
)


class PoolState(NamedTuple):
    """The network of a pool, and its age."""

    learner: Learner
    age: Array  # [] int32: matches done with this network


def pool(
    network: Network,
    matches: int,
    training: Training,
    augment: Augment | None = None,
    microbatch: int | None = None,
) -> LearnerSource:
    """A network that is matched `matches` times and trained on the set in between.

    After the last match it is replaced by a new random one without being trained (DC
    section 1.1 of the official loop). With one match per network this is `fresh`. In
    later segments of D4A it is trained on the images of all segments so far.

    Args:
        network: the network to train.
        matches: matches per network.
        training: the training on the synthetic set between two matches.
        augment: (key, batch) -> batch, applied in that training.
        microbatch: samples per chunk of its gradients.
    """
    if matches == 1:
        return fresh(network)
    fit = make_fit(
        network,
        training,
        augment,
        members=lambda data, epoch: present(data.labels),
        microbatch=microbatch,
    )

    def init(key: Key) -> PoolState:
        return PoolState(Learner(*network.init(key)), jnp.int32(0))

    def draw(key: Key, state: PoolState, inputs: Inputs) -> Learner:
        return refresh_statistics(key, network, state.learner, inputs)

    def advance(
        key: Key,
        state: PoolState,
        learner: Learner,
        synthetic: Synthetic,
        inputs: Inputs,
    ) -> PoolState:
        def train(key):
            return fit(key, learner, flatten(union(inputs.earlier, synthetic)))[0]

        def replace(key):
            return Learner(*network.init(key))

        last = state.age + 1 >= matches
        return PoolState(
            jax.lax.cond(last, replace, train, key), jnp.where(last, 0, state.age + 1)
        )

    return LearnerSource(init, draw, advance, is_new=lambda state: state.age == 0)


class RealPoolState(NamedTuple):
    """The training of a pool's network on real data, and its age."""

    training: FitState
    age: Array  # [] int32: matches done with this network
    # Minibatches of real data so far, over all networks, and the seed of their order.
    minibatches: Array  # [] int32
    order: Array  # [] uint32


def real_pool(
    network: Network,
    matches: int,
    training: Training,
    samples: int,
    augment: Augment | None = None,
    microbatch: int | None = None,
) -> LearnerSource:
    """A network that is matched `matches` times and trained on real data in between.

    Kim et al., "Dataset Condensation via Efficient Synthetic-Data Parameterization"
    (IDC), ICML 2022, official code: after every match as many minibatches as hold
    `samples` samples, from passes over all training data in random orders that continue
    from network to network. The last minibatch of a pass is filled up with the pass's
    first samples (ours; the official code takes a short one). The pool always trains on
    all real data, even if FIEX or D4A restrict what is matched.

    Args:
        network: the network to train.
        matches: matches per network.
        training: the training between two matches; its epochs are ignored.
        samples: real samples per training.
        augment: (key, batch) -> batch, applied in that training.
        microbatch: samples per chunk of its gradients.
    """
    if matches == 1:
        return fresh(network)
    run = make_epochs(network, training, microbatch=microbatch)
    steps = -(-samples // training.batch_size)

    def begin(key: Key) -> FitState:
        return run.init(Learner(*network.init(key)))

    def init(key: Key) -> RealPoolState:
        key_network, key_order = jax.random.split(key)
        order = jax.random.bits(key_order)
        return RealPoolState(begin(key_network), jnp.int32(0), jnp.int32(0), order)

    def draw(key: Key, state: RealPoolState, inputs: Inputs) -> Learner:
        return refresh_statistics(key, network, state.training.learner, inputs)

    def minibatch(state: RealPoolState, real: RealData, i: Array) -> Array:
        """Indices of the i-th minibatch of the next training."""
        count = real.labels.shape[0]
        size = min(training.batch_size, count)
        per_pass = -(-count // size)
        at = state.minibatches + i
        key = jax.random.fold_in(jax.random.key(state.order), at // per_pass)
        order = jax.random.permutation(key, count)
        return order[(at % per_pass * size + jnp.arange(size)) % count]

    def advance(
        key: Key, state: RealPoolState, learner: Learner, synthetic, inputs: Inputs
    ) -> RealPoolState:
        real = inputs.full

        def train(key: Key) -> FitState:
            def one(i: Array, fit: FitState) -> FitState:
                batch = take(real, minibatch(state, real, i))
                if augment is not None:
                    batch = augment(jax.random.fold_in(key, i), batch)
                rate = jnp.asarray(training.learning_rate, real.scale.dtype)
                return run.step(fit, batch, rate)

            # Statistics of a batch norm are those of the match.
            begun = state.training._replace(learner=learner)
            return jax.lax.fori_loop(0, steps, one, begun)

        last = state.age + 1 >= matches
        return RealPoolState(
            jax.lax.cond(last, begin, train, key),
            jnp.where(last, 0, state.age + 1),
            state.minibatches + jnp.where(last, 0, steps),
            state.order,
        )

    return LearnerSource(init, draw, advance, is_new=lambda state: state.age == 0)


@dataclass(frozen=True)
class TrainedBetween(Choice):
    """Base of the sources whose networks are trained between matches.

    Attributes:
        matches: steps per network.
        network_lr, network_momentum, network_decay: of SGD on the networks: learning
            rate, momentum and weight decay.
        augmentation: of that training, see `augment.training`; None for the match's.
    """

    subject: ClassVar[str] = "networks in training"

    matches: int = option(1, MATCHES, above=0)
    network_lr: float = option(
        0.01,
        "learning rate of the networks' training between matches",
        above=0,
        about="networks in training",
    )
    network_momentum: float = option(
        0.0,
        "momentum of the networks' training between matches",
        at_least=0,
        about="networks in training",
    )
    network_decay: float = option(
        0.0,
        "weight decay of the networks' training between matches",
        at_least=0,
        about="networks in training",
    )
    augmentation: str | None = option(
        None,
        "augmentation in the networks' training between matches; default: "
        "--augmentation",
        flag="pool_augmentation",
        about="networks in training",
    )

    def training(self, epochs: int = 1) -> Training:
        """The schedule of a network's training."""
        return Training(
            epochs, self.network_lr, self.network_momentum, self.network_decay
        )

    def augment(self, usual: str) -> Augment | None:
        """The augmentation of the training."""
        name = usual if self.augmentation is None else self.augmentation
        return augmentations.training(name)


@dataclass(frozen=True)
class Pool(TrainedBetween):
    """Networks that are trained on the synthetic set between matches (DC).

    Attributes:
        inner_epochs: epochs on the set between two matches.
    """

    name: ClassVar[str] = "pool"
    subject: ClassVar[str] = "networks that are trained on the set"

    inner_epochs: int = option(
        1,
        "epochs on the synthetic set that a network is trained between two matches",
        above=0,
    )

    def make(
        self, network: Network, context: Context, augmentation: str
    ) -> LearnerSource:
        """The source, see `pool`."""
        training = self.training(self.inner_epochs)
        augment = self.augment(augmentation)
        return pool(network, self.matches, training, augment, context.microbatch)


@dataclass(frozen=True)
class RealPool(TrainedBetween):
    """Networks that are trained on real samples between matches (IDC).

    Attributes:
        samples: real samples between two matches.
        batch: real samples per minibatch.
    """

    name: ClassVar[str] = "real_pool"
    subject: ClassVar[str] = "networks trained on real data"

    samples: int = option(
        500,
        "real samples that a network is trained on between two matches",
        flag="pool_samples",
        above=0,
    )
    batch: int = option(
        64,
        "real samples per minibatch of the networks' training between matches",
        flag="pool_batch",
        above=0,
    )

    def make(
        self, network: Network, context: Context, augmentation: str
    ) -> LearnerSource:
        """The source, see `real_pool`."""
        return real_pool(
            network,
            self.matches,
            replace(self.training(), batch_size=self.batch),
            self.samples,
            self.augment(augmentation),
            context.microbatch,
        )
