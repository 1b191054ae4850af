"""Where a run keeps its files, if it keeps any."""

from pathlib import Path
from typing import NamedTuple

from jaxdd.storage.files import make_folder


class Place(NamedTuple):
    """A run's folder, or none.

    Attributes:
        folder: for everything that the run writes; None where nothing is kept.
        scratch: for the experts of a run without a folder, since a bank is read from
            disk; it is removed with the run.
        given: the folder as the user wrote it, which files of the run name; None for
            `folder`.
    """

    folder: Path | None
    scratch: Path | None = None
    given: str | None = None

    @property
    def name(self) -> str | None:
        """What files of the run call its folder; None without one."""
        return None if self.folder is None else self.given or str(self.folder)

    def inner(self, *names: str) -> "Place":
        """A place inside this one; a folder is made."""
        folder, scratch = (
            None if root is None else make_folder(root.joinpath(*names))
            for root in (self.folder, self.scratch)
        )
        return Place(folder, scratch)

    @property
    def experts(self) -> Path:
        """The folder of the experts that the run trains."""
        root = self.folder or self.scratch
        assert root is not None, "a run that trains experts has a folder for them"
        return root / "experts"
