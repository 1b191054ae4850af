"""Some of the training samples of a dataset: which, and of what; and files that say so.

A file is JSON that `experiments.prune` writes and a person can read. In an artifact's
header the same samples are a mask of bits, compressed, which a million samples fit.
"""

import base64
import binascii
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxdd.errors import LARGEST_INTEGER, UserError, quoted
from jaxdd.primitives.ends import ENDS
from jaxdd.storage.paths import shown
from jaxdd.storage.records import (
    flag,
    integer,
    list_of,
    mapping,
    maybe,
    number,
    one_of,
    read_json,
    text,
)

KIND, FORMAT = "subset", 1
INDEX_REMEDY = "give the index that python -m experiments.prune wrote"
_LONGEST = 2**24  # characters of a mask; 12 million samples have fewer
_UNPACKED = 2**20  # bytes of a mask that are unpacked at once
_INDEX = mapping(
    kind=one_of(KIND),
    format=one_of(FORMAT),
    dataset=mapping(
        name=text(), fingerprint=text(), samples=integer(1, LARGEST_INTEGER)
    ),
    ids=list_of(integer(), shortest=1, longest=LARGEST_INTEGER),
    optional={
        "score": maybe(text()),
        "seed": integer(0, 2**32 - 1),
        "keep": number(0, 1),
        "end": one_of(*ENDS),
        "balanced": flag,
        "effort": mapping(),
        "kept": list_of(mapping()),
    },
)
_MASK = mapping(
    samples=integer(1, LARGEST_INTEGER), fingerprint=text(), mask=text(_LONGEST)
)


@dataclass(frozen=True, eq=False)
class Subset:
    """Some training samples of a dataset.

    Attributes:
        ids: [m] int64, increasing: places in the whole dataset's training array.
        samples: M, how many the whole has.
        fingerprint: of the whole.
    """

    ids: np.ndarray
    samples: int
    fingerprint: str

    def record(self) -> dict[str, Any]:
        """What `from_record` needs, for JSON.

        Example:
            >>> subset = Subset(np.array([1, 4]), 6, "abc")
            >>> Subset.from_record(subset.record()).ids.tolist()
            [1, 4]
        """
        chosen = np.zeros(self.samples, bool)
        chosen[self.ids] = True
        packed = zlib.compress(np.packbits(chosen).tobytes(), 9)
        return {
            "samples": self.samples,
            "fingerprint": self.fingerprint,
            "mask": base64.b64encode(packed).decode("ascii"),
        }

    @staticmethod
    def from_record(record: Mapping[str, Any]) -> "Subset":
        """The inverse of `record`.

        Raises:
            ValueError: no subset has this record; the message is a phrase.
        """
        _MASK(record, "subset")
        content = b"".join(_unpacked(record))
        ids = np.flatnonzero(np.unpackbits(np.frombuffer(content, np.uint8)))
        return Subset(ids, record["samples"], record["fingerprint"])


def subset_record(value: Any, where: str) -> None:
    """The schema of `Subset.record`.

    The mask is looked through but not kept: how many samples a file declares says
    nothing about how many there are, and a mask of zeros is short.
    """
    _MASK(value, where)
    for _ in _unpacked(value):
        pass


def _unpacked(record: Mapping[str, Any]) -> Iterator[bytes]:
    """The bytes of a mask, some at a time.

    Raises:
        ValueError: it is damaged, or does not fit its samples; the message is a phrase.
    """
    size, beyond = -(-record["samples"] // 8), -record["samples"] % 8
    unpacking, left, some, last = zlib.decompressobj(), size, False, 0
    try:
        packed = base64.b64decode(record["mask"], validate=True)
        while part := unpacking.decompress(packed, _UNPACKED):
            packed, left = unpacking.unconsumed_tail, left - len(part)
            some, last = some or part.count(0) < len(part), part[-1]
            if left < 0:
                break
            yield part
    except (binascii.Error, zlib.error) as error:
        raise ValueError("the mask of its subset is damaged") from error
    if left != 0 or not some or last & ((1 << beyond) - 1):
        raise ValueError("the mask of its subset does not fit its samples")


def checked_ids(ids: Any, samples: int, where: str = "the subset") -> np.ndarray:
    """Places of training samples, increasing.

    Args:
        ids: [m] integers in any order.
        samples: how many there are.
        where: name of the subset in messages.

    Raises:
        UserError: there are none, they are no integers, one is out of range, or one
            occurs twice.

    Example:
        >>> checked_ids([4, 1], 6).tolist()
        [1, 4]
    """
    try:
        array = np.asarray(ids)
    except ValueError:  # lists of several lengths
        array = np.array(None)
    if array.ndim != 1 or array.dtype.kind not in "iu" or not len(array):
        raise UserError(f"the ids of {where} must be a list of one integer or more")
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= samples:
        raise UserError(
            f"the id {low if low < 0 else high} of {where} is no training sample: they "
            f"are numbered from 0 to {samples - 1}"
        )
    unique, counts = np.unique(array.astype(np.int64), return_counts=True)
    if len(unique) < len(array):
        twice = int(unique[np.argmax(counts > 1)])
        raise UserError(
            f"the id {twice} occurs in {where} more than once: name it once"
        )
    return unique


@dataclass(frozen=True, eq=False)
class Index:
    """A file of ids.

    Attributes:
        path: where it lies.
        name, fingerprint, samples: of the dataset that the ids are of.
        ids: in the order of the file, not checked against the dataset yet.
    """

    path: Path
    name: str
    fingerprint: str
    samples: int
    ids: Sequence[int]

    def check(self, name: str, fingerprint: str) -> None:
        """Refuse a dataset that the ids are not of.

        Args:
            name: what the dataset is called in messages.
            fingerprint: of the dataset.

        Raises:
            UserError: the fingerprint is another one.
        """
        if fingerprint != self.fingerprint:
            raise UserError(
                f"the index {shown(self.path)} is of {quoted(self.name)} with "
                f"{self.samples} training samples, and {quoted(name)} has another "
                "fingerprint: give the data that it was written for, read by the same "
                "flags"
            )


def read_index(path: str | Path) -> Index:
    """The file that --subset names.

    Raises:
        UserError: it is missing, damaged, or no index.
    """
    content = read_json(path, _INDEX, INDEX_REMEDY)
    whole = content["dataset"]
    return Index(
        Path(path),
        whole["name"],
        whole["fingerprint"],
        whole["samples"],
        content["ids"],
    )
