"""The one training loop: scores, pools and evaluation all train networks with it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxdd.losses import cross_entropy, mean_loss
from jaxdd.primitives.gradients import batch_gradient
from jaxdd.types import Array, Batch, Key, Learner, Network


@dataclass(frozen=True)
class Training:
    """How a network is trained: SGD with coupled weight decay (PyTorch's semantics).

    Attributes:
        epochs: passes over the data.
        learning_rate: before the first decay.
        momentum: heavy ball, no dampening, no Nesterov.
        weight_decay: added to the gradient of every parameter, biases included.
        batch_size: the last batch of an epoch may be smaller.
        decay_epochs: epoch indices at whose start the learning rate is multiplied.
        decay: by how much.
        reset_momentum: whether the momentum starts anew at a decay, as in the official
            evaluation of DC, which re-creates the optimiser there.
    """

    epochs: int
    learning_rate: float = 0.01
    momentum: float = 0.0
    weight_decay: float = 0.0
    batch_size: int = 256
    decay_epochs: tuple[int, ...] = ()
    decay: float = 0.1
    reset_momentum: bool = False


def rows(data: Batch, indices: Array) -> Batch:
    """Select rows of a batch that is held in memory."""
    return jax.tree.map(lambda x: x[indices], data)


def make_fit(
    network: Network,
    training: Training,
    augment: Callable[[Key, Array], Array] | None = None,
    fetch: Callable[[Any, Array], Batch] = rows,
    observe: Callable[[Learner], Any] = lambda learner: (),
    microbatch: int | None = None,
):
    """Build a training run.

    Args:
        network: what to train.
        training: how.
        augment: (key, images [B, H, W, C]) -> images, applied to every batch.
        fetch: (data, indices [B]) -> Batch; `rows` for a Batch, `windows.take` for
            RealData. `data.labels` must have the number of samples in front.
        observe: (learner) -> pytree, recorded after every epoch.
        microbatch: chunk length of the gradients; ignored with batch norm, where
            samples interact.

    Returns:
        fit(key, learner, data) -> (trained learner, observations [epochs, ...]).
        Consumes `key`. Not jitted.

    Example:
        >>> import jax, jaxdd, numpy as np
        >>> images = np.ones((6, 8, 8, 1), np.float32)
        >>> real = jaxdd.real_data(images, np.arange(6) % 3, 3)
        >>> network = jaxdd.make_network("mlp", (8, 8, 1), 3, width=4)
        >>> learner = jaxdd.Learner(*network.init(jax.random.key(0)))
        >>> key = jax.random.key(0)
        >>> batch = jaxdd.windows.take(real, jax.numpy.arange(4))
        >>> training = jaxdd.Training(epochs=2)
        >>> trained, _ = make_fit(network, training)(key, learner, batch)
        >>> type(trained).__name__
        'Learner'
    """
    optimizer = optax.chain(
        optax.add_decayed_weights(training.weight_decay),
        optax.trace(training.momentum) if training.momentum else optax.identity(),
    )

    def gradient(learner: Learner, batch: Batch):
        if not jax.tree.leaves(learner.stats):
            accumulate = batch_gradient(mean_loss(network), microbatch)
            return accumulate(learner.params, batch, learner.stats), learner.stats

        def loss(params):
            outputs, stats = network.apply(params, learner.stats, batch.images, True)
            return cross_entropy(outputs.logits, batch.labels), stats

        return jax.grad(loss, has_aux=True)(learner.params)

    def fit(key: Key, learner: Learner, data):
        count = data.labels.shape[0]
        size = min(training.batch_size, count)
        steps = -(-count // size)
        decays = jnp.array(training.decay_epochs, jnp.int32)

        def step(carry, xs):
            learner, momentum, rate = carry
            indices, valid, key_step = xs
            batch = fetch(data, indices)
            images = (
                batch.images if augment is None else augment(key_step, batch.images)
            )
            batch = Batch(images, batch.labels * valid[:, None])
            grads, stats = gradient(learner, batch)
            updates, momentum = optimizer.update(grads, momentum, learner.params)
            params = jax.tree.map(lambda p, u: p - rate * u, learner.params, updates)
            return (Learner(params, stats), momentum, rate), None

        def epoch(carry, index):
            learner, momentum = carry
            key_order, key_steps = jax.random.split(jax.random.fold_in(key, index))
            order = jax.random.permutation(key_order, count)
            # The last batch is filled up with images that carry no label mass.
            padded = jnp.resize(order, (steps, size))
            valid = (jnp.arange(steps * size) < count).reshape(steps, size)
            dtype = jax.tree.leaves(learner.params)[0].dtype
            rate = training.learning_rate * training.decay ** jnp.sum(index >= decays)
            if training.reset_momentum and training.decay_epochs:
                keep = ~jnp.any(index == decays)
                momentum = jax.tree.map(lambda m: m * keep, momentum)
            xs = padded, valid.astype(dtype), jax.random.split(key_steps, steps)
            carry, _ = jax.lax.scan(step, (learner, momentum, rate.astype(dtype)), xs)
            return carry[:2], observe(carry[0])

        start = learner, optimizer.init(learner.params)
        (learner, _), seen = jax.lax.scan(epoch, start, jnp.arange(training.epochs))
        return learner, seen

    return fit
