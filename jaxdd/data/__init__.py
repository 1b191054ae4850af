"""Datasets in memory: reading, splitting, preprocessing. NumPy only.

dataset      `Dataset`, built from arrays and checked
readers      datasets by name
folder       pictures in one folder per class; `pictures` decodes them
npz          arrays in an archive
tfds_reader  prepared TFDS sets; `tfds_info`, `tfds_paths` and `cache` are behind it
splits       training, validation and test splits
preprocess   normalisation and ZCA whitening
"""

from jaxdd.data.dataset import Dataset, check_ipc, from_arrays, validate
from jaxdd.data.load import load
from jaxdd.data.preprocess import Preprocess, check_constants, fit_zca, normalisation
from jaxdd.data.readers.digits import digits
from jaxdd.data.readers.folder import from_folder
from jaxdd.data.readers.npz import from_npz
from jaxdd.data.readers.tfds import from_tfds
from jaxdd.data.splits import Split, Splits, split

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
    "from_npz",
    "from_tfds",
    "load",
    "normalisation",
    "split",
    "validate",
]
