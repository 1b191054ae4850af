"""A small dataset, and sets that other codes might have distilled from it."""

import numpy as np
from PIL import Image

import jaxdd
from jaxdd.data import from_arrays
from jaxdd.exchange.safetensors import write_safetensors
from tests.exchange.containers import saved

NAMES = ("cat", "dog", "eel")
SHAPE = (6, 6, 3)
RNG = np.random.default_rng(0)
REAL = RNG.integers(0, 256, (30, *SHAPE), dtype=np.uint8)
DATA = from_arrays(
    REAL, np.arange(30) % 3, REAL[:6], np.arange(6) % 3, NAMES, name="toy"
)
# Two images per class, as codes in PyTorch have them: (N, C, H, W).
INPUTS = RNG.normal(size=(6, 3, 6, 6)).astype(np.float32)
PIXELS = RNG.uniform(size=(6, 3, 6, 6)).astype(np.float32)
HARD = np.repeat(np.arange(3), 2)
LOGITS = (3 * np.eye(3)[HARD] + 0.1 * RNG.normal(size=(6, 3))).astype(np.float32)
# The network is small: nothing of it is trained here.
QUICK = {"net": "mlp", "width": 4}


def read(path, **flags):
    """A foreign set of that dataset, and the sentences about it."""
    sentences = []
    artifact = jaxdd.load_foreign(
        path, DATA, progress=lambda x: sentences.append(str(x)), **{**QUICK, **flags}
    )
    return artifact, "\n".join(sentences)


def by_class(images):
    """[3, 2, H, W, C] of [6, C, H, W]."""
    return np.moveaxis(images, 1, -1).reshape(3, 2, *SHAPE)


def png_folders(root, names, levels):
    """Pictures [K, n, H, W, C] in one folder per class."""
    for name, images in zip(names, levels, strict=True):
        (root / name).mkdir(parents=True)
        for i, image in enumerate(images):
            Image.fromarray(image).save(root / name / f"{i}.png")
    return root


def written(tmp_path, ending, **arrays):
    """Named arrays in a file of that kind."""
    path = tmp_path / f"set.{ending}"
    if ending == "npz":
        np.savez(path, **arrays)
    elif ending == "safetensors":
        write_safetensors(arrays, path)
    else:
        saved(arrays, path)
    return path
