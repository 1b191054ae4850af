"""Real datasets, where they have been prepared beside the checkout."""

from pathlib import Path

import numpy as np
import pytest

from jaxdd.data import load, normalisation

TFDS = Path(__file__).resolve().parents[2] / "../shared/data/tfds"


@pytest.mark.parametrize(
    ("name", "shape", "train", "test", "tolerance"),
    [
        ("mnist", (28, 28, 1), 60_000, 10_000, 1e-3),
        ("cifar10", (32, 32, 3), 50_000, 10_000, 5e-3),
        # Ten classes, normalised by the constants of all ImageNet.
        ("tiny_imagenet_subset", (64, 64, 3), 5_000, 500, 0.2),
    ],
)
def test_real_dataset(name, shape, train, test, tolerance, monkeypatch):
    if not (TFDS / name).is_dir():
        pytest.skip(f"../shared/data/tfds/{name} is absent")
    dataset = load(name, TFDS)
    assert dataset.image_shape == shape
    assert dataset.images.shape == (train, *shape)
    assert dataset.test_images.shape == (test, *shape)
    for labels in (dataset.labels, dataset.test_labels):
        counts = np.bincount(labels, minlength=10)
        assert len(counts) == dataset.num_classes == 10
        assert counts.min() > 0.8 * counts.mean()
    z = normalisation(name, dataset.images).apply(dataset.images)
    assert np.abs(z.reshape(-1, shape[-1]).mean(0, dtype=np.float64)).max() < tolerance
    # A second read decodes nothing: it comes from the cache.
    monkeypatch.setattr("jaxdd.data.readers.tfds._decode", None)
    assert load(name, TFDS).fingerprint == dataset.fingerprint
