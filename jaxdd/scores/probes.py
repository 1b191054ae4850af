"""The difficulty of a synthetic set and of real samples, at the same networks."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdd.data.real import take
from jaxdd.errors import UserError, choose
from jaxdd.primitives.keys import named_key
from jaxdd.primitives.losses import present
from jaxdd.scores.ensemble import ensemble_scores, train_probes
from jaxdd.scores.ranks import percentile
from jaxdd.scores.watched import joined
from jaxdd.synthetic.sets import flatten
from jaxdd.training.fit import Training, make_ensemble, make_fit
from jaxdd.types import Array, Batch, Key, Learner, Network, RealData, Synthetic

BATCH = 64
# Kinds of networks, and their steps of SGD on real data in units of `probe_steps`:
# fresh ones, partly and further trained ones, and those that are trained on the set.
KINDS = {"random": 0, "real_early": 1, "real_late": 10, "synthetic": 0}
USUAL = ("real_early",)
# Real samples that a percentile refers to: enough for half a percent.
REFERENCE = 1000


def probe_training(samples: int, steps: int) -> tuple[Training, int]:
    """(schedule, samples per epoch) of about `steps` SGD steps."""
    per_epoch = min(samples, steps * BATCH)
    epochs = max(1, round(steps * BATCH / per_epoch))
    return _sgd(epochs), per_epoch


def _sgd(epochs: int) -> Training:
    return Training(epochs, 0.01, momentum=0.9, batch_size=BATCH)


def make_probes(
    network: Network,
    real: RealData,
    seed: int,
    count: int,
    steps: int,
    stage: str = "networks that measure difficulty",
) -> Learner:
    """`count` networks, each trained about `steps` steps on real data, [E, ...].

    `stage` names their training, for whoever listens to progress.
    """
    training, samples = probe_training(real.labels.shape[0], steps)
    keys = jax.random.split(named_key(seed, "probes"), count)
    return joined(train_probes(network, training, samples), keys, real, stage=stage)


class Seen(NamedTuple):
    """GraDN under networks of one kind.

    Attributes:
        of_set: [N], of the set's images; padding has 0.
        of_real: [R], of the real samples that a percentile refers to.
        labels: [N, K], of the set's images; padding has zeros.
    """

    of_set: Array
    of_real: Array
    labels: Array


class Probes:
    """Fixed networks of some kinds, and the gradient norms of real samples under them.

    A set may be hard for networks of one kind and easy for those of another, so a
    statement about difficulty names the kind.

    Args:
        network: the architecture.
        real: the real samples; a thousand of them are what a percentile refers to.
        seed: of all draws.
        count: networks of each kind.
        steps: of SGD that networks of the kind "real_early" have taken.
        kinds: names in `KINDS`.

    Source: ours.
    """

    def __init__(
        self,
        network: Network,
        real: RealData,
        seed: int,
        count: int,
        steps: int,
        kinds: Sequence[str] = USUAL,
    ):
        self.network, self.kinds, self.steps = network, tuple(kinds), steps
        total = real.labels.shape[0]
        order = jax.random.permutation(named_key(seed, "reference"), total)
        picked = order[: min(REFERENCE, total)]
        self.picked = picked  # [R] places of the reference among the real samples
        self.reference = real._replace(
            images=real.images[picked], labels=real.labels[picked]
        )
        self.of_real = jax.jit(ensemble_scores(network, "grad_norm", take))
        self.of_set = jax.jit(ensemble_scores(network, "grad_norm"))
        self.keys = jax.random.split(named_key(seed, "probes"), count)
        # Those of a kind that sees no set are the same at every measurement.
        self.fixed: dict[str, tuple[Learner, Array]] = {}
        for kind in self.kinds:
            if kind != "synthetic":
                learners = self._before_the_set(kind, real, seed)
                scores = self.of_real(learners, self.reference)
                self.fixed[kind] = learners, scores

    def _before_the_set(self, kind: str, real: RealData, seed: int) -> Learner:
        """Networks [E, ...] of a kind that does not depend on the set."""
        lengths = KINDS[kind]
        if not lengths:
            return jax.vmap(lambda key: Learner(*self.network.init(key)))(self.keys)
        count = len(self.keys)
        steps, stage = lengths * self.steps, f"networks of the kind {kind}"
        return make_probes(self.network, real, seed, count, steps, stage)

    def measure(self, synthetic: Synthetic) -> dict[str, float]:
        """Difficulty of a set under networks of every kind; see `summary`."""
        return self.summary(self.look(synthetic))

    def look(self, synthetic: Synthetic) -> dict[str, Seen]:
        """GraDN of a set's images and of real samples under networks of every kind."""
        data = flatten(synthetic)
        seen = {}
        for kind in self.kinds:
            learners, of_real = self._learners(kind, data)
            seen[kind] = Seen(self.of_set(learners, data), of_real, data.labels)
        return seen

    def summary(self, seen: Mapping[str, Seen]) -> dict[str, float]:
        """What `look` saw, in a few numbers.

        Returns:
            `grad_norm`, the mean GraDN of the set's images, and `percentile`, its place
            among those of real samples, under networks of the first kind; under those
            of another one `grad_norm_KIND` and `percentile_KIND`.
        """
        measured: dict[str, float] = {}
        for kind, (of_set, of_real, labels) in seen.items():
            # Padding scores 0.
            value = jnp.sum(of_set) / jnp.sum(present(labels))
            suffix = suffix_of(kind, self.kinds)
            measured[f"grad_norm{suffix}"] = float(value)
            measured[f"percentile{suffix}"] = float(percentile(value, of_real))
        return measured

    def _learners(self, kind: str, data: Batch) -> tuple[Learner, Array]:
        """Networks of a kind, and the scores of the reference under them."""
        if kind in self.fixed:
            return self.fixed[kind]
        learners = self._trained_on_the_set(self.keys, data)
        return learners, self.of_real(learners, self.reference)

    @cached_property
    def _trained_on_the_set(self) -> Callable[[Key, Batch], Learner]:
        """(keys [E], set) -> networks that took `steps` steps of SGD on it."""

        def trained(keys: Key, data: Batch) -> Learner:
            batches = -(-data.labels.shape[0] // BATCH)
            epochs = max(1, round(self.steps / batches))
            fit = make_fit(self.network, _sgd(epochs))
            return make_ensemble(self.network, fit)(keys, data)

        return jax.jit(trained)


def suffix_of(kind: str, kinds: Sequence[str]) -> str:
    """What the names of measurements at networks of a kind end with."""
    return "" if kind == kinds[0] else f"_{kind}"


def kinds_of(text: str) -> tuple[str, ...]:
    """The kinds of `--probe_kinds`.

    Raises:
        UserError: a kind is unknown or appears twice.

    Example:
        >>> kinds_of("real_early,random")
        ('real_early', 'random')
    """
    kinds = tuple(text.split(","))
    for kind in kinds:
        choose("kind of networks in --probe_kinds", kind, KINDS)
    if len(set(kinds)) < len(kinds):
        raise UserError(f"--probe_kinds names a kind twice: {text}")
    return kinds
