"""An expert as a teacher: its last parameters, with statistics of its batch norm."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdd.data.real import take
from jaxdd.experts import Snapshots, teaching
from jaxdd.experts.statistics import FILE, read_statistics, write_statistics
from jaxdd.experts.teaching import Teaching, first_teacher
from jaxdd.types import Learner
from tests.helpers import refused, tiny_network, toy_real


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
        with refused("the running statistics .* cannot be used", "remove it"):
            read_statistics(tmp_path, stats)
    write_statistics(tmp_path, jax.tree.map(lambda x: x / 0, stats))
    with refused("they are not finite"):
        read_statistics(tmp_path, stats)
