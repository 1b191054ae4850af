"""The difficulty of a synthetic set and of real samples, at the same networks."""

import jax
import jax.numpy as jnp

from jaxdd.data.real import take
from jaxdd.primitives.keys import named_key
from jaxdd.scores.ensemble import ensemble_scores, train_probes
from jaxdd.scores.ranks import percentile
from jaxdd.synthetic.sets import flatten, present
from jaxdd.training.fit import Training
from jaxdd.types import Learner, Network, RealData, Synthetic

BATCH = 64
# Real samples that a percentile refers to: enough for half a percent.
REFERENCE = 1000


def probe_training(samples: int, steps: int) -> tuple[Training, int]:
    """(schedule, samples per epoch) of about `steps` SGD steps."""
    per_epoch = min(samples, steps * BATCH)
    epochs = max(1, round(steps * BATCH / per_epoch))
    return Training(epochs, 0.01, momentum=0.9, batch_size=BATCH), per_epoch


def make_probes(
    network: Network, real: RealData, seed: int, count: int, steps: int
) -> Learner:
    """`count` networks, each trained about `steps` steps on real data, [E, ...]."""
    training, samples = probe_training(real.labels.shape[0], steps)
    keys = jax.random.split(named_key(seed, "probes"), count)
    return jax.jit(train_probes(network, training, samples))(keys, real)


class Probes:
    """Fixed networks, and the gradient norms of real samples under them."""

    def __init__(
        self, network: Network, real: RealData, seed: int, count: int, steps: int
    ):
        self.learners = make_probes(network, real, seed, count, steps)
        total = real.labels.shape[0]
        order = jax.random.permutation(named_key(seed, "reference"), total)
        picked = order[: min(REFERENCE, total)]
        reference = real._replace(
            images=real.images[picked], labels=real.labels[picked]
        )
        of_real = jax.jit(ensemble_scores(network, "grad_norm", take))
        self.real = of_real(self.learners, reference)
        self.of_set = jax.jit(ensemble_scores(network, "grad_norm"))

    def measure(self, synthetic: Synthetic) -> dict[str, float]:
        """Mean GraDN of the set's images, and its percentile among real samples."""
        data = flatten(synthetic)
        images = jnp.sum(present(data.labels))
        # Padding scores 0.
        value = jnp.sum(self.of_set(self.learners, data)) / images
        return {
            "grad_norm": float(value),
            "percentile": float(percentile(value, self.real)),
        }
