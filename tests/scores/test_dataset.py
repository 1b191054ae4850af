"""Several scores of a dataset at once: what one of them may cost the others."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.progress import listening
from jaxdd.scores.dataset import compute
from jaxdd.scores.table import SCORES, Effort, Score
from tests.helpers import refused, tiny_network, toy_real

NETWORK, REAL, EFFORT = tiny_network(), toy_real(), Effort(1, 1)


def of_dataset(values):
    def score(network, effort):
        return lambda key, learners, data: values(data.labels.shape[0])

    return Score(score, "dataset")


@pytest.fixture
def own(monkeypatch):
    batches = lambda network, learner, batch: jnp.mean(batch.images)
    monkeypatch.setitem(SCORES, "one number", Score(batches, "networks"))
    monkeypatch.setitem(SCORES, "ranks", of_dataset(jnp.arange))
    endless = of_dataset(lambda samples: jnp.full(samples, jnp.inf))
    monkeypatch.setitem(SCORES, "endless", endless)


def no_networks():
    raise AssertionError("networks are trained")


def test_the_shape_of_every_score_is_known_before_the_first(own):
    with refused("the score one number gives an array of shape"):
        compute(NETWORK, REAL, 0, ["ranks", "one number"], EFFORT, no_networks)


def test_integers_are_scores_that_a_file_keeps(own):
    scores = compute(NETWORK, REAL, 0, ["ranks"], EFFORT)["ranks"]
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(scores, np.arange(len(scores)))


def test_a_score_that_is_not_finite_loses_no_other(own):
    said = []
    with listening(said.append):
        scores = compute(NETWORK, REAL, 0, ["endless", "ranks"], EFFORT)
    assert list(scores) == ["ranks"]
    assert "the score endless is not finite" in " ".join(map(str, said))
    for names in (["endless"], ["endless", "endless"]):
        with refused("finite: train the networks for fewer steps"):
            compute(NETWORK, REAL, 0, names, EFFORT)
