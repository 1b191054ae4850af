"""Score every training sample of a dataset."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxdd import fields, report
from jaxdd.calling import called
from jaxdd.data.accepted import Data, as_problem_data
from jaxdd.data.readers.pictures import Size
from jaxdd.devices.precision import AUTO
from jaxdd.errors import UserError, quoted
from jaxdd.fields import from_keywords, option
from jaxdd.progress import Callback
from jaxdd.report.pictures import draw
from jaxdd.scores.table import SCORES, Effort
from jaxdd.scoring.files import SCORED, SCORES_FILE
from jaxdd.scoring.measuring import (
    Opened,
    ScoreFlags,
    compute,
    described,
    open_run,
)
from jaxdd.scoring.result import Difficulty
from jaxdd.storage.files import (
    make_folder,
    output_file,
    to_json,
    write_atomically,
)
from jaxdd.storage.lock import owned
from jaxdd.storage.paths import local_path, shown
from jaxdd.storage.records import mapping, read_json

SHOWN = 10  # images per class in the picture


@dataclass(frozen=True, kw_only=True)
class Config(ScoreFlags):
    """Flags of `experiments.difficulty`."""

    workdir: str = option(..., "folder for the results", kind="path", often=True)
    score: str = option(
        "grad_norm",
        f"scores of difficulty, joined by commas, or all: {', '.join(SCORES)}",
        often=True,
    )
    validation: float = option(0.0, "share of the training split that is left out")


def difficulty(
    data: Data,
    score: str | Sequence[str] = "grad_norm",
    *,
    net: str | None = None,
    width: int | None = None,
    depth: int | None = None,
    seed: int = 0,
    networks: int = Effort.networks,
    train_steps: int = Effort.train_steps,
    forgetting_epochs: int = Effort.forgetting_epochs,
    damping: float = Effort.damping,
    rank: int = Effort.rank,
    validation: float = 0.0,
    precision: str = AUTO,
    data_dir: str | Path | None = None,
    channels: int | None = None,
    image_size: Size = None,
    modality: str | None = None,
    label: str | None = None,
    id_column: str | None = None,
    missing: str | None = None,
    subset: str | Path | None = None,
    stream: str = "auto",
    progress: Callback | None = None,
) -> Difficulty:
    """Score every training sample: which are easy, which are hard?

    The same values give the same scores as `python -m experiments.difficulty`. Nothing
    is written.

    Args:
        data: (images, labels), of which a fifth is held out for the test; (images,
            labels, test_images, test_labels); a `Dataset`; or a name, as `--dataset`
            takes it.
        score: name of a score, several of them as a list or joined by commas, or "all";
            see `jaxdd.scores.table.SCORES`. In every score larger means harder.
        net: name of the network; default: "convnet", for vectors "mlp", for sequences
            "convnet1d".
        width, depth: channels and blocks of the ConvNet; default: the dataset's.
        seed: of the validation split and the networks.
        networks: networks that a score is averaged over.
        train_steps: SGD steps that each network is trained before it is scored at.
        forgetting_epochs: epochs over which forgetting is counted.
        damping: of influence, as a share of the curvature's largest eigenvalue.
        rank: eigenpairs that influence takes the curvature from.
        validation: share of the training data that is left out.
        precision: of the products in networks, "float32", "tf32", "bfloat16" or "auto".
        data_dir: folder of prepared TFDS datasets.
        channels, image_size: what the images of a named dataset are converted to, as
            `--channels` and `--image_size` say.
        modality: what samples in memory or in an .npz are: "images", "sequences" or
            "vectors"; needed for sequences alone.
        label, id_column, missing: how a table is read, as `--label`, `--id_column` and
            `--missing` say.
        subset: an index that `experiments.prune` wrote, whose samples are scored.
        stream: where decoded images are: "always" on disk, "never" there, or "auto",
            on disk where they would take more than a quarter of the memory and are
            read by name. Scores are the same.
        progress: called with events, see `jaxdd.progress`; `jaxdd.report.bar` draws a
            bar.

    Raises:
        UserError: an argument cannot be used, or no score is finite; of several those
            that are not are left out.

    Example:
        >>> import numpy as np
        >>> images, labels = np.zeros((20, 8, 8, 1), np.float32), np.arange(20) % 2
        >>> scored = difficulty(
        ...     (images, labels), "el2n", net="mlp", networks=1, train_steps=1
        ... )
        >>> scored.scores.shape
        (16,)
    """
    with called(Config, progress, {"dataset": "data"}):
        by_name = isinstance(data, str)
        dataset, name = as_problem_data(data, None if by_name else modality)
        of_files = data_dir, channels, image_size, label, id_column, missing
        if not by_name and any(x is not None for x in of_files):
            raise UserError(
                "data_dir, channels, image_size, label, id_column and missing are "
                "about datasets that are read by name: leave them out, and convert the "
                "images that are in memory"
            )
        config = from_keywords(
            Config,
            dataset=name or "in memory",
            workdir="none",
            score=score if isinstance(score, str) else _joined(score),
            net=net,
            width=width,
            depth=depth,
            seed=seed,
            networks=networks,
            train_steps=train_steps,
            forgetting_epochs=forgetting_epochs,
            damping=damping,
            rank=rank,
            validation=validation,
            precision=precision,
            data_dir=data_dir,
            channels=channels,
            image_size=image_size,
            modality=modality if by_name else None,
            label=label,
            id_column=id_column,
            missing=missing,
            subset=subset,
            stream=stream,
        )
        config = fields.understood(config)
        return compute(open_run(config, config.score, dataset, config.validation))


def _joined(scores: Sequence[str]) -> str:
    known = isinstance(scores, list | tuple) and all(isinstance(x, str) for x in scores)
    if not known or not scores:
        raise UserError(
            f"score must be a list of names of scores, not {quoted(scores)}"
        )
    return ",".join(scores)


def run(config: Config) -> Difficulty:
    """Score as `difficulty`, and write scores, pictures and `summary.json`.

    Raises:
        UserError: bad input, named; the folder belongs to another program.
    """
    opened = open_run(config, config.score, validation=config.validation)
    # Before the folder is locked, which leaves a file in it.
    refuse_others(local_path(config.workdir, "--workdir"), opened)
    with owned(config.workdir) as folder:
        # Again: another program may have begun there meanwhile.
        refuse_others(folder, opened)
        scored = compute(opened)
        write(scored, folder)
        return scored


def refuse_others(folder: Path, opened: Opened) -> None:
    """Raise UserError where a folder holds a run, or scores of other data or flags."""
    if (folder / "run.json").exists():
        raise UserError(
            f"{shown(folder)} holds a run of another program: choose another --workdir"
        )
    for place in places_of(opened.names, folder):
        if place.exists() and not place.is_dir():
            raise UserError(
                f"{shown(place)} is no folder, and the scores {place.name} are to be "
                "written into one: move it away or choose another --workdir"
            )
        output_file(place / SCORES_FILE, "the scores", ".npz", kind=SCORED)
    path = folder / "summary.json"
    if not path.exists():
        return
    known = read_json(path, mapping(), "move it away or choose another --workdir")
    names = sorted(opened.names)
    asked = json.loads(to_json({"scores": names, **described(opened)}))
    written = [*(known.get("scores") or ()), *(known.get("left_out") or ())]
    there = {**known, "scores": sorted(written)}
    for name, value in asked.items():
        if there.get(name) != value:
            raise UserError(
                f"{shown(folder)} holds scores whose {name} differs: choose another "
                "--workdir"
            )


def places_of(names: Sequence[str], folder: Path) -> list[Path]:
    """The folder of each score: the workdir of one alone, folders in it of several."""
    return [folder if len(names) == 1 else folder / name for name in names]


def write(scored: Difficulty, folder: Path) -> None:
    """Write the scores and their pictures into a folder, and `summary.json` last."""
    names = list(scored.by_name)
    asked = [*names, *scored.summary.get("left_out", ())]
    for name, place in zip(names, places_of(asked, folder), strict=False):
        write_score(scored, name, make_folder(place))
    if len(names) > 1:
        rows = [list(row.values()) for row in scored.rank_correlation.values()]
        matrix = np.array(rows, float)
        draw(report.correlation_matrix, names, matrix, folder / "rank_correlation.png")
    write_atomically(folder / "summary.json", to_json(scored.summary))


def write_score(scored: Difficulty, name: str, folder: Path) -> None:
    """Write `scores.npz`, `histogram.png` and `extremes.png` of one score."""
    scored.save(folder / "scores.npz", name)
    scores, path = scored.by_name[name], folder / "histogram.png"
    draw(report.histogram, scores, path, xlabel=name)
    easiest, hardest = scored.easiest(SHOWN, name), scored.hardest(SHOWN, name)
    path = folder / "extremes.png"
    draw(report.extremes, easiest.images, hardest.images, scored.class_names, path)
