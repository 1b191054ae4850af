"""Networks that are trained on the whole training data."""

import dataclasses

import jax
import numpy as np

from jaxdd import augment
from jaxdd.data.problem import Problem
from jaxdd.data.real import take
from jaxdd.devices.timing import Stopwatch
from jaxdd.evaluation.hits import Hits
from jaxdd.evaluation.protocol import Protocol, Watch
from jaxdd.methods.network import network_for
from jaxdd.storage.signals import Signals
from jaxdd.training.evaluate import CHUNK, right
from jaxdd.training.fit import Training, from_scratch, make_fit
from jaxdd.types import Array, Batch, Key, Learner, RealData

# Samples per minibatch: real data are enough for many small ones in few epochs.
BATCH = 64
EPOCHS = 30


def schedule(training: Training, epochs: int) -> Training:
    """A schedule in fewer or more epochs, with its decays at the same shares of them.

    Example:
        >>> schedule(Training(300, decay_epochs=(150,)), 30).decay_epochs
        (15,)
    """
    decays = (round(epochs * x / training.epochs) for x in training.decay_epochs)
    return dataclasses.replace(
        training,
        epochs=epochs,
        decay_epochs=tuple(decays),
        batch_size=min(BATCH, training.batch_size),
    )


class Whole:
    """Training on a whole split, by a protocol in other epochs.

    Args:
        problem: the data.
        protocol: network, schedule, augmentation and precision.
        epochs: instead of those of the schedule.
    """

    def __init__(self, problem: Problem, protocol: Protocol, epochs: int):
        self.network = network_for(
            problem.dataset, protocol.network, protocol.precision
        )
        self.training = schedule(protocol.training, epochs)
        self.real = problem.on_device(problem.splits.train)

        def fetch(real: RealData, index: Array) -> Batch:
            return protocol.trained_on(take(real, index), "probabilities")

        fit = make_fit(
            self.network,
            self.training,
            augment.training(protocol.augmentation),
            fetch,
            microbatch=problem.microbatch(protocol.network),
        )

        train = from_scratch(self.network, fit)
        self._trained = jax.jit(lambda key, real, rate: train(key, real, rate)[0])
        self._right = jax.jit(lambda x, real: right(self.network, x, real, CHUNK))

    def train(self, key: Key, rate: float | None = None) -> Learner:
        """One network; `rate` replaces the learning rate of the schedule."""
        return self._trained(key, self.real, rate)

    def right(self, learner: Learner, held_out: RealData) -> np.ndarray:
        """[M] bool: which samples of a split a network classifies correctly."""
        return np.asarray(self._right(learner, held_out)) > 0

    def measure(
        self,
        keys: Key,
        held_out: RealData,
        first: int,
        hits: Hits,
        signals: Signals,
        watch: Watch,
        rate: float | None = None,
    ) -> None:
        """As `Judge.measure`, with a network per key and one after another."""
        for place, key in enumerate(keys, first):
            if hits.done[place]:
                continue
            with Stopwatch() as stopwatch:
                answers = self.right(self.train(key, rate), held_out)
            hits.add(np.array([place]), answers[None])
            signals.done = int(hits.done.sum())
            watch(signals.done, len(hits.done), stopwatch.seconds)
            if received := signals.agreed():
                hits.save()
                signals.stop(received)
