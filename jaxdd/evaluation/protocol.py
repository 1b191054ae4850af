"""The evaluation protocol: fresh networks on a set, beside random real subsets."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdd import augment
from jaxdd.data import Split
from jaxdd.data.problem import Problem
from jaxdd.devices import mesh as devices
from jaxdd.devices import policy
from jaxdd.devices.timing import Stopwatch
from jaxdd.evaluation.hits import Hits
from jaxdd.methods.network import network_for
from jaxdd.primitives.keys import named_key
from jaxdd.primitives.losses import present
from jaxdd.statistics import class_statistics, statistics
from jaxdd.storage.signals import Signals
from jaxdd.synthetic.labels import trainable
from jaxdd.synthetic.sets import flatten
from jaxdd.training.evaluate import make_hits, random_subsets, repeat
from jaxdd.training.fit import Training
from jaxdd.types import Array, Batch, Key, RealData, Synthetic

# (networks that are done, of how many, seconds for one)
Watch = Callable[[int, int, float], None]


@dataclass(frozen=True)
class Protocol:
    """How a set is judged.

    Attributes:
        network: name and options.
        training: schedule.
        augmentation: of the training, a name for `augment.training`.
        num_eval: fresh networks.
        num_random: random real subsets, each with its own network.
        seed: of networks, batches and random subsets.
        precision: of the products in the networks.
        label_space: what the labels of the set are, see `synthetic.labels`.
    """

    network: dict
    training: Training
    augmentation: str
    num_eval: int
    num_random: int
    seed: int
    precision: str
    label_space: str = "probabilities"

    def described(self) -> dict[str, Any]:
        """What accuracies depend on, beside the network, the set and the held-out data.

        The identities of results that are on disk follow from it.
        """
        return {
            "training": asdict(self.training),
            "augmentation": self.augmentation,
            "num_eval": self.num_eval,
            "num_random": self.num_random,
            "seed": self.seed,
            "precision": self.precision,
        }

    def in_words(self) -> str:
        """How each network is trained, for a sentence."""
        training = self.training
        loss = training.loss.replace("_", " ")
        return (
            f"{training.epochs} epochs of {training.optimizer} at "
            f"{training.learning_rate:g}, batches of {training.batch_size}, {loss}, "
            f"augmentation {self.augmentation}"
        )

    def trained_on(self, batch: Batch, label_space: str) -> Batch:
        """A batch with the labels that the loss of the training takes."""
        labels = trainable(batch.labels, label_space, self.training.loss)
        return batch._replace(labels=labels)


class Measured(NamedTuple):
    """What an evaluation says of a set."""

    distilled: dict  # statistics
    random: dict  # statistics; every subset drawn anew for its network
    hits: np.ndarray  # [num_eval, M] bool: where each network on the set is right
    ids: np.ndarray  # [M] of the samples in the dataset
    # {"samples": [K] held-out ones, "distilled" and "random": `class_statistics`}
    classes: dict

    @property
    def accuracies(self) -> dict[str, dict]:
        return {"distilled": self.distilled, "random": self.random}


class Judge:
    """One evaluation of a problem, for as many sets as needed.

    Args:
        problem: the data.
        protocol: how sets are judged.
        held_out: what networks are measured on.
        relabel: images [B, ...] -> probabilities [B, K] of every augmented minibatch,
            in the place of the labels of the set; None for those.
    """

    def __init__(
        self,
        problem: Problem,
        protocol: Protocol,
        held_out: Split,
        relabel: Callable[[Array], Array] | None = None,
    ):
        network = network_for(problem.dataset, protocol.network, protocol.precision)
        self.protocol = protocol
        self.held_out, self.ids = problem.on_device(held_out), held_out.ids
        self.labels, self.num_classes = held_out.labels, problem.dataset.num_classes
        self.hits = make_hits(
            network,
            protocol.training,
            views(protocol, relabel),
            problem.microbatch(protocol.network),
        )

    def keys(self, count: int) -> jax.Array:
        return jax.random.split(named_key(self.protocol.seed, "evaluate"), count)

    def distilled(self, synthetic: Synthetic, rate: jax.Array | None = None) -> dict:
        """Accuracy of fresh networks on one set.

        `rate` replaces the schedule's learning rate: sets of one run have step sizes of
        their own, and none of them compiles again.
        """
        count = self.protocol.num_eval
        sets = repeat(self._own(synthetic), count)
        return _accuracy(self.hits(self.keys(count), sets, self.held_out, rate))

    def beside_random(
        self,
        synthetic: Synthetic,
        real: RealData,
        ipc: int,
        kept: Hits | None = None,
        watch: Watch = lambda done, total, seconds: None,
    ) -> Measured:
        """The same beside random real subsets, a few networks after another.

        Args:
            synthetic: the set, decoded.
            real: where the subsets come from.
            ipc: their images per class: what the set stores.
            kept: what an earlier start has measured; a signal saves it.
            watch: called after every dispatch.

        Raises:
            signals.Interrupted: SIGTERM or SIGINT, where `kept` has a file.
        """
        made, drawn = self.protocol.num_eval, self.protocol.num_random
        draw = jax.random.split(named_key(self.protocol.seed, "random"), drawn)
        subsets = random_subsets(draw, real, ipc)
        subsets = self.protocol.trained_on(subsets, "probabilities")
        own = repeat(self._own(synthetic), made)
        groups = [(self.keys(made), own), (self.keys(drawn), subsets)]
        if own.images.shape[1:] == subsets.images.shape[1:]:  # all in one program
            groups = [jax.tree.map(lambda *x: jnp.concatenate(x), *groups)]
        hits = Hits() if kept is None else kept
        hits.open(made + drawn, len(self.ids))
        signals = Signals("network")
        with signals.installed(hits.path):
            first = 0
            for group in groups:
                self.measure(group, first, hits, signals, watch)
                first += len(group[0])
            # What follows may be killed, too: nothing measured is to be lost.
            hits.save()
        of_set, of_random = hits.right[:made], hits.right[made:]
        classes = {
            "samples": np.bincount(self.labels, minlength=self.num_classes).tolist(),
            "distilled": self.by_class(of_set),
            "random": self.by_class(of_random),
        }
        return Measured(
            _accuracy(of_set), _accuracy(of_random), of_set, self.ids, classes
        )

    def _own(self, synthetic: Synthetic) -> Batch:
        """The set as networks are trained on it."""
        return self.protocol.trained_on(flatten(synthetic), self.protocol.label_space)

    def by_class(self, hits: np.ndarray) -> dict:
        """`class_statistics` of hits [E, M] on the held-out data."""
        return class_statistics(hits, self.labels, self.num_classes)

    def measure(
        self,
        group: Any,
        first: int,
        hits: Hits,
        signals: Signals,
        watch: Watch,
        rate: float | None = None,
    ) -> None:
        """Train and measure the networks of a group that are not done yet.

        Every dispatch has the same shape, so that it does not matter for the bits where
        an evaluation was stopped.

        Args:
            group: (keys [G], sets [G, ...]).
            first: place of the group's first network among all.
            hits: what is measured so far, and takes the rest.
            signals: a signal that was received is obeyed after every dispatch.
            watch: called after every dispatch.
            rate: replaces the schedule's learning rate.

        Raises:
            signals.Interrupted: a signal was received; `hits` is saved.
        """
        count = len(group[0])
        size = _at_once(count)
        for start in range(0, count, size):
            # The last dispatch is filled up with networks from the beginning.
            index = np.arange(start, start + size) % count
            new = first + index[: count - start]
            if hits.done[new].all():
                continue
            with Stopwatch() as stopwatch:
                keys, sets = jax.tree.map(lambda x, i=index: x[jnp.asarray(i)], group)
                right = np.asarray(self.hits(keys, sets, self.held_out, rate)) > 0
            hits.add(new, right[: len(new)])
            signals.done = int(hits.done.sum())
            watch(signals.done, len(hits.done), stopwatch.seconds / len(new))
            if received := signals.agreed():
                hits.save()
                signals.stop(received)


def views(
    protocol: Protocol, relabel: Callable[[Array], Array] | None
) -> augment.Augment:
    """The augmentation of a training, after which a teacher may label the images.

    Args:
        protocol: whose augmentation and loss it has.
        relabel: images [B, ...] -> probabilities [B, K]; None to keep the labels.
    """
    augmented = augment.training(protocol.augmentation)
    if relabel is None:
        return augmented

    def labelled(key: Key, batch: Batch) -> Batch:
        batch = augmented(key, batch)
        labels = relabel(batch.images) * present(batch.labels)[:, None]
        return protocol.trained_on(batch._replace(labels=labels), "probabilities")

    return labelled


def _at_once(count: int) -> int:
    """Networks per dispatch, about equally many in each; chosen by device."""
    largest = policy.choices().networks
    dispatches = -(-count // (largest * devices.spread_over()))
    return -(-count // dispatches)


def _accuracy(hits: jax.Array | np.ndarray) -> dict:
    return statistics(100.0 * np.asarray(hits, np.float64).mean(axis=1))
