"""Read a set that another code distilled, or write one in a format that others read.

    python -m experiments.convert --source=res_DSA_CIFAR10_ConvNet_10ipc.pt \\
        --dataset=cifar10 --data_dir=TFDS --out=dsa.npz
    python -m experiments.convert --source=dsa.npz --to=pt --out=dsa.pt
    python -m experiments.convert --source=dsa.npz --first=5 --out=five.npz
    python -m experiments.convert --source=dsa.npz --shorten=5 --out=five.npz
    python -m experiments.convert --source=mtt.npz --slim --out=slim.npz
    python -m experiments.convert --source=slim.npz --dataset=cifar10 --data_dir=TFDS \\
        --out=mtt.npz

What a foreign file does not say (normalisation or ZCA, kind of labels, rate, protocol)
is taken from the published recipe of its method, or from a flag, and is said. Evaluate
the result by `python -m experiments.evaluate --artifact=dsa.npz`.
"""

from dataclasses import dataclass

from experiments.console.flags import main, option
from jaxdd import fields
from jaxdd.artifact.artifact import Artifact
from jaxdd.artifact.slim import slim
from jaxdd.errors import UserError, choose
from jaxdd.evaluation.reopening import reopen
from jaxdd.exchange.opening import open_foreign
from jaxdd.exchange.options import ForeignFlags
from jaxdd.exchange.shortening import USUAL_SCORE, shorten
from jaxdd.exchange.targets import TARGETS, target_of, write_set
from jaxdd.primitives.ends import ENDS
from jaxdd.scores.table import SCORES
from jaxdd.storage.paths import local_path, shown


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
    slim: bool = option(
        False,
        "leave out the matrices of a whitened set, which follow from its training "
        "data; --dataset checks that they do, or, without --slim, makes a slim set "
        "whole",
    )
    first: int | None = option(
        None,
        "number of stored images per class that are kept, the first ones; default: all",
        above=0,
    )
    shorten: int | None = option(
        None,
        "number of stored images per class that are kept, by a score; they lie in its "
        "order, so that --first of the result is shorter by the same score",
        above=0,
    )
    score: str | None = option(
        None,
        "score of --shorten, at networks that are trained on the set for a moment: "
        f"{', '.join(SCORES)}; default: {USUAL_SCORE}",
        choices=SCORES,
    )
    end: str | None = option(
        None,
        "which images --shorten keeps: the easiest (easy), those nearest to the middle "
        "(median) or the hardest (hard); default: easy",
        choices=ENDS,
    )
    seed: int | None = option(
        None, "seed of the networks of --shorten; default: 0", kind="seed"
    )
    networks: int | None = option(
        None, "networks that --shorten averages over; default: 5", above=0
    )
    train_steps: int | None = option(
        None,
        "SGD steps that each network of --shorten is trained on the set; default: 100",
        above=0,
    )


# What the other flags of --shorten are called in `shorten`.
_OF_SHORTEN = ("score", "end", "seed", "networks", "train_steps")


def _same(source: str, out: str) -> bool:
    """Whether two paths are one file."""
    paths = (local_path(source, "--source"), local_path(out, "--out"))
    return len({path.resolve() for path in paths}) == 1


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
    fields.check(config)
    choose("--to", config.to, TARGETS)
    values = {name: getattr(config, name) for name in _OF_SHORTEN}
    given = {name: value for name, value in values.items() if value is not None}
    if given and config.shorten is None:
        raise UserError(
            f"--{next(iter(given))} says how --shorten chooses images: add "
            "--shorten=N, or leave it out"
        )
    if config.first is not None and config.shorten is not None:
        raise UserError(
            "--first and --shorten both say how many images are kept: leave one out"
        )
    if config.slim and config.to != "npz":
        raise UserError(
            f"--slim is a form of jaxdd's own file, and --to={config.to} is another: "
            "leave one out"
        )
    fewer = "first" if config.first is not None else "shorten"
    if getattr(config, fewer) is not None and _same(config.source, config.out):
        raise UserError(
            f"--{fewer} into the file of --source would leave no set with all images: "
            "use another --out"
        )
    if config.slim and config.dataset is None and _same(config.source, config.out):
        raise UserError(
            "--slim into the file of --source would leave no whole copy, and nothing "
            "has checked that the data give its matrices again: use another --out, or "
            "name the data by --dataset"
        )
    target_of(config.to, config.out)  # before long work
    artifact = open_foreign(config.source, config)
    if config.first is not None:
        artifact = artifact.first(config.first)
    if config.shorten is not None:
        artifact = shorten(artifact, config.shorten, **given)
    if config.slim:
        artifact = slim(artifact)
        if config.dataset is not None:  # which has to give the whitening again
            reopen(artifact, config.dataset, config.data_dir, stream=config.stream)
    return artifact, str(write_set(artifact, config.to, config.out))


def show(outcome: tuple[Artifact, str]) -> None:
    """Print what was written."""
    artifact, path = outcome
    print(
        f"{shown(path)}: {len(artifact.class_names)} classes, {artifact.ipc} stored "
        f"images per class, {artifact.label_kind} labels"
    )


if __name__ == "__main__":
    main(Config, run, show)
