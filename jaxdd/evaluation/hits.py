"""Networks that an evaluation has measured, kept so that a later start goes on."""

import hashlib
import time
from pathlib import Path
from typing import Any

import numpy as np

from jaxdd.devices import hosts
from jaxdd.errors import UserError
from jaxdd.progress import say
from jaxdd.storage.arrays import Member, read_arrays
from jaxdd.storage.files import atomic_file

SAVE_SECONDS = 5.0  # between two saves: what a kill may cost


class Hits:
    """Which networks of an evaluation are measured, and where each of them is right.

    Args:
        path: of the file, None to keep nothing on disk.
        about: all that decides about a network's result, as a text. A file of another
            evaluation is passed over, a damaged one with a warning.

    Attributes:
        done: [E] bool.
        right: [E, M] bool, rows of networks that are done.
        seconds: spent by earlier starts.
    """

    def __init__(self, path: Path | None = None, about: str = ""):
        self.path, self.digest = path, hashlib.sha256(about.encode()).hexdigest()
        self.seconds = 0.0
        self.began = self.saved = time.monotonic()

    def open(self, networks: int, samples: int) -> None:
        """Begin an evaluation of E networks on M samples, or take it up again."""
        self.done = np.zeros(networks, bool)
        self.right = np.zeros((networks, samples), bool)
        hosts.meet()
        if self.path is None or not self.path.exists():
            return
        members = {
            "digest": Member("U", 0, 1000),
            "done": Member("b", 1, networks),
            "right": Member("b", 2, networks * samples, repetitive=True),
            "seconds": Member("f", 0, 8),
        }
        try:
            before = read_arrays(self.path, members, "all networks are measured again")
        except UserError as error:
            say(f"warning: {error}")
            return
        same = before["done"].shape == self.done.shape
        same = same and before["right"].shape == self.right.shape
        if same and str(before["digest"]) == self.digest:
            self.done, self.right = before["done"], before["right"]
            self.seconds = float(before["seconds"])

    def add(self, networks: np.ndarray, right: np.ndarray) -> None:
        """Take measured networks [n] with their rows [n, M], and save now and then."""
        self.done[networks], self.right[networks] = True, right
        if hosts.most(time.monotonic() - self.saved) > SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Write the file.

        Raises:
            UserError: the disk refuses.
        """
        if self.path is None:
            return
        arrays: dict[str, Any] = {
            "digest": np.array(self.digest),
            "done": self.done,
            "right": self.right,
            "seconds": np.float64(self.seconds + time.monotonic() - self.began),
        }
        with atomic_file(self.path, "wb") as file:
            np.savez_compressed(file, **arrays)
        self.saved = time.monotonic()

    def remove(self) -> None:
        """The evaluation's result is on disk: the file has served."""
        if self.path is not None and hosts.primary():
            self.path.unlink(missing_ok=True)
