"""The distilled file: it is written, read, exported as pictures, and started from.

file          `Artifact`, `load` and `save`: read this first
schema        what a file may hold; `description` and `values` read its parts
export        an artifact as a folder of PNGs; `class_folders` and `replacing` help
restart       an artifact as the first images of another distillation
"""

from jaxdd.artifact.file import Artifact, load, save

__all__ = ["Artifact", "load", "save"]
