"""What is damaged of data: indexes of samples, and stores of decoded images."""

import contextlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random

import numpy as np

from jaxdd.data import Dataset, from_arrays, load
from jaxdd.data.problem import restricted
from jaxdd.data.streaming.building import Part
from jaxdd.data.streaming.store import stored
from jaxdd.data.subsets import FORMAT, KIND
from jaxdd.errors import UserError
from jaxdd.storage.files import to_json
from tests.faults.damage import damage_archive, damage_bytes, damage_json
from tests.faults.fuzz import Subject
from tests.helpers import Killed

_IMAGES = np.random.default_rng(0).integers(0, 256, (30, 4, 4, 1)).astype(np.uint8)


@cache
def _whole() -> Dataset:
    return from_arrays(_IMAGES, np.arange(30) % 3, _IMAGES[:6], np.arange(6) % 3)


# --- Indexes ------------------------------------------------------------------------


def _build_index(folder: Path) -> None:
    whole = _whole()
    content = {
        "kind": KIND,
        "format": FORMAT,
        "dataset": {"name": "x", "fingerprint": whole.fingerprint, "samples": 30},
        "score": "el2n",
        "keep": 0.4,
        "end": "easy",
        "balanced": True,
        "kept": [{"class": "0", "samples": 10, "kept": 4}],
        "ids": list(range(0, 24, 2)),
    }
    (folder / "index.json").write_text(to_json(content))


def _damage_index(rng: Random, folder: Path) -> str:
    path = folder / "index.json"
    content, how = damage_json(rng, path.read_bytes())
    path.write_bytes(content)
    return how


def _use_index(folder: Path) -> None:
    some = restricted(_whole(), str(folder / "index.json"), "x")
    assert some.restricted is not None
    np.testing.assert_array_equal(some.images, _IMAGES[some.restricted.ids])


# --- Stores -------------------------------------------------------------------------


def _open(folder: Path, fails_at: int | None = None) -> None:
    """Open a store, or begin it; what it holds must be what was decoded."""
    labels = np.arange(30) % 3

    def samples(first: int):
        for i in range(first, 30):
            if i == fails_at:
                raise Killed
            yield _IMAGES[i], labels[i]

    parts = [Part("images", 30, samples)]
    there = stored(folder / "store", "x", parts, _IMAGES.shape[1:])["images"]
    np.testing.assert_array_equal(there.rows[:], _IMAGES)
    np.testing.assert_array_equal(there.labels, labels)


def _begin(folder: Path) -> None:
    with contextlib.suppress(Killed):
        _open(folder, 20)


def _damage_store(rng: Random, folder: Path) -> str:
    path = rng.choice(sorted((folder / "store").iterdir()))
    if rng.random() < 0.7:
        damage = damage_json if path.suffix == ".json" else damage_bytes
        content, how = damage(rng, path.read_bytes())
        path.write_bytes(content)
        return f"{path.name}: {how}"
    ways: dict[str, Callable[[], None]] = {
        "gone": lambda: None,
        "a pipe": lambda: os.mkfifo(path),
        "a folder": lambda: path.mkdir(),
        "a loop": lambda: path.symlink_to(path),
        "a broken link": lambda: path.symlink_to("nowhere"),
        "a device": lambda: path.symlink_to("/dev/zero"),
    }
    way = rng.choice(sorted(ways))
    path.unlink()
    ways[way]()
    return f"{path.name}: {way}"


# --- Archives -----------------------------------------------------------------------


def _write_archive(folder: Path) -> None:
    labels = (np.arange(30) % 3).astype(np.uint8)
    images = np.random.default_rng(1).integers(0, 256, (30, 20, 30, 1), np.uint8)
    save = np.savez if len(folder.name) % 2 else np.savez_compressed
    save(
        folder / "set.npz", train_images=images, train_labels=labels[:, None],
        test_images=images[:6], test_labels=labels[:6],
    )  # fmt: skip


def _damage_archive(rng: Random, folder: Path) -> str:
    path = folder / "set.npz"
    content, how = damage_archive(rng, path.read_bytes())
    path.write_bytes(content)
    return how


def _use_archive(folder: Path) -> None:
    """Read it from the disk, and again; it must be what it is in memory."""
    before = os.environ.get("JAXDD_CACHE")
    os.environ["JAXDD_CACHE"] = str(folder / "cache")
    outcomes: list[str] = []
    try:
        for stream in ("never", "always", "always"):
            try:
                read = load(f"npz:{folder / 'set.npz'}", stream=stream)
                outcomes.append(read.fingerprint)
            except UserError as error:
                last = error
                outcomes.append("refused")
    finally:
        os.environ.pop("JAXDD_CACHE")
        if before is not None:
            os.environ["JAXDD_CACHE"] = before
    assert len(set(outcomes)) == 1, outcomes
    if outcomes[0] == "refused":
        raise last


SUBJECTS = {
    "archive": Subject(_write_archive, _damage_archive, _use_archive),
    "index": Subject(_build_index, _damage_index, _use_index),
    "store": Subject(_open, _damage_store, _open),
    "unfinished store": Subject(_begin, _damage_store, _open),
}
