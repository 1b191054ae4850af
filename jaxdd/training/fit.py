"""The training loop of all networks: experts, pools, scores and evaluation."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdd.augment import Augment
from jaxdd.devices import policy
from jaxdd.errors import choose
from jaxdd.primitives.gradients import batch_gradient
from jaxdd.primitives.losses import at_temperature, mean_loss
from jaxdd.training.gsam import gsam
from jaxdd.types import Array, Batch, Key, Learner, Network


@dataclass(frozen=True)
class Training:
    """How a network is trained, with PyTorch's semantics of the optimisers.

    Attributes:
        epochs: passes over the data.
        learning_rate: learning rate before the first decay.
        momentum: momentum of SGD, without dampening and Nesterov.
        weight_decay: factor of the parameters that is added to their gradient, biases
            included.
        batch_size: samples per minibatch; the last one of an epoch may be smaller.
        decay_epochs: indices of the epochs before which the learning rate decays.
        decay: factor of the learning rate at each decay.
        reset_momentum: whether a decay sets the momentum to zero, as in the official
            evaluation of DC, which re-creates the optimiser.
        gsam_rho: radius of adaptive GSAM's perturbation; 0 is plain SGD.
        gsam_alpha: weight of GSAM's orthogonal part.
        optimizer: "sgd", "adam" or "adamw", a name in `OPTIMIZERS`; the weight decay of
            the last one is decoupled.
        loss: a name in `primitives.losses.LOSSES`.
        warmup_steps: updates in which the learning rate rises from 0, at most half of
            all.
        final_share: the share of the learning rate to which it falls like a cosine,
            update by update; 1 for no cosine.
        cosine_span: the length of that cosine as a multiple of the training: with 2, it
            ends half way down.
        temperature: of predictions and labels in the loss.
    """

    epochs: int
    learning_rate: float = 0.01
    momentum: float = 0.0
    weight_decay: float = 0.0
    batch_size: int = 256
    decay_epochs: tuple[int, ...] = ()
    decay: float = 0.1
    reset_momentum: bool = False
    gsam_rho: float = 0.0
    gsam_alpha: float = 0.0
    optimizer: str = "sgd"
    loss: str = "cross_entropy"
    warmup_steps: int = 0
    final_share: float = 1.0
    cosine_span: float = 1.0
    temperature: float = 1.0

    def updates(self) -> optax.GradientTransformationExtraArgs:
        """The optimiser, before its updates are scaled by minus the learning rate.

        Raises:
            UserError: there is no such optimiser.
        """
        parts = choose("optimiser", self.optimizer, OPTIMIZERS)(self)
        if self.gsam_rho:
            parts.insert(0, gsam(self.gsam_rho, self.gsam_alpha))
        return optax.with_extra_args_support(optax.chain(*parts))

    def rate_share(self, update: Array, total: int) -> Array | float:
        """The share of the learning rate at an update of all, beside `decay`."""
        if not self.warmup_steps and self.final_share == 1:
            return 1.0
        schedule = optax.warmup_cosine_decay_schedule(
            0.0 if self.warmup_steps else 1.0,
            1.0,
            min(self.warmup_steps, total // 2),
            max(round(total * self.cosine_span), 1),
            self.final_share,
        )
        return schedule(update)


def _sgd(training: Training) -> list[optax.GradientTransformation]:
    momentum = training.momentum
    return [
        optax.add_decayed_weights(training.weight_decay),
        optax.trace(momentum) if momentum else optax.identity(),
    ]


def _adam(training: Training) -> list[optax.GradientTransformation]:
    return [optax.add_decayed_weights(training.weight_decay), optax.scale_by_adam()]


def _adamw(training: Training) -> list[optax.GradientTransformation]:
    return [optax.scale_by_adam(), optax.add_decayed_weights(training.weight_decay)]


OPTIMIZERS = {"sgd": _sgd, "adam": _adam, "adamw": _adamw}


def rows(data: Batch, indices: Array) -> Batch:
    """The rows of a batch at `indices` [B]."""
    return jax.tree.map(lambda x: jnp.asarray(x)[indices], data)


class FitState(NamedTuple):
    """A network in training."""

    learner: Learner
    optimizer: Any  # optax state


class Epochs(NamedTuple):
    """A training run, epoch by epoch."""

    init: Callable[[Learner], FitState]
    # (state, batch, learning rate) -> state
    step: Callable[[FitState, Batch, Array], FitState]
    # (key of the run, state, data, epoch index, learning rate) -> state
    epoch: Callable[..., FitState]


def make_epochs(
    network: Network,
    training: Training,
    augment: Augment | None = None,
    fetch: Callable[[Any, Array], Batch] = rows,
    members: Callable[[Any, Array], Array] | None = None,
    microbatch: int | None = None,
) -> Epochs:
    """Build one epoch of a training run; see `make_fit` for the arguments.

    Args:
        members: (data, epoch index) -> [M] bool, the samples of an epoch (PAD's
            curriculum); None for all. The number of steps depends on it.

    Example:
        >>> run = make_epochs(network, Training(2), fetch=jaxdd.data.real.take)
        >>> state = run.init(jaxdd.Learner(*network.init(key)))
        >>> state = run.epoch(key, state, real, jnp.int32(0))
        >>> type(state.learner).__name__
        'Learner'
    """
    optimizer = training.updates()
    of_batch = at_temperature(training.loss, training.temperature)

    def gradient(learner: Learner, batch: Batch):
        if not jax.tree.leaves(learner.stats):
            accumulate = batch_gradient(
                mean_loss(
                    network, loss=training.loss, temperature=training.temperature
                ),
                microbatch,
            )
            return accumulate(learner.params, batch, learner.stats), learner.stats

        def loss(params):
            outputs, stats = network.apply(params, learner.stats, batch.images, True)
            return of_batch(outputs.logits, batch.labels), stats

        return jax.grad(loss, has_aux=True)(learner.params)

    def init(learner: Learner) -> FitState:
        return FitState(learner, optimizer.init(learner.params))

    def step(state: FitState, batch: Batch, rate: Array) -> FitState:
        learner = state.learner
        grads, stats = gradient(learner, batch)
        updates, optimizer_state = optimizer.update(
            grads,
            state.optimizer,
            learner.params,
            # GSAM's second pass does not update the statistics.
            grad_fn=lambda p: gradient(learner._replace(params=p), batch)[0],
        )
        params = jax.tree.map(lambda p, u: p - rate * u, learner.params, updates)
        return FitState(Learner(params, stats), optimizer_state)

    def epoch(key: Key, state: FitState, data, index: Array, rate=None) -> FitState:
        count = data.labels.shape[0]
        size = min(training.batch_size, count)
        longest = -(-count // size)
        key_order, key_steps = jax.random.split(jax.random.fold_in(key, index))
        order = jax.random.permutation(key_order, count)
        used, steps = count, longest
        if members is not None:
            inside = members(data, index)
            order = order[jnp.argsort(~inside[order], stable=True)]
            used = jnp.sum(inside)
            steps = -(-used // size)
        # The last batch is filled up with images without label mass. They belong to
        # this epoch too, because batch norm sees them.
        position = jnp.arange(longest * size) % jnp.maximum(used, 1)
        padded = order[position].reshape(longest, size)
        valid = (jnp.arange(longest * size) < used).reshape(longest, size)
        decays = jnp.array(training.decay_epochs, jnp.int32)
        dtype = jax.tree.leaves(state.learner.params)[0].dtype
        rate = training.learning_rate if rate is None else rate
        rate = jnp.asarray(rate * training.decay ** jnp.sum(index >= decays), dtype)
        if training.reset_momentum and training.decay_epochs:
            keep = ~jnp.any(index == decays)
            reset = jax.tree.map(lambda m: m * keep, state.optimizer)
            state = state._replace(optimizer=reset)
        keys = jax.random.split(key_steps, longest)
        total = training.epochs * longest

        def one(i, state: FitState) -> FitState:
            batch = fetch(data, padded[i])
            labels = batch.labels * valid[i].astype(dtype)[:, None]
            batch = batch._replace(labels=labels)
            batch = batch if augment is None else augment(keys[i], batch)
            share = training.rate_share(index * longest + i, total)
            return step(state, batch, rate * jnp.asarray(share, dtype))

        return jax.lax.fori_loop(0, steps, one, state)

    return Epochs(init, step, epoch)


def make_fit(
    network: Network,
    training: Training,
    augment: Augment | None = None,
    fetch: Callable[[Any, Array], Batch] = rows,
    observe: Callable[[Learner], Any] = lambda learner: (),
    members: Callable[[Any, Array], Array] | None = None,
    microbatch: int | None = None,
):
    """Build a training run.

    Args:
        network: the network to train.
        training: the schedule.
        augment: (key, batch) -> batch, applied to every batch; see
            `augment.on_images`.
        fetch: (data, indices [B]) -> Batch; `rows` for a Batch, `data.real.take` for
            RealData. Axis 0 of `data.labels` must be the samples.
        observe: (learner) -> pytree, recorded after every epoch.
        members: as in `make_epochs`.
        microbatch: chunk length of the gradients; ignored with batch norm, where
            samples interact.

    Returns:
        fit(key, learner, data, rate=None) -> (trained learner, observations [epochs,
        ...]). `rate` replaces the learning rate of the schedule, for example by a
        learned step size, which is traced. Consumes `key`. Not jitted.

    Example:
        >>> training = jaxdd.Training(epochs=2)
        >>> trained, _ = make_fit(network, training)(key, learner, batch)
        >>> type(trained).__name__
        'Learner'
    """
    run = make_epochs(network, training, augment, fetch, members, microbatch)

    def fit(key: Key, learner: Learner, data, rate=None):
        def epoch(state: FitState, index: Array):
            state = run.epoch(key, state, data, index, rate)
            return state, observe(state.learner)

        state, observations = jax.lax.scan(
            epoch, run.init(learner), jnp.arange(training.epochs)
        )
        return state.learner, observations

    return fit


def from_scratch(network: Network, fit: Callable[..., tuple[Learner, Any]]):
    """A training run that begins at a fresh network.

    Args:
        network: the network to train.
        fit: from `make_fit`.

    Returns:
        (key, data, rate=None) -> (trained learner, observations [epochs, ...]).
        Consumes the key. Pure, not jitted.

    Example:
        >>> train = from_scratch(network, make_fit(network, Training(epochs=2)))
        >>> type(train(key, batch)[0]).__name__
        'Learner'
    """

    def train(key: Key, data, rate=None):
        key_init, key_fit = jax.random.split(key)
        return fit(key_fit, Learner(*network.init(key_init)), data, rate)

    return train


def make_ensemble(network: Network, fit: Callable[..., tuple[Learner, Any]]):
    """Fresh networks that are trained on the same data, as many at once as fit.

    Args:
        network: the network to train.
        fit: from `make_fit`.

    Returns:
        (keys [E], data, rate=None) -> learners [E, ...]. Pure, not jitted.

    Example:
        >>> ensemble = make_ensemble(network, make_fit(network, Training(epochs=1)))
        >>> jax.tree.leaves(ensemble(jax.random.split(key, 2), batch))[0].shape[0]
        2
    """
    train = from_scratch(network, fit)

    def ensemble(keys: Key, data, rate=None) -> Learner:
        one = lambda key, data, rate: train(key, data, rate)[0]
        return policy.spread_axis(one, keys, data, rate)

    return ensemble
