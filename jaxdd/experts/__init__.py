"""Experts: networks trained on real data, and their trajectories on disk.

manifest    the content of a bank, and how it was trained
bank        one memory-mapped array [experts, epochs, parameters] with checksums
disk        room on the disk, reserved before the training
training    trains a bank group by group, and resumes
statistics  running statistics of a teacher's batch norm, beside its parameters
teaching    an expert as a teacher, with the statistics of its batch norm
"""

from jaxdd.experts.bank import Bank, Snapshots
from jaxdd.experts.manifest import DTYPES, Manifest, describe_size, layout
from jaxdd.experts.training import Watch, train_bank

__all__ = [
    "DTYPES",
    "Bank",
    "Manifest",
    "Snapshots",
    "Watch",
    "describe_size",
    "layout",
    "train_bank",
]
