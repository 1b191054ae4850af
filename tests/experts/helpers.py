"""A manifest for small banks."""

from jaxdd.experts import Manifest, layout

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
