"""The evaluation protocol: fresh networks on a set, beside random real subsets."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from experiments.problem import Problem, named_key, network_for
from jaxdd import augment
from jaxdd.data import Split
from jaxdd.evaluate import flatten, make_evaluate, random_subsets, repeat
from jaxdd.train import Training
from jaxdd.types import RealData, Synthetic

# Fewer random subsets than this say little: they differ far more than networks do (on
# digits at one image per class the standard deviation is 5 points against 0.5).
MIN_RANDOM = 5


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
    """

    network: dict
    training: Training
    augmentation: str
    num_eval: int
    num_random: int
    seed: int


def statistics(accuracies) -> dict:
    """{"mean", "std", "n"} of accuracies in percent; population std as in the field."""
    x = np.asarray(accuracies, np.float64)
    return {"mean": float(x.mean()), "std": float(x.std()), "n": len(x)}


class Judge:
    """One compiled evaluation of a problem, for as many sets of one size as needed."""

    def __init__(self, problem: Problem, protocol: Protocol, held_out: Split):
        network = network_for(problem.dataset, protocol.network)
        self.protocol = protocol
        self.held_out = problem.on_device(held_out)
        self.evaluate = make_evaluate(
            network,
            protocol.training,
            augment.training(protocol.augmentation),
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
        sets = repeat(flatten(synthetic), count)
        found = self.evaluate(self.keys(count), sets, self.held_out, rate)
        return statistics(found)

    def beside_random(self, synthetic: Synthetic, real: RealData) -> dict[str, dict]:
        """The same beside random real subsets of its size, all in one program.

        Returns:
            {"distilled": statistics, "random": statistics}; every random subset is
            drawn anew for its network.
        """
        made, drawn = self.protocol.num_eval, self.protocol.num_random
        draw = jax.random.split(named_key(self.protocol.seed, "random"), drawn)
        sets = jax.tree.map(
            lambda a, b: jnp.concatenate([a, b]),
            repeat(flatten(synthetic), made),
            random_subsets(draw, real, synthetic.images.shape[1]),
        )
        keys = jnp.concatenate([self.keys(made), self.keys(drawn)])
        found = self.evaluate(keys, sets, self.held_out)
        return {
            "distilled": statistics(found[:made]),
            "random": statistics(found[made:]),
        }
