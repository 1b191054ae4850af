"""Trajectories of experts on disk: one array, its checksums, and a manifest.

A bank is a folder with `snapshots.bin`, the parameters of every expert after every
stored epoch as one C-ordered array [experts, epochs, P], `checksums.bin` with a number
per row, and `manifest.json`. Reading a span touches two rows; the array is never loaded
as a whole.
"""

import dataclasses
import math
import zlib
from abc import abstractmethod
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import jax
import numpy as np

from jaxdd.devices import hosts
from jaxdd.errors import UserError
from jaxdd.experts.disk import check_room, reserve, undone_on_failure
from jaxdd.experts.manifest import (
    DTYPES,
    FORMAT,
    Manifest,
    as_stored,
    content_of,
    difference,
    dump,
    read_manifest,
)
from jaxdd.experts.statistics import CLASS_FILE, read_statistics
from jaxdd.primitives.trees import from_named_leaves
from jaxdd.storage.files import write_atomically
from jaxdd.storage.paths import is_there, local_path, reason, shown
from jaxdd.types import Params, Span, Stats

SNAPSHOTS, CHECKSUMS, MANIFEST = "snapshots.bin", "checksums.bin", "manifest.json"
# The checksum of a row is its CRC-32 with this bit, or 0 before the row is written.
_WRITTEN = 1 << 32
# Fields in which a bank has to agree with a distillation, and those that may differ.
REFUSED = {
    "data": "other data",
    "preprocess": "another preprocessing",
    "network": "another network",
}
WARNED = {
    "training": "another optimiser",
    "curriculum": "another curriculum",
    "augmentation": "another augmentation",
    "precision": "another precision",
}


@runtime_checkable
class Snapshots(Protocol):
    """Parameters of experts along their training, from any source.

    Attributes:
        manifest: the numbers of experts and epochs, and how the experts were trained.
    """

    manifest: Manifest

    @abstractmethod
    def snapshot(self, expert: int, epoch: int, like: Params) -> Params:
        """Parameters of an expert after an epoch, float32 arrays on the host.

        Args:
            expert, epoch: indices of the expert and of the epoch.
            like: any tree with the structure of the network's parameters.

        Raises:
            UserError: the snapshot cannot be read.
        """

    def statistics(self, like: Stats) -> Stats | None:
        """Running statistics of the first expert after its last epoch, if stored.

        Args:
            like: any tree with the structure of the network's running statistics.

        Raises:
            UserError: they cannot be read.
        """
        del like
        return None

    def class_moments(self, like: Stats) -> Stats | None:
        """[K, ...]: what the first expert knows of every class, if stored.

        Args:
            like: any tree of the same structure and shapes.

        Raises:
            UserError: they cannot be read.
        """
        del like
        return None

    def span(self, expert: int, start: int, length: int, like: Params) -> Span:
        """Parameters of an expert after epoch `start`, and `length` epochs later."""
        return Span(
            self.snapshot(expert, start, like),
            self.snapshot(expert, start + length, like),
        )


