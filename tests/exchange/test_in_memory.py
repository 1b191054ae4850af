"""A set of arrays, as a file would hold it."""

import jax.numpy as jnp
import numpy as np

import jaxdd
from tests.helpers import refused

PAIR = (np.zeros((20, 4, 4, 1), np.float32), np.arange(20) % 2)


def test_a_set_in_memory_is_taken_as_a_file_would_be(tmp_path):
    data = jaxdd.from_arrays(*PAIR, *PAIR)
    images, labels = np.full((4, 4, 4, 1), 128, np.uint8), np.array([0, 0, 1, 1])
    np.savez(tmp_path / "set.npz", images=images, labels=labels)
    there = jaxdd.load_foreign(tmp_path / "set.npz", data, net="mlp")
    here = jaxdd.load_foreign((jnp.asarray(images), labels), data, net="mlp")
    assert here.digest == there.digest
    assert here.ipc == 2
    assert "<img" in here._repr_html_()
    for wrong, words in (
        ((images,), "1 things were given"),
        ((images, labels[:3]), "4 images and 3 labels"),
        ((list("abcd"), labels), "the arrays"),
    ):
        with refused(None, words):
            jaxdd.load_foreign(wrong, data)
    with refused("of arrays jaxdd.load_foreign"):
        jaxdd.evaluate((images, labels))
