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
preprocess  `Preprocess`, from pixels to network inputs and back
constants   the normalisation of a dataset, by published constants or measured ones
zca         the ZCA whitening of a dataset
unfitted    a whitening without its matrices, to be fitted again
problem     a dataset with its splits and preprocessing, from flags or from memory
real        a split on the device, and class-wise sampling
"""

from jaxdd.data.checks import check_ipc
from jaxdd.data.constants import check_constants, normalisation
from jaxdd.data.dataset import Dataset, from_arrays, validate
from jaxdd.data.load import load
from jaxdd.data.preprocess import Preprocess
from jaxdd.data.readers.digits import digits
from jaxdd.data.readers.folder import from_folder
from jaxdd.data.readers.npz import from_npz
from jaxdd.data.readers.table import from_table
from jaxdd.data.readers.tfds import from_tfds
from jaxdd.data.splits import Split, Splits, split
from jaxdd.data.zca import fit_zca

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
