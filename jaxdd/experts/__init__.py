"""Experts: networks trained on real data, and their trajectories on disk.

manifest    what a bank holds, and how it was made
bank        one memory-mapped array [experts, epochs, parameters] with checksums
training    trains a bank, group by group, and goes on where it stopped
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
