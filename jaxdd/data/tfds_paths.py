"""Where a prepared TFDS dataset lies on disk, or what to do if it does not."""

import json
import os
import re
from pathlib import Path
from typing import NamedTuple

from jaxdd.errors import UserError

_NAME = re.compile(
    r"(?P<base>\w+)(/(?P<config>[\w.+-]+))?(:(?P<version>\d+\.\d+\.\d+))?"
)
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")
_INFO = "dataset_info.json"  # TFDS writes it last: a directory with it is complete


class Name(NamedTuple):
    """The parts of "base/config:version"; the last two may be absent."""

    base: str
    config: str | None
    version: str | None

    @property
    def path(self) -> str:
        return f"{self.base}/{self.config}" if self.config else self.base


def default_data_dir() -> Path:
    """TFDS_DATA_DIR, or the directory that TFDS itself uses."""
    return Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def find_prepared(name: str, data_dir: Path) -> Path:
    """The version directory of a prepared dataset; the newest unless `name` says.

    name: "base", "base/config", each with or without ":1.2.3"
    data_dir: holds base/[config/]version, or is the dataset's own directory, with or
        without the version

    Raises UserError if the name is unknown, the dataset is not prepared or not as
    array_record, its metadata is broken, or several configs could be meant.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise _unknown(name, data_dir)
    parts = Name(**match.groupdict())
    if (data_dir / _INFO).is_file():
        return _check_info(data_dir, parts, data_dir.parent)
    own = data_dir.name == parts.base and not (data_dir / parts.base).is_dir()
    root = data_dir.parent if own else data_dir
    directory = root / parts.base
    if not directory.is_dir():
        if _known_to_tfds(parts.base):
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
    configs = [d for d in sorted(directory.iterdir()) if d.is_dir() and _versions(d)]
    if _versions(directory) or not configs:
        return directory
    if len(configs) > 1:
        found = ", ".join(f"{parts.base}/{c.name}" for c in configs)
        raise UserError(
            f"dataset {parts.base!r} is prepared in several configs in {directory}; "
            f"name one of: {found}"
        )
    return configs[0]


def _versions(directory: Path) -> list[str]:
    """Prepared versions, oldest first."""
    if not directory.is_dir():
        return []
    found = [
        tuple(int(n) for n in match.groups())
        for d in directory.iterdir()
        if (match := _VERSION.fullmatch(d.name)) and (d / _INFO).is_file()
    ]
    return [".".join(map(str, v)) for v in sorted(found)]


def _check_info(directory: Path, parts: Name, root: Path) -> Path:
    """`directory`, if its metadata can be parsed and tells of the right dataset."""
    path = directory / _INFO
    try:
        info = json.loads(path.read_text())
        found, file_format = info["name"], info.get("fileFormat", "tfrecord")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(
            f"the metadata file {path} is missing or broken; prepare the dataset again"
        ) from None
    if found != parts.base:
        raise UserError(
            f"{directory} holds dataset {found!r}, not {parts.base!r}; correct the "
            "name or the data_dir"
        )
    if file_format != "array_record":
        raise UserError(
            f"dataset {parts.path!r} in {directory} is stored as {file_format}, but "
            "only array_record can be read without TensorFlow; remove that directory "
            f"and prepare it again where TensorFlow is installed: "
            f"{_command(parts, root)}"
        )
    return directory


def _known_to_tfds(base: str) -> bool:
    import tensorflow_datasets as tfds  # slow to import

    try:
        tfds.builder_cls(base)
    except (
        Exception
    ):  # unknown, not a TFDS spelling, or a builder that needs TensorFlow
        return False
    return True


def _command(parts: Name, root: Path) -> str:
    return (
        'python -c "import tensorflow_datasets as tfds; '
        f"tfds.builder('{parts.path}', data_dir='{root}')"
        ".download_and_prepare(file_format='array_record')\""
    )


def _not_prepared(
    parts: Name, root: Path, versions: list[str] | None = None
) -> UserError:
    version = f" in version {parts.version}" if parts.version else ""
    found = f" (prepared there: {', '.join(versions)})" if versions else ""
    return UserError(
        f"dataset {parts.path!r} is not prepared{version} in {root}{found}; preparing "
        f"needs TensorFlow and a network once: {_command(parts, root)}"
    )


def _unknown(name: str, root: Path) -> UserError:
    there = "which does not exist"
    if root.is_dir():
        found = sorted(
            d.name for d in root.iterdir() if d.is_dir() and d.name[0] not in "._"
        )
        more = ", ..." if len(found) > 20 else ""
        there = f"which holds: {', '.join(found[:20]) or 'no dataset'}{more}"
    return UserError(
        f"dataset {name!r} is neither known to TFDS nor in {root}, {there}; other "
        "choices are 'digits' and 'folder:PATH'"
    )
