"""Folders called after classes, on every usual file system."""

import unicodedata

_RESERVED = {"con", "prn", "aux", "nul"} | {
    f"{port}{number}" for port in ("com", "lpt") for number in range(10)
}
# Sub-folders that readers of image folders take for something else than a class.
_NO_CLASS = {"train", "test", "val", "valid", "validation", "__macosx"}
_LONGEST_FOLDER = 100  # bytes; a file system takes 255, with room for a number
_FORBIDDEN = set('/\\<>:"|?*')  # somewhere


def folder_names(class_names: tuple[str, ...]) -> list[str]:
    """One folder per class, whatever the classes are called.

    The names of the classes where each of them is a good name on every usual system,
    they differ in more than case, and they sort as the classes do; else numbered.

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
    """A class name as the name of a folder."""
    composed = unicodedata.normalize("NFC", name)
    safe = "".join(
        c if c.isprintable() and c not in _FORBIDDEN else "_" for c in composed
    )
    safe = safe.encode()[:_LONGEST_FOLDER].decode(errors="ignore")
    safe = safe.lstrip(".@ ").rstrip(". ") or "_"
    return f"_{safe}" if safe.split(".")[0].rstrip().lower() in _RESERVED else safe
