"""Trajectories of experts on disk: one array, and a manifest that says what they are.

A bank is a folder with `snapshots.bin`, the parameters of every expert after every
stored epoch as one C-ordered array [experts, epochs, P], and `manifest.json`. Reading a
span touches two rows; nothing is loaded as a whole.
"""

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxdd import hosts
from jaxdd.errors import UserError, quoted
from jaxdd.trees import from_named_leaves, named_leaves
from jaxdd.types import Network, Params, Span
from jaxdd.workdir import read_json, to_json, write_atomically

FORMAT = 1
DTYPES: Mapping[str, Any] = {"float32": np.float32, "bfloat16": jnp.bfloat16}
SNAPSHOTS, MANIFEST = "snapshots.bin", "manifest.json"

# What has to agree between a bank and a distillation, and what may differ.
REFUSED = {
    "data": "other data",
    "preprocess": "another preprocessing",
    "network": "another network",
}
WARNED = {
    "training": "another optimiser",
    "curriculum": "another curriculum",
    "augmentation": "another augmentation",
}


@dataclass(frozen=True)
class Manifest:
    """What a bank holds, and how it was made.

    Attributes:
        data: {"name", "fingerprint", "validation", "split_seed"}: the training split.
        preprocess: {"kind", "digest"}.
        network: {"name", and options of `nets.make_network`}.
        training: fields of `train.Training`.
        curriculum: fields of `windows.Curriculum`, and the score that sorts the data.
        augmentation: of the experts' training.
        seed: of initial parameters, batches and augmentations.
        experts: how many.
        first_epoch, last_epoch: the stored snapshots, inclusive; 0 is the random
            initialisation.
        dtype: "float32" or "bfloat16".
        leaves: (path, shape) of every parameter tensor in the order of a row.
        complete: whether all of it has been written.
    """

    data: dict[str, Any]
    preprocess: dict[str, Any]
    network: dict[str, Any]
    training: dict[str, Any]
    curriculum: dict[str, Any]
    augmentation: str
    seed: int
    experts: int
    first_epoch: int
    last_epoch: int
    dtype: str
    leaves: tuple[tuple[str, tuple[int, ...]], ...]
    complete: bool = False

    @property
    def parameters(self) -> int:
        """P, scalars of one network."""
        return sum(math.prod(shape) for _, shape in self.leaves)

    @property
    def epochs(self) -> int:
        """Snapshots per expert."""
        return self.last_epoch - self.first_epoch + 1

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.experts, self.epochs, self.parameters

    @property
    def digest(self) -> str:
        """What tells this bank from others, as 16 characters."""
        return hashlib.sha256(_dump(self).encode()).hexdigest()[:16]

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * np.dtype(DTYPES[self.dtype]).itemsize


def layout(network: Network) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """(path, shape) of every parameter tensor, in the order of a bank's row."""
    params, _ = jax.eval_shape(network.init, jax.random.key(0))
    return tuple((name, tuple(x.shape)) for name, x in named_leaves(params).items())


def weight(manifest: Manifest) -> str:
    """What a bank will weigh, as a sentence.

    Example:
        >>> manifest = Manifest(
        ...     {}, {}, {}, {}, {}, "none", 0, 100, 0, 50, "float32",
        ...     (("head/kernel", (320010,)),))
        >>> weight(manifest)
        '100 experts x 51 snapshots x 320,010 parameters in float32: 6.53 GB'
    """
    size = float(manifest.bytes)
    unit = "bytes"
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            break
        size /= 1000
    return (
        f"{manifest.experts} experts x {manifest.epochs} snapshots x "
        f"{manifest.parameters:,} parameters in {manifest.dtype}: {size:.3g} {unit}"
    )


