"""Networks are worked on a few at a time, which whoever listens sees."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

import jaxdd
from jaxdd.devices import policy
from jaxdd.progress import Progress, listening
from jaxdd.scores import watched
from jaxdd.scores.dataset import compute
from jaxdd.scores.table import Effort

VALUES = jnp.array([1.0, 2.0, 4.0, 8.0, 16.0])


def at_once(networks):
    return policy.using(replace(policy.choices(), networks=networks))


@pytest.mark.parametrize(
    ("networks", "counts"), [(1, [1, 2, 3, 4, 5]), (2, [2, 4, 5]), (5, []), (32, [])]
)
def test_parts_give_what_the_whole_gives(networks, counts):
    events = []
    square = lambda x, by: {"square": x * x * by}
    mean = lambda x, by: jnp.mean(x * by, axis=0, keepdims=True)
    with at_once(networks), listening(events.append):
        joined = watched.joined(square, VALUES, 3.0, stage="squares")
        averaged = watched.averaged(mean, VALUES, 3.0, stage="means")
    np.testing.assert_array_equal(joined["square"], 3 * VALUES**2)
    np.testing.assert_allclose(averaged, [3 * 31 / 5], rtol=1e-6)
    done = [(x.stage, x.done, x.total) for x in events if isinstance(x, Progress)]
    stages = ("squares", "means")
    assert done == [(stage, count, 5) for stage in stages for count in counts]


def test_scores_report_their_networks_one_by_one():
    images = np.random.default_rng(0).random((30, 8, 8, 1), np.float32)
    real = jaxdd.real_data(images, np.arange(30) % 3, 3)
    network = jaxdd.make_network("mlp", (8, 8, 1), 3, width=4)
    effort = Effort(networks=2, train_steps=2, forgetting_epochs=2)
    events, names = [], ["el2n", "forgetting"]
    with at_once(1), listening(events.append):
        one_by_one = compute(network, real, 0, names, effort)
    stages = [x.stage for x in events if isinstance(x, Progress)]
    expected = ["networks that measure difficulty", *names]
    assert stages == [stage for stage in expected for _ in range(2)]
    with at_once(2):
        together = compute(network, real, 0, names, effort)
    for name in names:
        np.testing.assert_allclose(one_by_one[name], together[name], rtol=1e-5)
