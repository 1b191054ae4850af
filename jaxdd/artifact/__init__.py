"""The distilled file: it is written, read, exported as pictures, and started from.

artifact      `Artifact`, a set and its views: read this first
file          `load` and `save`: its file
given         a set as it is handed over: a path, an artifact, or a result
schema        what a file may hold; `description` and `values` read its parts
export        an artifact as a folder of PNGs; `class_folders` and `replacing` help
slim          a whitened set without the matrices that follow from its data
restart       an artifact as the first images of another distillation
"""

from jaxdd.artifact.artifact import Artifact
from jaxdd.artifact.file import load, save

__all__ = ["Artifact", "load", "save"]