class Bank:
    """Trajectories of experts; see the module's docstring."""

    def __init__(self, folder: Path, manifest: Manifest, mode: Literal["r", "r+"]):
        self.folder, self.manifest = folder, manifest
        dtype: Any = np.dtype(DTYPES[manifest.dtype])
        self.rows = np.memmap(folder / SNAPSHOTS, dtype, mode, shape=manifest.shape)

    @classmethod
    def create(cls, folder: Path, manifest: Manifest) -> "Bank":
        """A bank to be filled, or the one that is being filled there.

        A finished one is opened for reading.

        Raises:
            UserError: another bank is there, or the disk refuses.
        """
        path = folder / SNAPSHOTS
        if (folder / MANIFEST).is_file():
            found = _parse(folder / MANIFEST)
            there, here = _content(found), _content(manifest)
            if there != here:
                raise UserError(
                    f"{folder} holds another bank ({_difference(there, here)}): use "
                    "the same values or another --workdir"
                )
            if found.complete:
                return cls.open(folder)
        try:
            if hosts.primary():
                _reserve(path, manifest.bytes)
            write_atomically(folder / MANIFEST, _dump(manifest))
            return cls(folder, manifest, "r+" if hosts.primary() else "r")
        except OSError as error:
            raise UserError(
                f"cannot write {path}: {error.strerror or error}; free the disk or "
                "choose another folder"
            ) from error

    @classmethod
    def open(cls, folder: str | Path) -> "Bank":
        """A finished bank, for reading.

        Raises:
            UserError: there is none, it is unfinished, cut off, or of a newer format.
        """
        folder = Path(folder).expanduser()
        if not (folder / MANIFEST).is_file():
            raise UserError(
                f"no bank of experts at {folder}: make one with python -m "
                "experiments.experts --workdir=..."
            )
        manifest = _parse(folder / MANIFEST)
        if not manifest.complete:
            raise UserError(
                f"the bank {folder} is unfinished: start the command that made it again"
            )
        path = folder / SNAPSHOTS
        found = path.stat().st_size if path.is_file() else 0
        if found != manifest.bytes:
            raise UserError(
                f"{path} has {found} bytes instead of {manifest.bytes}: it is cut off "
                "or damaged; copy it again or train the experts anew"
            )
        return cls(folder, manifest, "r")

    def write(self, expert: int, epoch: int, params: Params) -> None:
        """Store a snapshot, unless the bank does not keep that epoch."""
        first, last = self.manifest.first_epoch, self.manifest.last_epoch
        if first <= epoch <= last and hosts.primary():
            flat = [np.asarray(x).ravel() for x in jax.tree.leaves(params)]
            self.rows[expert, epoch - first] = np.concatenate(flat)

    def finish(self) -> None:
        """Everything has been written: mark the bank as complete."""
        self.rows.flush()
        self.manifest = dataclasses.replace(self.manifest, complete=True)
        write_atomically(self.folder / MANIFEST, _dump(self.manifest))

    def snapshot(self, expert: int, epoch: int, like: Params) -> Params:
        """Parameters of an expert after an epoch, float32 arrays on the host.

        Args:
            expert, epoch: which.
            like: any tree of the network's structure.
        """
        row = self.rows[expert, epoch - self.manifest.first_epoch]
        flat = np.asarray(row, np.float32)
        sizes = [math.prod(shape) for _, shape in self.manifest.leaves]
        parts = np.split(flat, np.cumsum(sizes)[:-1])
        named = {
            name: part.reshape(shape)
            for (name, shape), part in zip(self.manifest.leaves, parts, strict=True)
        }
        return from_named_leaves(like, named)

    def span(self, expert: int, start: int, length: int, like: Params) -> Span:
        """What an expert was after epoch `start`, and `length` epochs later."""
        return Span(
            self.snapshot(expert, start, like),
            self.snapshot(expert, start + length, like),
        )

    def check(self, wanted: Manifest, needed_epochs: tuple[int, int]) -> list[str]:
        """Refuse a bank that does not fit; tell what is different but usable.

        Args:
            wanted: a manifest of what the distillation would have made.
            needed_epochs: the first and the last snapshot that will be read.

        Returns:
            A sentence for every difference that is no hindrance.

        Raises:
            UserError: another network, preprocessing or data, or too few epochs.
        """
        for name, what in REFUSED.items():
            ours, theirs = _plain(wanted, name), _plain(self.manifest, name)
            if ours != theirs:
                raise UserError(
                    f"the bank {self.folder} was made with {what} "
                    f"({_difference(theirs, ours)}): use the same, or other experts"
                )
        if self.manifest.leaves != wanted.leaves:
            raise UserError(
                f"the bank {self.folder} holds parameters of other shapes: use other "
                "experts"
            )
        first, last = needed_epochs
        if first < self.manifest.first_epoch or last > self.manifest.last_epoch:
            raise UserError(
                f"the bank {self.folder} has the epochs {self.manifest.first_epoch} to "
                f"{self.manifest.last_epoch}, but {first} to {last} are needed: train "
                "for more --epochs, or change --min_start, --max_start or "
                "--expert_epochs"
            )
        return [
            f"the experts were trained with {what} than this method's "
            f"({_difference(_plain(self.manifest, name), _plain(wanted, name))})"
            for name, what in WARNED.items()
            if _plain(wanted, name) != _plain(self.manifest, name)
        ]


def _reserve(path: Path, size: int) -> None:
    """Take the disk now: writing to a map on a full one would kill the process."""
    with open(path, "ab") as file:
        os.posix_fallocate(file.fileno(), 0, size)
        file.truncate(size)


def _content(manifest: Manifest) -> dict[str, Any]:
    """A manifest as its file, but for how far it is."""
    content = json.loads(_dump(manifest))
    del content["complete"]
    return content


def _plain(manifest: Manifest, name: str) -> Any:
    """A field as a file would give it back: tuples are lists there."""
    return json.loads(json.dumps(getattr(manifest, name)))


def _difference(there: Any, here: Any) -> str:
    if not isinstance(there, dict) or not isinstance(here, dict):
        return f"{quoted(there)} there and {quoted(here)} here"
    names = [k for k in {**there, **here} if there.get(k) != here.get(k)]
    return ", ".join(
        f"{k} is {there.get(k)!r} there and {here.get(k)!r} here" for k in names
    )


def _dump(manifest: Manifest) -> str:
    return to_json({"format": FORMAT, **dataclasses.asdict(manifest)})


def _parse(path: Path) -> Manifest:
    names = [f.name for f in dataclasses.fields(Manifest)]
    # First the format alone: a newer one may have other fields.
    content = read_json(path, "format")
    if content["format"] > FORMAT:
        raise UserError(
            f"{path} has format {content['format']}, newer than {FORMAT}, the newest "
            "that this version of jaxdd reads: upgrade jaxdd"
        )
    content = read_json(path, *names)
    values = {name: content[name] for name in names}
    values["leaves"] = tuple((name, tuple(shape)) for name, shape in values["leaves"])
    if values["dtype"] not in DTYPES:
        raise UserError(f"{path} has the unknown dtype {values['dtype']!r}")
    return Manifest(**values)
