"""Independent random streams of one seed, and of one key."""

import zlib
from enum import IntEnum

import jax

from jaxdd.types import Key

_BEYOND = 2**31  # more than anything that is counted


class Draw(IntEnum):
    """The numbers that are folded into a key to split a stream off it.

    They are part of what a seed means: another number gives other draws. The small
    numbers from 0 on are taken, by classes, steps and terms that are counted, and by
    `jax.random.split`, whose i-th key is `fold_in(key, i)`.

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
    CALIBRATION = 0xCA
    FREQUENCIES = 0xCF
    SPANS = 0xFFFFFFFF  # steps are counted by fold_in(root, step) and are fewer

    def of(self, key: Key, beside: int = 0) -> Key:
        """The stream of this name that belongs to a key.

        Args:
            key: not consumed.
            beside: how many numbers that are counted, such as classes, are folded into
                the same key. A stream whose number is among them has another one.
        """
        number = self.value if beside <= self.value else _BEYOND + self.value
        return jax.random.fold_in(key, number)


def named_key(seed: int, name: str) -> Key:
    """An independent random stream of a seed, e.g. named_key(0, "evaluate")."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))
