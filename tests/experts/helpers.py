"""Small banks: their manifest, their parameters, and a bank that is filled."""

import json

import chex
import jax
import numpy as np

from jaxdd.experts import Bank, Manifest, layout
from tests.helpers import linear_network

DATA = {"fingerprint": "abc", "validation": 0.1, "split_seed": 0}
NET = {"name": "mlp", "image_shape": (8, 8, 1), "width": 8}
TRAINING = {"learning_rate": 0.1, "batch_size": 8, "gsam_rho": 0.0, "gsam_alpha": 0.0}
CURRICULUM = {
    "init_ratio": 1.0,
    "add_end_epoch": 0,
    "removals": ((40, 0.1), (60, 0.2)),
    "drop_easiest": 0.0,
    "drop_hardest": 0.0,
}


def toy_manifest(built, /, **changes) -> Manifest:
    """Three experts of three epochs; tuples where a file would have lists."""
    values = {
        "data": DATA,
        "preprocess": {"kind": "standard", "digest": "123"},
        "network": NET,
        "training": TRAINING,
        "curriculum": CURRICULUM,
        "augmentation": "none",
        "seed": 0,
        "experts": 3,
        "first_epoch": 0,
        "last_epoch": 3,
        "dtype": "float32",
        "leaves": layout(built),
    }
    return Manifest(**{**values, **changes})


NETWORK = linear_network(4)
LIKE = NETWORK.init(jax.random.key(0))[0]


def params_of(expert, epoch):
    """Parameters that name their expert and epoch, and do not fit into bfloat16."""
    base = 100 * expert + 10 * epoch
    return {
        "kernel": base + np.arange(12, dtype=np.float32).reshape(4, 3) / 7,
        "bias": -base - np.arange(3, dtype=np.float32) / 7,
    }


def filled(folder, **changes) -> Bank:
    manifest = toy_manifest(NETWORK, **changes)
    bank = Bank.create(folder, manifest)
    for expert in range(manifest.experts):
        for epoch in range(manifest.last_epoch + 1):
            bank.write(expert, epoch, params_of(expert, epoch))
    bank.finish()
    return Bank.open(folder)


def same(actual, expected):
    chex.assert_trees_all_equal(actual, expected)
    for leaf in jax.tree.leaves(actual):
        assert leaf.dtype == np.float32


def changed(folder, **changes):
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
