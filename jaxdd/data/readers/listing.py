"""The files below a folder of classes, and a record of those that are left out."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from jaxdd.data.readers.pictures import SUFFIXES
from jaxdd.errors import UserError
from jaxdd.storage.paths import reason, shown

# Folders that operating systems, archives and network drives create.
_SYSTEM_FOLDERS = (
    "__macosx", "@eadir", "#recycle", "$recycle.bin", "lost+found",
    "system volume information",
)  # fmt: skip
_DEEPEST = 16  # levels of folders inside the folder of a class
LISTED = 5  # names or numbers in a message


@dataclass
class Listing:
    """The files of a dataset's folder, and a record of those that are left out."""

    root: Path
    system: list[str] = field(default_factory=list)  # names of folders
    other: Counter = field(default_factory=Counter)  # files by ending
    folders: dict[str, str] = field(default_factory=dict)  # name -> why left out
    deeper: int = 0  # images inside a folder of their class's folder
    notes: list[str] = field(default_factory=list)

    def subfolders(self, folder: Path) -> dict[str, Path]:
        """Name -> path, in the order of the names."""
        folders = {}
        for entry in entries_of(folder):
            if is_folder(entry) and not self._is_system(entry.name):
                folders[entry.name] = Path(entry.path)
        return folders

    def images(self, folder: Path) -> list[Path]:
        """All image files of a class, those of the folder itself first."""
        return list(self._images(folder, 0, set()))

    def _images(self, folder: Path, depth: int, above: set) -> Iterator[Path]:
        entries = entries_of(folder)
        for entry in entries:
            if is_folder(entry):
                continue
            ending = os.path.splitext(entry.name)[1].lower()
            if ending in SUFFIXES:
                self.deeper += depth > 0
                yield Path(entry.path)
            else:
                self.other[ending or "without ending"] += 1
        for entry in entries:
            if not is_folder(entry) or self._is_system(entry.name):
                continue
            status = entry.stat()
            place = status.st_dev, status.st_ino
            # A link may lead back up.
            if depth == _DEEPEST or place in above:
                raise UserError(
                    f"the folder {shown(entry.path)} lies more than {_DEEPEST} levels "
                    "deep in its class or leads back into it: remove it"
                )
            yield from self._images(Path(entry.path), depth + 1, {*above, place})

    def loose(self, folder: Path) -> None:
        """Note the images that lie beside the folders of the classes."""
        count = sum(
            os.path.splitext(e.name)[1].lower() in SUFFIXES and not is_folder(e)
            for e in entries_of(folder)
        )
        if count:
            self.notes.append(
                f"the reader left out {many(count, 'image')} of {shown(folder)} "
                "beside the folders of the classes"
            )

    def leave_out(self, folder: Path, why: str) -> None:
        count = sum(
            os.path.splitext(name)[1].lower() in SUFFIXES
            for _, _, names in os.walk(folder)
            for name in names
        )
        self.folders[folder.name] = f"{many(count, 'image')}, {why}"

    def remarks(self, total: int) -> list[str]:
        """Sentences about what was left out and chosen; `total` images were read."""
        where = shown(self.root)
        sentences = list(self.notes)
        for name, why in list(self.folders.items())[: 2 * LISTED]:
            sentences.append(f"the folder {shown(name)} of {where} was left out: {why}")
        if len(self.folders) > 2 * LISTED:
            rest = len(self.folders) - 2 * LISTED
            sentences.append(f"{rest} more folders of {where} were left out")
        if self.other:
            endings = _most(self.other)
            sentences.append(
                f"the reader left out {many(self.other.total(), 'file')} of {where} "
                f"because of the ending: {endings}"
            )
        if self.deeper:
            sentences.append(
                f"the reader took {many(self.deeper, 'image')} of {total} from deeper "
                "inside the folder of a class"
            )
        if self.system:
            names = ", ".join(sorted(set(self.system))[:LISTED])
            sentences.append(f"the reader left out what systems leave behind: {names}")
        return sentences

    def _is_system(self, name: str) -> bool:
        if name.lower() in _SYSTEM_FOLDERS:
            self.system.append(name)
            return True
        return False


def entries_of(folder: Path) -> list[os.DirEntry]:
    """The entries of a folder that are not hidden, in the order of the names."""
    try:
        with os.scandir(folder) as entries:
            visible = [e for e in entries if not e.name.startswith(".")]
    except OSError as error:
        raise UserError(
            f"the folder {shown(folder)} cannot be read ({reason(error)}): change its "
            "permissions or remove it"
        ) from None
    return sorted(visible, key=lambda e: e.name)


def is_folder(entry: os.DirEntry) -> bool:
    """Whether an entry is a folder; links that lead in a circle are not."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _most(counts: Counter) -> str:
    parts = [f"{n} {shown(what)}" for what, n in counts.most_common(LISTED)]
    return ", ".join(parts) + (", ..." if len(counts) > LISTED else "")
