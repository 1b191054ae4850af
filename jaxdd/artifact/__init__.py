"""The distilled file: written, read, exported, begun at again."""

from jaxdd.artifact.file import Artifact, load, save

__all__ = ["Artifact", "load", "save"]
