"""The digits of scikit-learn: 1,797 grey images of 8x8 pixels."""

import numpy as np

from jaxdd.data.dataset import Dataset
from jaxdd.data.splits import with_test_split


def digits() -> Dataset:
    """scikit-learn's handwritten digits: 1437 training and 360 test images.

    Images are [M, 8, 8, 1] float32 in [0, 1]. No file and no network access is needed.
    """
    from sklearn.datasets import load_digits  # slow to import

    bunch = load_digits()
    images = (bunch.images / 16).astype(np.float32)[..., None]
    return with_test_split("digits", images, bunch.target, list("0123456789"))
