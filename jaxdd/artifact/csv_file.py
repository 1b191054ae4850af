"""A distilled set of rows or sequences as CSV, in the units of its data."""

import csv
import io
from pathlib import Path

from jaxdd.artifact.artifact import Artifact
from jaxdd.data.columns import readable
from jaxdd.errors import UserError
from jaxdd.storage.files import write_atomically

CLASS = "class"


def write_csv(artifact: Artifact, path: Path) -> Path:
    """Write the samples as text that people and spreadsheets read.

    A vector is a row under the headings of its table; a category is the level that is
    nearest. A sequence is a row per step in time, with the numbers of its sample and
    step. The first column is the class, that of the largest label; soft labels follow
    as one column for each class.

    Args:
        artifact: the set.
        path: the file.

    Returns:
        The path.

    Raises:
        UserError: the set has images, or the disk refuses.

    Example:
        >>> import dataclasses, tempfile
        >>> from jaxdd.artifact.artifact import _example
        >>> rows = np.zeros((2, 1, 3), np.float32)
        >>> centred = dataclasses.replace(_example().preprocess, mean=np.ones(3),
        ...                               std=np.ones(3))
        >>> vectors = dataclasses.replace(_example(), images=rows, preprocess=centred)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_csv(vectors, Path(folder) / "rows.csv").read_text().split()
        ['class,x0,x1,x2', 'cat,1,1,1', 'dog,1,1,1']
    """
    if artifact.modality.pixels:
        raise UserError(
            "a CSV file holds rows and sequences, and this set has images: use --to=png"
        )
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    names, probabilities = artifact.class_names, artifact.probabilities()
    soft = artifact.label_kind != "hard"
    labels = probabilities.reshape(-1, len(names))
    leading = [
        [names[int(label.argmax())], *(f"{p:.5g}" for p in label if soft)]
        for label in labels
    ]
    heading = [CLASS, *(f"p({name})" for name in names if soft)]
    values = artifact.displayable()
    if values.ndim == 3:
        columns, cells = readable(artifact.columns, values.reshape(len(labels), -1))
        writer.writerow([*heading, *columns])
        writer.writerows([*a, *b] for a, b in zip(leading, cells, strict=True))
    else:
        flat = values.reshape(len(labels), *values.shape[2:])
        channels = [f"channel {c}" for c in range(flat.shape[-1])]
        writer.writerow([*heading, "sample", "step", *channels])
        for i, (label, sequence) in enumerate(zip(leading, flat, strict=True)):
            for step, row in enumerate(sequence):
                writer.writerow([*label, i, step, *(f"{x:.5g}" for x in row)])
    write_atomically(path, file.getvalue())
    return path
