"""`difficulty.npz`: the samples in it are those that were scored."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxdd
from jaxdd.data.problem import prepare
from jaxdd.distillation import sample_difficulty
from jaxdd.scores.probes import Probes, Seen
from jaxdd.types import Synthetic
from tests.helpers import refused, toy_arrays


@pytest.fixture(scope="module")
def gathered():
    """(difficulties, problem, probes) of a set with a padded class."""
    images, labels = toy_arrays(counts=(12, 9, 7))
    images = (images - images.min()) / np.ptp(images)
    test = images[:10], labels[:10]
    dataset = jaxdd.from_arrays(images[10:], labels[10:], *test, name="toys")
    problem = prepare(dataset, 0.0, 0)
    network = jaxdd.make_network("mlp", dataset.image_shape, 3, width=4)
    real = problem.on_device(problem.splits.train)
    probes = Probes(network, real, 0, 1, 1, ("random",))
    stored = jnp.asarray(images[:6]).reshape(3, 2, 8, 8, 1)
    one_hot = jnp.repeat(jnp.eye(3)[:, None], 2, axis=1).at[2, 1].set(0.0)
    seen = probes.look(Synthetic(stored, one_hot, jnp.float32(0)))
    return sample_difficulty.gather(probes, seen, problem), problem, probes


def test_the_easiest_and_hardest_images_are_shown(gathered):
    kept, problem, probes = gathered
    train = problem.splits.train
    scores = np.asarray(probes.of_real(probes.fixed["random"][0], probes.reference))
    assert np.array_equal(kept.of_real[0], scores)
    assert len(kept.of_set[0]) == 5  # padding is no image
    labels = train.labels[np.asarray(probes.picked)]
    for k in range(3):
        members = np.flatnonzero(labels == k)
        order = members[np.argsort(scores[members])]
        for place, hard in ((order[0], False), (order[-1], True)):
            shown = kept.extremes[(kept.classes == k) & (kept.hard == hard)]
            image = train.images[np.asarray(probes.picked)[place]]
            assert np.array_equal(shown[0], np.round(255 * image).astype(np.uint8))


def test_test_samples_have_their_own_scores(gathered):
    kept, problem, probes = gathered
    test = problem.on_device(problem.splits.test)
    data = probes.reference._replace(images=test.images, labels=test.labels)
    scores = probes.of_real(probes.fixed["random"][0], data)
    assert np.array_equal(kept.test_ids, problem.splits.test.ids)
    assert np.allclose(kept.of_test, scores, rtol=1e-5)


def test_nothing_is_compiled_for_test_samples(gathered):
    """The real samples' program serves; the second one is that of the test above."""
    _, problem, _ = gathered
    network = jaxdd.make_network("mlp", problem.dataset.image_shape, 3, width=4)
    real = problem.on_device(problem.splits.train)
    probes = Probes(network, real, 0, 1, 1, ("random",))
    seen = {"random": Seen(jnp.ones(2), jnp.ones(len(probes.picked)), jnp.eye(3)[:2])}
    sample_difficulty.gather(probes, seen, problem)
    assert probes.of_real._cache_size() == 1


def test_it_is_read_as_it_was_written(gathered, tmp_path):
    kept = gathered[0]
    sample_difficulty.write(kept, tmp_path)
    again = sample_difficulty.read(tmp_path, 3)
    assert again.kinds == ("random",)
    for ours, theirs in zip(again[1:], kept[1:], strict=True):
        assert np.array_equal(ours, theirs)
    with refused("another run"):
        sample_difficulty.read(tmp_path, 2)
