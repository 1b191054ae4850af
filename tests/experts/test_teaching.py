"""An expert as a teacher: its last parameters, with statistics of its batch norm."""

import gc
import weakref
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.data.real import take
from jaxdd.experts import Snapshots, teaching
from jaxdd.experts.statistics import (
    CLASS_FILE,
    FILE,
    read_statistics,
    write_statistics,
)
from jaxdd.experts.teaching import (
    Teaching,
    class_moments,
    first_teacher,
    known_of_classes,
)
from jaxdd.scores.selection import select
from jaxdd.scores.table import Effort
from jaxdd.types import Learner
from tests.helpers import assert_close, refused, tiny_network, toy_real


class OneExpert(Snapshots):
    """In the place of a bank, which has parameters alone."""

    def __init__(self, network):
        self.manifest = SimpleNamespace(last_epoch=3)
        self.params, _ = network.init(jax.random.key(7))

    def snapshot(self, expert, epoch, like):
        assert (expert, epoch) == (0, 3)
        return self.params


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_a_teacher_sees_images_as_its_training_did(norm, monkeypatch):
    """With batch norm: in evaluation as in training on all samples at once."""
    monkeypatch.setattr(teaching, "BATCH", 36)
    network, real = tiny_network(width=4, depth=1, norm=norm), toy_real()
    bank = OneExpert(network)
    learner = first_teacher(bank, network, real)
    images = take(real, jnp.arange(36)).images
    outputs, _ = network.apply(learner.params, learner.stats, images, True)
    expected = jax.nn.softmax(outputs.logits)
    ours = Teaching(network, learner).probabilities(images[None])
    np.testing.assert_allclose(ours[0], expected, atol=5e-3)
    if norm == "batch":
        begun = Learner(bank.params, network.init(jax.random.key(0))[1])
        unsettled = Teaching(network, begun).probabilities(images[None])
        assert np.abs(unsettled[0] - expected).max() > 0.02


def test_a_teacher_that_is_used_up_is_let_go(monkeypatch):
    """With what was compiled for it: a process may see many."""
    monkeypatch.setattr(teaching, "BATCHES", 2)
    network, real = tiny_network(width=4, depth=1, norm="batch"), toy_real()
    learner = first_teacher(OneExpert(network), network, real)
    Teaching(network, learner).probabilities(take(real, jnp.arange(3)).images[None])
    select(["herding"], [1], network, real, 0, Effort(networks=1, train_steps=1))
    apply = weakref.ref(network.apply)
    del network
    gc.collect()
    assert apply() is None


def test_moments_of_classes_are_those_of_all_their_samples(monkeypatch):
    """In chunks that end within a class, and of the samples in play alone."""
    monkeypatch.setattr(teaching, "CHUNK", 5)
    network = tiny_network(width=4, depth=1, norm="batch")
    real = toy_real()
    real = real._replace(counts=jnp.array([12, 7, 0], jnp.int32))
    learner = Learner(*network.init(jax.random.key(7)))
    moments = jax.jit(class_moments, static_argnums=0)(network, learner, real)
    for k, count in enumerate(real.counts.tolist()):
        ours = jax.tree.map(lambda x, k=k: x[k], moments)
        if count == 0:
            assert not any(np.any(x) for x in jax.tree.leaves(ours))
            continue
        images = take(real, real.table[k, :count]).images
        outputs, _ = network.apply(learner.params, learner.stats, images, False)
        assert_close(ours, outputs.moments, rtol=1e-5, atol=1e-6)


def test_stored_moments_of_classes_are_used_while_all_samples_are_in_play(tmp_path):
    network, real = tiny_network(width=4, depth=1, norm="batch"), toy_real()
    learner = Learner(*network.init(jax.random.key(7)))
    ones = jax.tree.map(lambda x: jnp.ones((3, *x.shape)), learner.stats)
    write_statistics(tmp_path, ones, CLASS_FILE)
    bank = OneExpert(network)
    bank.class_moments = lambda like: read_statistics(tmp_path, like, CLASS_FILE)
    known = known_of_classes(bank, network, learner, real)
    jax.tree.map(np.testing.assert_array_equal, known, ones)
    few = real._replace(counts=real.counts - 1)
    measured = known_of_classes(bank, network, learner, few)
    assert not np.array_equal(*(jax.tree.leaves(x)[0] for x in (measured, ones)))


def test_statistics_beside_a_bank_are_read_or_refused_in_a_sentence(tmp_path):
    stats = {"block0": {"mean": jnp.arange(3.0), "variance": jnp.ones(3)}}
    assert read_statistics(tmp_path, stats) is None
    write_statistics(tmp_path, stats)
    read = read_statistics(tmp_path, jax.tree.map(jnp.zeros_like, stats))
    np.testing.assert_array_equal(read["block0"]["mean"], [0, 1, 2])
    with refused("has shape", "remove it, and they are measured"):
        read_statistics(tmp_path, jax.tree.map(lambda x: x[:2], stats))
    content = (tmp_path / FILE).read_bytes()
    for damaged in (b"", content[: len(content) // 2], b"x" * 100):
        (tmp_path / FILE).write_bytes(damaged)
        with refused("the statistics .* cannot be used", "remove it"):
            read_statistics(tmp_path, stats)
    write_statistics(tmp_path, jax.tree.map(lambda x: x / 0, stats))
    with refused("they are not finite"):
        read_statistics(tmp_path, stats)