class Bank(Snapshots):
    """Trajectories of experts in a folder; see the module's docstring.

    A row is compared with its checksum when it is read for the first time.
    """

    def __init__(
        self, folder: Path, manifest: Manifest, mode: Literal["r", "r+"], version: int
    ):
        self.folder, self.manifest, self.version = folder, manifest, version
        dtype: Any = np.dtype(DTYPES[manifest.dtype])
        self.rows = np.memmap(folder / SNAPSHOTS, dtype, mode, shape=manifest.shape)
        self.verified = np.zeros(manifest.shape[:2], bool)
        self.checksums: np.memmap | None = None
        if version > 1:
            self.checksums = np.memmap(
                folder / CHECKSUMS, "<u8", mode, shape=manifest.shape[:2]
            )

    def __repr__(self) -> str:
        experts, epochs, parameters = self.manifest.shape
        return (
            f"Bank({experts} experts of {self.manifest.network.get('name')} with "
            f"{parameters} parameters, {epochs} epochs each, in {shown(self.folder)})"
        )

    @classmethod
    def create(
        cls, folder: Path, manifest: Manifest, begun: bool = False, beside: int = 0
    ) -> "Bank":
        """A bank to fill: a new one, or the unfinished one in the folder.

        A finished bank in the folder is opened for reading.

        Args:
            folder: folder of the bank.
            manifest: content of the finished bank.
            begun: whether a training has saved its state, so that its snapshots must
                exist.
            beside: bytes that the training needs on the same disk besides the bank.

        Raises:
            UserError: the folder has another bank, its snapshots are lost, the disk has
                no room, or it refuses.
        """
        path, version = folder / SNAPSHOTS, FORMAT
        if is_there(folder / MANIFEST):
            existing, version = read_manifest(folder / MANIFEST)
            old, new = content_of(existing), content_of(manifest)
            if old != new:
                raise UserError(
                    f"{shown(folder)} holds another bank ({difference(old, new)}): "
                    "use the same values or another --workdir"
                )
            if existing.complete:
                return cls.open(folder)
            fault = _lacking(folder, manifest, version)
            if fault is not None and begun:
                raise UserError(f"{fault}: {_anew(folder)}")
            version = FORMAT if fault else version
        elif begun:
            raise UserError(
                f"{shown(folder / MANIFEST)} is lost, although a training has saved "
                f"its state: {_anew(folder)}"
            )
        sizes, content = _sizes(manifest, version), dump(manifest, version)
        try:
            if not hosts.primary():
                write_atomically(folder / MANIFEST, content)
                return cls(folder, manifest, "r", version)
            check_room(folder, sizes, len(content) + beside)
            paths = [folder / name for name in (*sizes, MANIFEST)]
            with undone_on_failure(paths, folder / MANIFEST):
                for name, size in sizes.items():
                    path = folder / name
                    reserve(path, size)
                write_atomically(folder / MANIFEST, content)
                return cls(folder, manifest, "r+", version)
        except OSError as error:
            raise UserError(
                f"cannot write {shown(path)}: {reason(error)}; free the disk or choose "
                "another folder"
            ) from error

    @classmethod
    def open(cls, folder: str | Path) -> "Bank":
        """A finished bank, for reading.

        Raises:
            UserError: the folder has no bank, or the bank is unfinished, cut off, or of
                a newer format.
        """
        folder = local_path(folder, "the bank of experts")
        if not is_there(folder / MANIFEST):
            foreign = folder.is_dir() and any(folder.glob("replay_buffer_*.pt"))
            but = ", but experts of other code, which are not read" if foreign else ""
            raise UserError(
                f"no bank of experts at {shown(folder)}{but}: make one with python -m "
                "experiments.experts --workdir=..."
            )
        manifest, version = read_manifest(folder / MANIFEST)
        if not manifest.complete:
            raise UserError(
                f"the bank {shown(folder)} is unfinished: start the command that made "
                "it again"
            )
        lacking = _lacking(folder, manifest, version)
        if lacking is not None:
            raise UserError(
                f"{lacking}: it is cut off or damaged; copy it again or train the "
                "experts anew"
            )
        try:
            return cls(folder, manifest, "r", version)
        except OSError as error:
            raise UserError(
                f"cannot read the bank {shown(folder)} ({reason(error)}): copy it again"
            ) from error

    @staticmethod
    def is_finished(folder: Path) -> bool:
        """Whether the folder has a finished bank.

        Raises:
            UserError: the manifest is damaged.
        """
        path = folder / MANIFEST
        return is_there(path) and read_manifest(path)[0].complete

    def write(self, expert: int, epoch: int, params: Params) -> None:
        """Store a snapshot; epochs that the bank does not store are ignored."""
        first, last = self.manifest.first_epoch, self.manifest.last_epoch
        if first <= epoch <= last and hosts.primary():
            flat = [np.asarray(x).ravel() for x in jax.tree.leaves(params)]
            row = expert, epoch - first
            self.rows[row] = np.concatenate(flat)
            if self.checksums is not None:
                self.checksums[row] = _checksum(self.rows[row])
                self.verified[row] = True

    def flush(self) -> None:
        """Write the snapshots to the disk; only the primary process does."""
        if hosts.primary():
            self.rows.flush()
            if self.checksums is not None:
                self.checksums.flush()

    def finish(self) -> None:
        """Mark the bank as complete, after the last snapshot was written."""
        self.flush()
        self.manifest = dataclasses.replace(self.manifest, complete=True)
        write_atomically(self.folder / MANIFEST, dump(self.manifest, self.version))

    def statistics(self, like: Stats) -> Stats | None:
        """As in `Snapshots`, from a file beside the snapshots."""
        return read_statistics(self.folder, like)

    def class_moments(self, like: Stats) -> Stats | None:
        """As in `Snapshots`, from a file beside the snapshots."""
        return read_statistics(self.folder, like, CLASS_FILE)

    def verify(self, expert: int, epoch: int) -> None:
        """Compare a stored snapshot with its checksum, once per process.

        Banks of format 1 have no checksums; see `check`.

        Raises:
            UserError: the snapshot was never written, or is damaged.
        """
        row = expert, epoch - self.manifest.first_epoch
        if self.checksums is None or self.verified[row]:
            return
        if self.checksums[row] != _checksum(self.rows[row]):
            raise UserError(
                f"{shown(self.folder / SNAPSHOTS)} is damaged: the parameters of "
                f"expert {expert} after epoch {epoch} differ from those written; copy "
                "the bank again or train the experts anew in another folder"
            )
        self.verified[row] = True

    def snapshot(self, expert: int, epoch: int, like: Params) -> Params:
        """Parameters of an expert after an epoch, float32 arrays on the host.

        Args:
            expert, epoch: indices of the expert and of the epoch.
            like: any tree with the structure of the network's parameters.

        Raises:
            UserError: the file is damaged there.
        """
        self.verify(expert, epoch)
        row = self.rows[expert, epoch - self.manifest.first_epoch]
        flat = np.asarray(row, np.float32)
        sizes = [math.prod(shape) for _, shape in self.manifest.leaves]
        parts = np.split(flat, np.cumsum(sizes)[:-1])
        named = {
            name: part.reshape(shape)
            for (name, shape), part in zip(self.manifest.leaves, parts, strict=True)
        }
        return from_named_leaves(like, named)

    def check(self, wanted: Manifest, needed_epochs: tuple[int, int]) -> list[str]:
        """Refuse a bank that does not fit a distillation.

        Args:
            wanted: the manifest of the bank that the distillation would train itself.
            needed_epochs: the first and the last snapshot that will be read.

        Returns:
            Warnings: a sentence for every difference with which the bank is usable.

        Raises:
            UserError: network, preprocessing or data differ, or the bank has too few
                epochs.
        """
        for name, what in REFUSED.items():
            ours, theirs = as_stored(wanted, name), as_stored(self.manifest, name)
            if ours != theirs:
                raise UserError(
                    f"the bank {shown(self.folder)} was made with {what} "
                    f"({difference(theirs, ours)}): use the same, or other experts"
                )
        if self.manifest.leaves != wanted.leaves:
            raise UserError(
                f"the bank {shown(self.folder)} holds parameters of other shapes: use "
                "other experts"
            )
        first, last = needed_epochs
        if first < self.manifest.first_epoch or last > self.manifest.last_epoch:
            raise UserError(
                f"the bank {shown(self.folder)} has the epochs "
                f"{self.manifest.first_epoch} to {self.manifest.last_epoch}, but "
                f"{first} to {last} are needed: train for more --epochs, or change "
                "--min_start, --max_start or --expert_epochs"
            )
        unguarded = [] if self.version > 1 else [
            f"the bank {shown(self.folder)} is of format 1, which has no checksums: "
            "damage to its snapshots would not be noticed"
        ]  # fmt: skip
        return unguarded + [
            f"the experts were trained with {what} than this method's "
            f"({difference(as_stored(self.manifest, name), as_stored(wanted, name))})"
            for name, what in WARNED.items()
            if as_stored(wanted, name) != as_stored(self.manifest, name)
        ]


def _checksum(row: np.ndarray) -> int:
    return zlib.crc32(row.view(np.uint8).data) | _WRITTEN


def _sizes(manifest: Manifest, version: int) -> dict[str, int]:
    """Bytes of the files besides the manifest, by name."""
    sizes = {SNAPSHOTS: manifest.bytes}
    if version > 1:
        sizes[CHECKSUMS] = 8 * manifest.experts * manifest.epochs
    return sizes


def _lacking(folder: Path, manifest: Manifest, version: int) -> str | None:
    """Half a sentence about the first file that is missing or of a wrong size."""
    for name, size in _sizes(manifest, version).items():
        path = folder / name
        actual = path.stat().st_size if path.is_file() else 0
        if actual != size:
            return f"{shown(path)} has {actual} bytes instead of {size}"
    return None


def _anew(folder: Path) -> str:
    return (
        "copy it back, or train the experts anew in another folder or after removing "
        f"{shown(folder / 'checkpoints')}"
    )
