"""Datasets in memory: reading, splitting, preprocessing. NumPy only.

dataset      `Dataset`, built from arrays and checked
readers      datasets by name; `tfds_reader`, `tfds_paths` and `cache` are behind them
splits       training, validation and test splits
preprocess   normalisation and ZCA whitening
"""

from jaxdd.data.dataset import Dataset, check_ipc, from_arrays, validate
from jaxdd.data.preprocess import (
    Preprocess,
    check_constants,
    fit_zca,
    normalisation,
)
from jaxdd.data.readers import digits, from_folder, load
from jaxdd.data.splits import Split, Splits, split
from jaxdd.data.tfds_reader import from_tfds

__all__ = [
    "Dataset",
    "Preprocess",
    "Split",
    "Splits",
    "check_constants",
    "check_ipc",
    "digits",
    "fit_zca",
    "from_arrays",
    "from_folder",
    "from_tfds",
    "load",
    "normalisation",
    "split",
    "validate",
]
