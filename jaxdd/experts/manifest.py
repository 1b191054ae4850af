"""The manifest.json of a bank: its content, and how its experts were trained."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdd.devices.precision import PRECISIONS
from jaxdd.errors import UserError, quoted
from jaxdd.modifiers.curriculum import Curriculum
from jaxdd.primitives.trees import named_leaves
from jaxdd.storage.files import to_json
from jaxdd.storage.paths import shown
from jaxdd.storage.records import (
    fields_of,
    flag,
    integer,
    list_of,
    mapping,
    number,
    one_of,
    read_json,
    text,
    tuple_of,
)
from jaxdd.training.fit import Training
from jaxdd.types import Network

FORMAT = 2  # format 1 had no checksums
DTYPES: Mapping[str, Any] = {"float32": np.float32, "bfloat16": jnp.bfloat16}
_LARGEST_BANK = 2**60  # bytes
_LISTED = 3  # differences in a message


@dataclass(frozen=True)
class Manifest:
    """The content of a bank, and how its experts were trained.

    Attributes:
        data: the training split: {"name", "fingerprint", "validation", "split_seed"}.
        preprocess: {"kind", "digest"}.
        network: {"name", and options of `nets.make_network`}.
        training: fields of `fit.Training`, or {"weights"}, the digest of the file that
            they were imported from.
        curriculum: fields of `curriculum.Curriculum`, and the score that sorts samples.
        augmentation: name of the augmentation, see `augment.training`.
        seed: seed of initial parameters, minibatches and augmentations.
        experts: number of experts.
        first_epoch, last_epoch: the stored snapshots, inclusive; 0 is the random
            initialisation.
        dtype: "float32" or "bfloat16".
        leaves: (path, shape) of every parameter tensor in the order of a row.
        complete: whether all snapshots have been written.
        precision: of the products in the experts' networks.
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
    precision: str = "float32"

    @property
    def parameters(self) -> int:
        """P, the number of parameters of one network."""
        return sum(math.prod(shape) for _, shape in self.leaves)

    @property
    def epochs(self) -> int:
        """Snapshots per expert."""
        return self.last_epoch - self.first_epoch + 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """(experts, epochs, P) of the snapshots."""
        return self.experts, self.epochs, self.parameters

    @property
    def digest(self) -> str:
        """A hash of the manifest, 16 characters."""
        return hashlib.sha256(dump(self).encode()).hexdigest()[:16]

    @property
    def bytes(self) -> int:
        """Bytes of all snapshots."""
        return math.prod(self.shape) * np.dtype(DTYPES[self.dtype]).itemsize


_ONE_FORMAT = mapping(format=integer(1))
_SCHEMA = mapping(
    data=mapping(),
    preprocess=mapping(),
    network=mapping(optional={"name": text()}),
    training=mapping(
        optional={**fields_of(Training, batch_size=integer(1)), "weights": text(64)},
        others=None,
    ),
    curriculum=mapping(
        optional={
            **fields_of(
                Curriculum,
                removals=list_of(tuple_of(integer(), number(0, 1)), longest=1000),
            ),
            "score": text(),
        },
        others=None,
    ),
    augmentation=text(200),
    seed=integer(0, 2**32 - 1),
    experts=integer(1),
    first_epoch=integer(),
    last_epoch=integer(),
    dtype=one_of(*DTYPES),
    leaves=list_of(
        tuple_of(text(), list_of(integer(1), longest=32)), shortest=1, longest=10**5
    ),
    complete=flag,
    optional={"precision": one_of(*PRECISIONS)},
)


def layout(network: Network) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """(path, shape) of every parameter tensor, in the order of a bank's row."""
    params, _ = jax.eval_shape(network.init, jax.random.key(0))
    return tuple((name, tuple(x.shape)) for name, x in named_leaves(params).items())


def describe_size(manifest: Manifest) -> str:
    """The numbers of experts, snapshots and parameters of a bank, and its size.

    Example:
        >>> manifest = Manifest(
        ...     {}, {}, {}, {}, {}, "none", 0, 100, 0, 50, "float32",
        ...     (("head/kernel", (320010,)),))
        >>> describe_size(manifest)
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


def content_of(manifest: Manifest) -> dict[str, Any]:
    """The manifest as JSON without `complete`: the identity of a bank."""
    content = json.loads(dump(manifest))
    del content["complete"]
    return content


def as_stored(manifest: Manifest, name: str) -> Any:
    """A field as JSON returns it: tuples become lists."""
    return json.loads(json.dumps(getattr(manifest, name)))


def difference(there: Any, here: Any) -> str:
    """The differences between two values or dicts, for a message."""
    if not isinstance(there, dict) or not isinstance(here, dict):
        return f"{_brief(there)} there and {_brief(here)} here"
    names = [k for k in {**there, **here} if there.get(k) != here.get(k)]
    named = [
        f"{shown(k[:40])} is {_brief(there.get(k))} there and "
        f"{_brief(here.get(k))} here"
        for k in names[:_LISTED]
    ]
    more = [f"and {len(names) - _LISTED} more"] if len(names) > _LISTED else []
    return ", ".join(named + more)


def _brief(value: Any) -> str:
    text = quoted(value)
    return text if len(text) <= 40 else text[:37] + "..."


def dump(manifest: Manifest, version: int = 1) -> str:
    """The text of the manifest's file. The version is not part of a bank's identity.

    A bank in float32 says nothing of its precision, as those of older versions do not.
    """
    content = dataclasses.asdict(manifest)
    if manifest.precision == "float32":
        del content["precision"]
    return to_json({"format": version, **content})


def read_manifest(path: Path) -> tuple[Manifest, int]:
    """A manifest and the format of its bank.

    Raises:
        UserError: the manifest cannot be used.
    """
    remedy = "copy the bank again or train the experts anew in another folder"
    # The format is read first, because a newer one may have other fields.
    version = read_json(path, _ONE_FORMAT, remedy)["format"]
    if version > FORMAT:
        raise UserError(
            f"{shown(path)} has format {version}, newer than {FORMAT}, the newest that "
            "this version of jaxdd reads: upgrade jaxdd"
        )
    content = {"precision": "float32", **read_json(path, _SCHEMA, remedy)}
    values = {field.name: content[field.name] for field in dataclasses.fields(Manifest)}
    values["leaves"] = tuple((name, tuple(shape)) for name, shape in values["leaves"])
    manifest = Manifest(**values)
    names = [name for name, _ in manifest.leaves]
    if manifest.first_epoch > manifest.last_epoch:
        fault = f"its epochs go from {manifest.first_epoch} to {manifest.last_epoch}"
    elif len(set(names)) < len(names):
        fault = "it names a parameter tensor twice"
    elif manifest.bytes > _LARGEST_BANK:
        fault = "its snapshots are larger than any disk"
    else:
        return manifest, version
    raise UserError(f"cannot use {shown(path)} ({fault}): {remedy}")
