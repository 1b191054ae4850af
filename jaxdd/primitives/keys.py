"""Independent random streams of one seed, and of one key."""

import zlib
from enum import IntEnum

import jax

from jaxdd.types import Key


class Draw(IntEnum):
    """The numbers that are folded into a key to split a stream off it.

    They are part of what a seed means: another number gives other draws. The small
    numbers from 0 on are taken, by classes, steps and terms that are counted, and by
    `jax.random.split`, whose i-th key is `fold_in(key, i)`. What is folded into a key
    of classes or steps is therefore above 2^31; the others belong to keys of terms.

    Attributes:
        PASSES: the order in which passes take the real samples, of a run's first key.
        ROWS: which synthetic images a match sees.
        PAIRS: what the term against forgetting compares.
        AGAIN: the key of the match when it is that term.
        CALIBRATION: how the images are augmented that a trained network is shown.
        FREQUENCIES: at which a match compares characteristic functions.
        SPANS: which spans of experts the steps of a run get, of its root key.
    """

    PASSES = 0x0D
    ROWS = 0xC0
    PAIRS = 0xE0
    AGAIN = 0xF0
    CALIBRATION = 0x800000CA
    FREQUENCIES = 0x800000CF
    SPANS = 0xFFFFFFFF  # steps are counted by fold_in(root, step) and are fewer

    def of(self, key: Key) -> Key:
        """The stream of this name that belongs to a key.

        Args:
            key: not consumed.
        """
        return jax.random.fold_in(key, self.value)


def named_key(seed: int, name: str) -> Key:
    """An independent random stream of a seed, e.g. named_key(0, "evaluate")."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))
