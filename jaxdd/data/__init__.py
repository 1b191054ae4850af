"""Datasets: reading, splitting and preprocessing in NumPy, and samples on the device.

dataset     `Dataset`, checked arrays in host memory
load        datasets by name; a new reader is a file in `readers` and a line here
readers     digits, folders of pictures, .npz archives, tables, prepared TFDS sets
columns     columns of a table, and rows that are readable again
originals   where the original archives of published datasets are, with checksums
checks      checks that every reader shares
subsets     some of the training samples, and files that name them
splits      training, validation and test splits
whitening   rows and blocks that are whitened, and what that takes
preprocess  normalisation and ZCA whitening
problem     a dataset with its splits and preprocessing, from flags or from memory
real        a split on the device, and class-wise sampling
"""

from jaxdd.data.dataset import Dataset, check_ipc, from_arrays, validate
from jaxdd.data.load import load
from jaxdd.data.preprocess import Preprocess, check_constants, fit_zca, normalisation
from jaxdd.data.readers.digits import digits
from jaxdd.data.readers.folder import from_folder
from jaxdd.data.readers.npz import from_npz
from jaxdd.data.readers.table import from_table
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
    "from_table",
    "from_tfds",
    "load",
    "normalisation",
    "split",
    "validate",
]
