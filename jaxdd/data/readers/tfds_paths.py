"""The directory of a prepared TFDS dataset, or advice on how to prepare it."""

import os
import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

from jaxdd.data.originals import ORIGINALS
from jaxdd.data.readers.tfds_info import INFO_FILE, read_info
from jaxdd.errors import UserError, quoted
from jaxdd.storage.paths import local_path, reason, shown

_NAME = re.compile(
    r"(?P<base>\w+)(/(?P<config>[\w.+-]+))?(:(?P<version>\d+\.\d+\.\d+))?"
)
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")


class Name(NamedTuple):
    """The parts of "base/config:version"; the last two may be absent."""

    base: str
    config: str | None
    version: str | None

    @property
    def path(self) -> str:
        return f"{self.base}/{self.config}" if self.config else self.base


def default_data_dir() -> Path:
    """TFDS_DATA_DIR, or the directory that TFDS itself uses.

    Raises:
        UserError: TFDS_DATA_DIR is no path of this machine.
    """
    place = os.environ.get("TFDS_DATA_DIR")
    return local_path(place or "~/tensorflow_datasets", "TFDS_DATA_DIR")


def find_prepared(name: str, data_dir: Path) -> Path:
    """The version directory of a prepared dataset, by default of the newest version.

    Args:
        name: "base", "base/config", each with or without ":1.2.3".
        data_dir: the directory above base/[config/]version, or the directory of the
            dataset itself, with or without the version.

    Raises:
        UserError: the name is unknown, the dataset is not prepared or not stored as
            array_record, its metadata are broken, or it has several configs.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise _unknown(name, data_dir)
    parts = Name(**match.groupdict())
    if os.path.isfile(data_dir / INFO_FILE):
        return _check_info(data_dir, parts, data_dir.parent)
    own = data_dir.name == parts.base and not os.path.isdir(data_dir / parts.base)
    root = data_dir.parent if own else data_dir
    directory = root / parts.base
    if not os.path.isdir(directory):
        if parts.base in ORIGINALS or _known_to_tfds(parts.base):
            raise _not_prepared(parts, root)
        raise _unknown(name, root)
    directory = _config_dir(parts, directory)
    versions = _versions(directory)
    if parts.version and parts.version not in versions:
        raise _not_prepared(parts, root, versions)
    if not versions:
        raise _not_prepared(parts, root)
    return _check_info(directory / (parts.version or versions[-1]), parts, root)


def _config_dir(parts: Name, directory: Path) -> Path:
    """The directory that holds the versions; a single prepared config is implied."""
    if parts.config:
        return directory / parts.config
    configs = [d for d in _folders(directory) if _versions(d)]
    if _versions(directory) or not configs:
        return directory
    if len(configs) > 1:
        names = ", ".join(shown(f"{parts.base}/{c.name}") for c in configs)
        raise UserError(
            f"dataset {parts.base!r} is prepared in several configs in "
            f"{shown(directory)}; name one of: {names}"
        )
    return configs[0]


def _versions(directory: Path) -> list[str]:
    """Prepared versions, oldest first."""
    if not os.path.isdir(directory):
        return []
    numbers = [
        tuple(int(n) for n in match.groups())
        for d in _folders(directory)
        if (match := _VERSION.fullmatch(d.name)) and os.path.isfile(d / INFO_FILE)
    ]
    return [".".join(map(str, v)) for v in sorted(numbers)]


def _folders(directory: Path) -> list[Path]:
    """The directories in a directory, in the order of their names."""
    return sorted(d for d in entries(directory) if os.path.isdir(d))


def entries(directory: Path) -> list[Path]:
    """The entries of a directory.

    Raises:
        UserError: the directory cannot be read.
    """
    try:
        return list(directory.iterdir())
    except OSError as error:
        raise UserError(
            f"the directory {shown(directory)} cannot be read ({reason(error)}); "
            "change its permissions or the data_dir"
        ) from None


def _check_info(directory: Path, parts: Name, root: Path) -> Path:
    """The directory, if its metadata can be read and name the right dataset."""
    name, file_format, _ = read_info(directory)
    if name != parts.base:
        raise UserError(
            f"{shown(directory)} holds dataset {quoted(name)}, not {parts.base!r}; "
            "correct the name or the data_dir"
        )
    if file_format != "array_record":
        raise UserError(
            f"dataset {parts.path!r} in {shown(directory)} is stored as "
            f"{shown(file_format)}, but only array_record can be read without "
            f"TensorFlow; remove that directory, {_advice(parts, root)}"
        )
    return directory


def _known_to_tfds(base: str) -> bool:
    try:
        tensorflow_datasets().builder_cls(base)
    except UserError:
        raise
    except Exception:
        # Unknown, not a TFDS spelling, or a builder that needs TensorFlow.
        return False
    return True


def tensorflow_datasets() -> Any:
    """The package tensorflow_datasets, which is slow to import.

    Raises:
        UserError: the package cannot be imported.
    """
    try:
        import tensorflow_datasets as tfds

        _ = tfds.features.Image, tfds.decode.SkipDecoding  # imported late
        return tfds
    except Exception as error:  # raised by the package or by one that it imports
        raise UserError(
            "the package tensorflow_datasets cannot be imported "
            f"({type(error).__name__}: {reason(error)}); install the missing package, "
            "or use 'digits', 'folder:PATH' or 'npz:FILE'"
        ) from error


def _advice(parts: Name, root: Path) -> str:
    """How to prepare a dataset: by our program, or by TFDS if ours has no archive.

    It ends with a line for a shell, quoted so that any name of the folder works.
    """
    original = ORIGINALS.get(parts.path)
    if original and parts.version in (None, original.version):
        return (
            "this command fetches it, or writes it from an archive that you have "
            "(--archive), as jaxdd.prepare does in Python: "
            f"python -m experiments.prepare --dataset={parts.base} "
            f"--data_dir={shlex.quote(str(root))}"
        )
    program = (
        "import tensorflow_datasets as tfds; "
        f"tfds.builder({parts.path!r}, data_dir={str(root)!r})"
        ".download_and_prepare(file_format='array_record')"
    )
    quotes = {'"', "$", "`", "\\", "!"}  # special inside double quotes
    quoted_program = shlex.quote(program) if quotes & set(program) else f'"{program}"'
    return f"preparing needs TensorFlow and a network once: python -c {quoted_program}"


def _not_prepared(
    parts: Name, root: Path, versions: list[str] | None = None
) -> UserError:
    version = f" in version {parts.version}" if parts.version else ""
    prepared = f" (prepared there: {', '.join(versions)})" if versions else ""
    return UserError(
        f"dataset {parts.path!r} is not prepared{version} in {shown(root)}{prepared}; "
        + _advice(parts, root)
    )


def _unknown(name: str, root: Path) -> UserError:
    content = "which does not exist"
    if os.path.isdir(root):
        names = [shown(d.name) for d in _folders(root) if d.name[0] not in "._"]
        more = ", ..." if len(names) > 20 else ""
        content = f"which holds: {', '.join(names[:20]) or 'no dataset'}{more}"
    return UserError(
        f"dataset {quoted(name)} is neither known to TFDS nor in {shown(root)}, "
        f"{content}; other choices are 'digits' and the other built-in names, "
        "'folder:PATH', 'npz:FILE' and 'table:FILE'"
    )
