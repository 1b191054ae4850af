"""Networks at which difficulty is measured: kinds that may disagree, each by itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdd
from jaxdd.errors import UserError
from jaxdd.scores.probes import KINDS, Probes, kinds_of
from jaxdd.types import Synthetic

NETWORK = jaxdd.make_network("mlp", (4, 4, 1), 2, width=8)


@pytest.fixture(scope="module")
def real():
    """Two classes of brightness, a hundred samples."""
    labels = np.arange(100) % 2
    noise = np.random.default_rng(0).normal(size=(100, 4, 4, 1))
    images = (2.0 * labels - 1)[:, None, None, None] + 0.7 * noise
    return jaxdd.real_data(images.astype(np.float32), labels, 2)


def as_set(images: np.ndarray) -> Synthetic:
    stacked = jnp.asarray(images, jnp.float32)[:, None]
    return Synthetic(stacked, jnp.eye(2)[:, None], jnp.float32(0.01))


@pytest.fixture(scope="module")
def swapped() -> Synthetic:
    """Images with each other's labels: hard for whoever has seen real data."""
    return as_set(np.stack([np.ones((4, 4, 1)), -np.ones((4, 4, 1))]))


@pytest.fixture(scope="module")
def measured(real, swapped):
    probes = Probes(NETWORK, real, seed=0, count=3, steps=30, kinds=tuple(KINDS))
    return probes.measure(swapped)


def test_each_kind_sees_the_set_in_its_way(measured):
    """The first kind has the bare names."""
    assert measured["percentile"] > 20  # random: nothing is known
    assert measured["percentile_real_early"] > 95
    assert measured["percentile_real_late"] > 95
    assert measured["percentile_synthetic"] < 20
    assert measured["grad_norm_real_late"] > measured["grad_norm"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_measures_the_same_alone(kind, real, swapped, measured):
    alone = Probes(NETWORK, real, seed=0, count=3, steps=30, kinds=(kind,))
    ending = "" if kind == next(iter(KINDS)) else f"_{kind}"
    assert alone.measure(swapped) == {
        name: measured[f"{name}{ending}"] for name in ("grad_norm", "percentile")
    }


def test_random_networks_are_fresh(real, swapped):
    probes = Probes(NETWORK, real, seed=0, count=3, steps=30, kinds=("random",))
    learners, _ = probes.fixed["random"]
    fresh = [NETWORK.init(key)[0] for key in probes.keys]
    expected = jax.tree.map(lambda *x: jnp.stack(x), *fresh)
    jax.tree.map(np.testing.assert_array_equal, learners.params, expected)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("random,early", "'early'"), ("random,random", "twice"), ("", "''")],
)
def test_kinds_that_are_refused(text, sentence):
    with pytest.raises(
        UserError, match=f"--probe_kinds.*{sentence}|{sentence}.*choose"
    ):
        kinds_of(text)
