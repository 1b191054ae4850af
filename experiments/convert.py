"""Read a set that another code distilled, or write one in a format that others read.

    python -m experiments.convert --source=res_DSA_CIFAR10_ConvNet_10ipc.pt \\
        --dataset=cifar10 --data_dir=TFDS --out=dsa.npz
    python -m experiments.convert --source=dsa.npz --to=pt --out=dsa.pt
    python -m experiments.convert --source=dsa.npz --first=5 --out=five.npz

What a foreign file does not say (normalisation or ZCA, kind of labels, rate, protocol)
is taken from the published recipe of its method, or from a flag, and is said. Evaluate
the result by `python -m experiments.evaluate --artifact=dsa.npz`.
"""

from dataclasses import dataclass

from experiments.console.flags import main, option
from jaxdd.artifact.file import Artifact
from jaxdd.errors import choose
from jaxdd.exchange.opening import open_foreign
from jaxdd.exchange.options import ForeignFlags
from jaxdd.exchange.targets import TARGETS, write_as
from jaxdd.storage.paths import shown


@dataclass(frozen=True, kw_only=True)
class Config(ForeignFlags):
    """Flags of `experiments.convert`."""

    source: str = option(
        ...,
        "the set: a file or folder of another code, or one of jaxdd",
        kind="path",
        often=True,
    )
    out: str = option(..., "the file or folder to write", kind="path", often=True)
    to: str = option(
        "npz",
        f"what is written: {', '.join(TARGETS)}; npz is jaxdd's own, pt is for "
        "torch.load, png a folder of pictures, csv a table of rows or sequences, hub a "
        "folder to upload to Hugging Face",
        often=True,
    )
    first: int | None = option(
        None,
        "number of stored images per class that are kept, the first ones; default: all",
        above=0,
    )


def run(config: Config) -> tuple[Artifact, str]:
    """Read the set and write it.

    Args:
        config: the flags.

    Returns:
        The set, and the path that was written.

    Raises:
        UserError: the source cannot be read or the target not be written; nothing is
            written then.
    """
    choose("--to", config.to, TARGETS)
    artifact = open_foreign(config.source, config)
    if config.first is not None:
        artifact = artifact.first(config.first)
    return artifact, str(write_as(artifact, config.to, config.out))


def show(outcome: tuple[Artifact, str]) -> None:
    """Print what was written."""
    artifact, path = outcome
    print(
        f"{shown(path)}: {len(artifact.class_names)} classes, {artifact.ipc} stored "
        f"images per class, {artifact.label_kind} labels"
    )


if __name__ == "__main__":
    main(Config, run, show)
