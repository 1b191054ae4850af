"""The distilled set as a file, `distilled.npz`.

file           `Artifact`, and how it is saved and loaded
schema         fields and arrays of the file; `values` checks the numbers in them
export         PNGs of the set; `class_folders`, `description` and `replacing` are its
               parts
restart        an artifact as the initial set of a distillation
"""

from jaxdd.artifact.file import Artifact, load, save

__all__ = ["Artifact", "load", "save"]
