"""What networks cost that are trained on a set or on real data."""

from typing import NamedTuple

import jax
import numpy as np

from experiments.planning.estimate import Lever
from experiments.planning.programs import Fitted, fit_cost
from jaxdd import augment
from jaxdd.data import Split
from jaxdd.data.problem import Problem
from jaxdd.data.real import take
from jaxdd.evaluation.protocol import Protocol
from jaxdd.experts import DTYPES, Manifest
from jaxdd.methods.network import network_for
from jaxdd.training.evaluate import random_subsets
from jaxdd.training.fit import Training
from jaxdd.types import Batch, Network, RealData


class Networks(NamedTuple):
    """What an evaluation costs."""

    compile_seconds: float
    of_set: float  # seconds of the networks on the set
    of_random: float  # seconds of those on random subsets
    fitted: Fitted  # on the set


def evaluation_cost(
    problem: Problem, protocol: Protocol, own: Batch, real: RealData, ipc: int
) -> Networks:
    """Shortened trainings on the set and, where its size is another, on a random one.

    Args:
        problem, protocol: as of `protocol.Judge`.
        own: the set, decoded, [N, ...].
        real: where random subsets come from.
        ipc: their images per class.
    """
    network = network_for(problem.dataset, protocol.network, protocol.precision)
    held_out = problem.on_device(problem.splits.test)
    options = {
        "augment": augment.training(protocol.augmentation),
        "microbatch": problem.microbatch(protocol.network),
    }
    on_set, on_random = protocol.num_eval, protocol.num_random
    subset = jax.tree.map(
        lambda x: x[0],
        random_subsets(jax.random.split(jax.random.key(0), 1), real, ipc),
    )
    training, samples = protocol.training, held_out.labels.shape[0]

    def fitted(data: Batch, count: int) -> Fitted:
        return fit_cost(network, training, data, held_out, count, **options)

    if own.images.shape == subset.images.shape:  # all in one program, as in the run
        cost = fitted(own, on_set + on_random)
        both = cost.seconds(on_set + on_random, training.epochs, samples)
        share = on_set / (on_set + on_random)
        return Networks(cost.compile_seconds, both * share, both * (1 - share), cost)
    first, second = fitted(own, on_set), fitted(subset, on_random)
    return Networks(
        first.compile_seconds + second.compile_seconds,
        first.seconds(on_set, training.epochs, samples),
        second.seconds(on_random, training.epochs, samples),
        first,
    )


def experts_cost(
    problem: Problem,
    network: Network,
    manifest: Manifest,
    held_out: Split | None,
    at_once: int,
) -> Fitted:
    """A few batches of an expert's epoch, by the samples of the training split."""
    real = problem.on_device(problem.splits.train)
    training = Training(epochs=manifest.last_epoch, **manifest.training)
    return fit_cost(
        network,
        training,
        real,
        None if held_out is None else problem.on_device(held_out),
        at_once,
        augment=augment.training(manifest.augmentation),
        fetch=take,
        microbatch=problem.microbatch(manifest.network),
    )


def bank_lever(manifest: Manifest, dtype_flag: str) -> Lever:
    """What a bank's size depends on: its experts, and how they are stored."""
    sizes = {name: np.dtype(kind).itemsize for name, kind in DTYPES.items()}
    smallest = min(sizes, key=lambda name: sizes[name])
    share = sizes[smallest] / sizes[manifest.dtype]
    also = f"--{dtype_flag}={smallest} ({share:.0%} of it)" if share < 1 else ""
    return Lever("num_experts", manifest.experts, also=also)
