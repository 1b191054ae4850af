"""Fetch a dataset's original archive and write it in the form that --dataset reads.

    python -m experiments.prepare --dataset=cifar10 --data_dir=TFDS
    python -m experiments.prepare --dataset=mnist --archive=FOLDER --data_dir=TFDS

The form is that of TensorFlow Datasets (array_record, records in the order of its own
builder), written without TensorFlow. An archive is compared with its checksum; a
transfer that is cut goes on when the same command is started again.
"""

from dataclasses import dataclass

from experiments.console.flags import main, option
from jaxdd import fields
from jaxdd.data.originals import ORIGINALS
from jaxdd.preparing.whole import Prepared, write_dataset
from jaxdd.storage.paths import shown


@dataclass(frozen=True, kw_only=True)
class Config:
    """Flags of `experiments.prepare`."""

    dataset: str = option(
        ..., f"what to prepare: {', '.join(ORIGINALS)}", choices=ORIGINALS, often=True
    )
    archive: str | None = option(
        None,
        "the original archive, or the folder that holds it or several; default: it is "
        "fetched into DATA_DIR/downloads",
        kind="path",
        often=True,
    )
    data_dir: str | None = option(
        None,
        "folder of prepared datasets; default: TFDS_DATA_DIR or "
        "~/tensorflow_datasets, as in TFDS",
        kind="path",
        often=True,
    )


def run(config: Config) -> Prepared:
    """Prepare the dataset.

    Raises:
        UserError: an archive cannot be had or is not the original, or the disk refuses;
            no dataset is written then.
    """
    fields.check(config)
    return write_dataset(config.dataset, config.archive, config.data_dir)


def show(prepared: Prepared) -> None:
    """Print where the dataset is, and how it is used."""
    folder = prepared.folder
    counts = ", ".join(f"{split} {n}" for split, n in prepared.counts.items())
    state = "written to" if prepared.anew else "there already, left as it is:"
    print(f"{folder.parent.name} {folder.name} is {state} {shown(folder)} ({counts})")
    print(f"use it by --dataset={folder.parent.name} --data_dir={folder.parent.parent}")


if __name__ == "__main__":
    main(Config, run, show)
