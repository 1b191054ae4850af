"""Small datasets of other shapes than images: two tables, and waves of a function."""

from typing import Any

import numpy as np

from jaxdd.data.columns import Column
from jaxdd.data.dataset import Dataset
from jaxdd.data.splits import with_test_split

WAVES = ("sine", "square", "sawtooth", "chirp")
_NOISE = 0.3  # standard deviation, for waves of amplitude 0.5 to 1.5


def breast_cancer() -> Dataset:
    """scikit-learn's breast cancer data: vectors of 30 numbers, two classes.

    569 rows (Wolberg et al., UCI), of which a stratified fifth is the test split.

    Example:
        >>> data = breast_cancer()
        >>> data.image_shape, data.class_names, data.columns[0].name
        ((30,), ('malignant', 'benign'), 'mean radius')
    """
    from sklearn.datasets import load_breast_cancer  # slow to import

    return _table("breast_cancer", load_breast_cancer())


def wine() -> Dataset:
    """scikit-learn's wine data: vectors of 13 numbers, three classes.

    178 rows (Aeberhard & Forina, UCI), of which a stratified fifth is the test split.
    """
    from sklearn.datasets import load_wine

    return _table("wine", load_wine())


def _table(name: str, bunch: Any) -> Dataset:
    names = [str(x) for x in bunch.target_names]
    columns = [Column(str(x)) for x in bunch.feature_names]
    return with_test_split(
        name, bunch.data, bunch.target, names, (), "vectors", columns
    )


def waves(seed: int = 0, per_class: int = 200, length: int = 32) -> Dataset:
    """Noisy waves of four forms: sequences of two channels (ours).

    Every wave has a random phase, amplitude and frequency; the second channel is the
    same wave a quarter of a period later. Networks have to tell forms, not values.

    Args:
        seed: of everything random; the same seed gives the same bits.
        per_class: waves of each form, of which a fifth is the test split.
        length: steps in time.

    Returns:
        Sequences [M, length, 2] of the classes in `WAVES`.

    Example:
        >>> waves(per_class=10).images.shape
        (32, 32, 2)
    """
    rng = np.random.default_rng([seed, per_class, length])
    count = len(WAVES) * per_class
    labels = np.arange(count) % len(WAVES)
    phase = rng.uniform(0, 1, count)[:, None, None]
    periods = rng.uniform(2, 4, count)[:, None, None]
    amplitude = rng.uniform(0.5, 1.5, count)[:, None, None]
    time = np.linspace(0, 1, length)[None, :, None]
    turns = periods * time + phase + np.array([0, 0.25])
    faster = periods * time * (0.5 + time) + phase + np.array([0, 0.25])
    forms = (
        np.sin(2 * np.pi * turns),
        np.sign(np.sin(2 * np.pi * turns)),
        2 * (turns % 1) - 1,
        np.sin(2 * np.pi * faster),
    )
    samples = amplitude * np.choose(labels[:, None, None], forms)
    samples += rng.normal(0, _NOISE, samples.shape)
    return with_test_split("waves", samples, labels, WAVES, (), "sequences")
