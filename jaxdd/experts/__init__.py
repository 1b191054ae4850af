"""Experts: networks trained on real data, and their trajectories on disk.

bank        one memory-mapped array [experts, epochs, parameters] with a manifest
training    trains a bank, group by group, and goes on where it stopped
"""

from jaxdd.experts.bank import DTYPES, Bank, Manifest, layout, weight
from jaxdd.experts.training import Watch, train_bank

__all__ = [
    "DTYPES",
    "Bank",
    "Manifest",
    "Watch",
    "layout",
    "train_bank",
    "weight",
]
