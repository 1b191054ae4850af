"""Folders called after classes, on every usual file system."""

import unicodedata

_RESERVED = {"con", "prn", "aux", "nul"} | {
    f"{port}{number}" for port in ("com", "lpt") for number in range(10)
}
# Names of sub-folders that readers of image folders do not take for classes.
_NO_CLASS = {"train", "test", "val", "valid", "validation", "__macosx"}
_LONGEST_FOLDER = 100  # bytes; file systems allow 255
_FORBIDDEN = set('/\\<>:"|?*')  # on at least one file system


def folder_names(class_names: tuple[str, ...]) -> list[str]:
    """One name of a folder per class, valid on every usual file system.

    The names are those of the classes if these are valid, differ in more than case, and
    sort in the order of the classes; otherwise they are numbered.

    Example:
        >>> folder_names(("cat", "dog")), folder_names(("9", "10"))
        (['cat', 'dog'], ['00000_9', '00001_10'])
    """
    names = [_safe_name(name) for name in class_names]
    folded = [unicodedata.normalize("NFKC", name).casefold() for name in names]
    distinct = len(set(folded)) == len(names)
    if distinct and names == sorted(names) and not _NO_CLASS & set(folded):
        return names
    digits = max(5, len(str(len(names) - 1)))
    return [f"{k:0{digits}d}_{name}" for k, name in enumerate(names)]


def _safe_name(name: str) -> str:
    """A valid name of a folder from the name of a class."""
    composed = unicodedata.normalize("NFC", name)
    safe = "".join(
        c if c.isprintable() and c not in _FORBIDDEN else "_" for c in composed
    )
    safe = safe.encode()[:_LONGEST_FOLDER].decode(errors="ignore")
    safe = safe.lstrip(".@ ").rstrip(". ") or "_"
    return f"_{safe}" if safe.split(".")[0].rstrip().lower() in _RESERVED else safe
