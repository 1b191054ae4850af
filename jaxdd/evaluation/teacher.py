"""A network trained on real data, whose probabilities become labels of any images."""

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import numpy as np

from jaxdd.data import Split
from jaxdd.data.preprocess import Preprocess
from jaxdd.data.problem import Problem
from jaxdd.errors import UserError
from jaxdd.evaluation.protocol import Protocol
from jaxdd.evaluation.whole import BATCH, Whole
from jaxdd.experts.bank import Bank
from jaxdd.experts.manifest import Manifest, layout
from jaxdd.experts.teaching import Teaching, first_teacher
from jaxdd.methods.network import network_for
from jaxdd.primitives.keys import named_key
from jaxdd.storage.paths import shown
from jaxdd.training.evaluate import accuracy
from jaxdd.training.fit import Training
from jaxdd.types import Array, Learner, Network


@dataclass(frozen=True, eq=False)
class Teacher:
    """A trained network that labels images.

    Attributes:
        network, learner: the network and its state.
        preprocess: of its inputs.
        about: how it was made, and its accuracy on the test data in percent.
    """

    network: Network
    learner: Learner
    preprocess: Preprocess
    about: dict[str, Any]

    def labels(self, images: Array, preprocess: Preprocess) -> Array:
        """Probabilities [S, N, K] of images [S, N, ...], which may be network inputs
        of another preprocessing."""
        if preprocess.digest != self.preprocess.digest:
            pixels = preprocess.space().encode(images)
            images = self.preprocess.space().decode(pixels)
        return self._teaching.probabilities(images)

    @cached_property
    def _teaching(self) -> Teaching:
        return Teaching(self.network, self.learner)


def protocol_of_teacher(
    network: dict[str, Any], epochs: int, protocol: Protocol
) -> Protocol:
    """How a teacher is trained: plain SGD on the whole training split.

    With momentum 0.9 and weight decay 5e-4 at the learning rate 0.01, without
    augmentation, taken after the last epoch.

    Args:
        network: name and options.
        epochs: passes over the training split.
        protocol: whose seed and precision it has.
    """
    training = Training(epochs, 0.01, momentum=0.9, weight_decay=5e-4, batch_size=BATCH)
    return Protocol(network, training, "none", 1, 1, protocol.seed, protocol.precision)


def train_teacher(problem: Problem, protocol: Protocol, tested: Split) -> Teacher:
    """One network on the whole training split.

    Args:
        problem: the data.
        protocol: see `protocol_of_teacher`.
        tested: the samples on which its accuracy is told.
    """
    whole = Whole(problem, protocol, protocol.training.epochs)
    learner = whole.train(named_key(protocol.seed, "teacher"))
    right = whole.right(learner, problem.on_device(tested))
    about = {
        "source": "trained here",
        "network": protocol.network,
        "training": dataclasses.asdict(whole.training),
        "augmentation": protocol.augmentation,
        "accuracy": 100.0 * float(right.mean()),
    }
    return Teacher(whole.network, learner, problem.preprocess, about)


def open_bank(path: str, problem: Problem) -> Bank:
    """A bank whose experts may teach on a problem.

    Raises:
        UserError: there is no finished bank, it is of other data, or its parameters are
            not those of its network.
    """
    bank = Bank.open(path)
    if not problem.dataset.is_decoded:  # in a plan
        return bank
    if bank.manifest.data.get("fingerprint") != problem.dataset.fingerprint:
        raise UserError(
            f"the bank {shown(path)} was trained on other data than the set was made "
            "from: give a bank of the same dataset, or --teacher to train one here"
        )
    if bank.manifest.preprocess.get("digest") != problem.preprocess.digest:
        raise UserError(
            f"the bank {shown(path)} was trained with another preprocessing than the "
            "set's: give a bank that was trained with the same, or --teacher"
        )
    manifest = bank.manifest
    network = network_for(problem.dataset, manifest.network, manifest.precision)
    if manifest.leaves != layout(network):
        raise UserError(
            f"the bank {shown(path)} holds parameters of other shapes than its network "
            "has: use another bank, or --teacher"
        )
    return bank


def _training(manifest: Manifest) -> dict[str, Any]:
    """How an expert was trained, or the digest of the weights that were imported."""
    if "weights" in manifest.training:
        return dict(manifest.training)
    epochs = {"epochs": manifest.last_epoch}
    return dataclasses.asdict(Training(**{**manifest.training, **epochs}))


def teacher_from(bank: Bank, problem: Problem, tested: Split) -> Teacher:
    """The first expert of a bank after its last stored epoch.

    Raises:
        UserError: its parameters are damaged.
    """
    manifest = bank.manifest
    network = network_for(problem.dataset, manifest.network, manifest.precision)
    real = problem.on_device(problem.splits.train)
    learner = first_teacher(bank, network, real)
    measure = jax.jit(lambda x, real: accuracy(network, x, real))
    about = {
        "source": f"bank {manifest.digest}",
        "network": manifest.network,
        "training": _training(manifest),
        "augmentation": manifest.augmentation,
        "accuracy": float(np.asarray(measure(learner, problem.on_device(tested)))),
    }
    return Teacher(network, learner, problem.preprocess, about)
