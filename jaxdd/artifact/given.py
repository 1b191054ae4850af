"""A distilled set as it is handed over: a path, an artifact, or a result with one."""

from pathlib import Path
from typing import Protocol, runtime_checkable

from jaxdd.artifact.artifact import Artifact
from jaxdd.artifact.file import load
from jaxdd.errors import UserError


@runtime_checkable
class HasArtifact(Protocol):
    """A result that holds its distilled set, such as that of `jaxdd.distill`."""

    @property
    def artifact(self) -> Artifact: ...


Source = str | Path | Artifact | HasArtifact


def artifact_of(given: Source) -> Artifact:
    """The set that was handed over.

    Args:
        given: the path of a `distilled.npz`, what `jaxdd.load` returns, or a result.

    Raises:
        UserError: it is something else, or the file cannot be read.

    Example:
        >>> from jaxdd.artifact.artifact import _example
        >>> artifact_of(_example()).ipc
        1
    """
    if isinstance(given, str | Path):
        return load(given)
    artifact = getattr(given, "artifact", given)
    if not isinstance(artifact, Artifact):
        raise UserError(
            f"a {type(given).__name__} is no distilled set: give the path of a "
            "distilled.npz, what jaxdd.load returns, the result of jaxdd.distill, or "
            "of arrays jaxdd.load_foreign((images, labels), dataset)"
        )
    return artifact
