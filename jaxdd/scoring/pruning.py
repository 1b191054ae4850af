"""Keep a share of a dataset's training samples, by how hard they are."""

import dataclasses
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxdd import fields
from jaxdd.calling import called
from jaxdd.data import Dataset
from jaxdd.data.accepted import Data, as_problem_data
from jaxdd.data.problem import DataFlags, in_memory, open_problem, prepare
from jaxdd.errors import NotWritten, UserError
from jaxdd.fields import from_keywords, option
from jaxdd.fields.keywords import takes
from jaxdd.primitives.ends import ENDS
from jaxdd.progress import Callback, say
from jaxdd.report.pictures import PICTURE
from jaxdd.scores.selection import share_by_score
from jaxdd.scores.table import SCORES
from jaxdd.scoring import measuring
from jaxdd.scoring.files import of_other_data, read_scores
from jaxdd.scoring.pruned import INDEX, Pruned
from jaxdd.scoring.result import Difficulty
from jaxdd.storage import provenance
from jaxdd.storage.files import make_folder, output_file
from jaxdd.storage.paths import existing_file, shown
from jaxdd.storage.recognising import may_be_replaced

USUAL_SCORE = "grad_norm"
# Flags of a measurement, of which scores from a file make no use.
MEASURING = {x.name for x in dataclasses.fields(measuring.ScoreFlags)} - {
    x.name for x in dataclasses.fields(DataFlags)
}


@dataclass(frozen=True, kw_only=True)
class Config(measuring.ScoreFlags):
    """Flags of `experiments.prune`."""

    out: str = option(
        ...,
        "the index to write, a JSON file that --subset takes; a picture of the easiest "
        "and the hardest samples that are kept lies beside it",
        kind="path",
        often=True,
    )
    keep: float = option(
        ...,
        "share of the training samples that is kept, rounded to a number of samples",
        above=0,
        at_most=1,
        often=True,
    )
    score: str | None = option(
        None,
        f"score by which samples are kept: {', '.join(SCORES)}; default: {USUAL_SCORE}",
        often=True,
    )
    scores: str | None = option(
        None,
        "a scores.npz that experiments.difficulty wrote with --validation=0, in place "
        "of --score",
        kind="path",
        often=True,
    )
    end: str = option(
        "easy",
        "which samples are kept: the easiest (easy), those in the middle (median) or "
        "the hardest (hard)",
        choices=ENDS,
        often=True,
    )
    balanced: bool = option(
        False,
        "whether the share is kept of every class; otherwise of all samples together, "
        "so that classes lose more or fewer",
        often=True,
    )


@takes(Config, without=("dataset", "out"))
def prune(
    data: Data,
    score: str | None = None,
    keep: float | int = 0.5,
    *,
    progress: Callback | None = None,
    **flags: Any,
) -> Pruned:
    """Keep a share of the training samples: the easiest, the middle, or the hardest.

    The same values keep the same samples as `python -m experiments.prune`. Nothing is
    written; `Pruned.dataset` can be distilled, and `Pruned.save` writes the index that
    `--subset` takes.

    Args:
        data: (images, labels), of which a fifth is held out for the test; (images,
            labels, test_images, test_labels); a `Dataset`; or a name, as `--dataset`
            takes it.
        score: name of a score, see `jaxdd.SCORES`; default: "grad_norm".
        keep: the share that is kept, in (0, 1].
        progress: called with events, see `jaxdd.progress`.
        flags: every other flag of `experiments.prune`, such as end="hard",
            balanced=True, scores="scores.npz", networks=3 or channels=3.

    Raises:
        UserError: an argument cannot be used, a score is not finite, or a class would
            be left without a sample.

    Example:
        >>> images, labels = np.zeros((20, 8, 8, 1), np.float32), np.arange(20) % 2
        >>> few = {"net": "mlp", "networks": 1, "train_steps": 1}
        >>> pruned = prune((images, labels), "el2n", keep=0.25, balanced=True, **few)
        >>> pruned, pruned.dataset.labels.tolist()
        (Pruned(4 of 16 training samples of arrays), [0, 1, 0, 1])
    """
    with called(Config, progress, {"dataset": "data"}):
        modality = None if isinstance(data, str) else flags.pop("modality", None)
        dataset, name = as_problem_data(data, modality)
        named = name or "in memory"
        config = from_keywords(
            Config, flags, dataset=named, out="none", score=score, keep=keep
        )
        return chosen(fields.understood(config), dataset)


class Indexed(NamedTuple):
    """What was kept, and the flags by which a run takes it.

    Attributes:
        pruned: the samples.
        path: of the index.
        flags: of the data and the index, by name.
    """

    pruned: Pruned
    path: Path
    flags: dict[str, Any]


def run(config: Config) -> Indexed:
    """Prune as `prune`, and write the index and its picture.

    Raises:
        UserError: bad input, named.
    """
    target = target_of(config)
    ready = lambda: make_folder(target.parent, "path for the index")
    pruned = chosen(config, ready=ready)
    path = pruned.save(target)
    try:
        pruned.picture(path.with_suffix(".png"))
    except NotWritten as error:  # the index is there, and nothing else is to come
        say(f"warning: {error}")
    data = {"dataset": config.dataset, "data_dir": config.data_dir, **config.form}
    given = {name: value for name, value in data.items() if value is not None}
    return Indexed(pruned, path, {**given, "subset": path})


def target_of(config: Config) -> Path:
    """The file that --out names.

    Raises:
        UserError: no index can be written there, or its picture would replace another.
    """
    target = output_file(config.out, "--out", ".json", kind=INDEX)
    picture = target.with_suffix(".png")
    if not may_be_replaced(picture, PICTURE if target.exists() else None):
        raise UserError(
            f"{shown(picture)} is there, and the picture beside --out={config.out} "
            "would replace it: use another --out"
        )
    return target


def chosen(
    config: Config,
    dataset: Dataset | None = None,
    ready: Callable[[], object] = lambda: None,
) -> Pruned:
    """The samples that the flags keep.

    Args:
        config: the flags.
        dataset: the data, where it is in memory.
        ready: called once the flags and the data are checked, before long work.

    Raises:
        UserError: bad input, named.
    """
    check(config)
    if config.scores is None:
        scored, whole, name, about = _measured(config, dataset, ready)
    else:
        scored, whole, name, about = _read(config, config.scores, dataset)
        ready()
    (scores,) = scored.by_name.values()
    places = share_by_score(
        scores, whole.labels, config.keep, config.end, config.balanced
    )
    about |= {"keep": config.keep, "end": config.end, "balanced": config.balanced}
    try:
        kept = whole.subset(places)
    except UserError as error:
        more = "" if config.balanced else ", or add --balanced"
        raise UserError(
            f"--keep={config.keep:g} is too little: {error}{more}"
        ) from error
    return Pruned(kept, places, scored, about, name)


def check(config: Config) -> None:
    """Check the flags, before the data is read.

    Raises:
        UserError: one of them, or two together, cannot be used.
    """
    fields.check(config)
    if config.scores is None:
        return
    for field in dataclasses.fields(config):
        given = getattr(config, field.name) != field.default
        if given and (field.name == "score" or field.name in MEASURING):
            raise UserError(
                f"--{field.name} is about measuring a score, and --scores reads one: "
                "leave one of them out"
            )


def open_score(config: Config, dataset: Dataset | None = None) -> measuring.Opened:
    """The score by which samples are kept, and the data; nothing is computed.

    Raises:
        UserError: bad input, named.
    """
    opened = measuring.open_run(config, config.score or USUAL_SCORE, dataset)
    if len(opened.names) > 1:
        raise UserError(
            f"samples are kept by one score, not by {len(opened.names)}: name one in "
            "--score"
        )
    return opened


Scored = tuple[Difficulty, Dataset, str, dict[str, Any]]


def refuse_too_few(config: Config, labels: np.ndarray) -> None:
    """Refuse a share that surely leaves a class without a sample, before long work.

    Raises:
        UserError: it does.
    """
    classes = len(np.unique(labels))
    kept = max(1, round(config.keep * len(labels)))
    if not config.balanced and kept < classes:
        raise UserError(
            f"--keep={config.keep:g} is too little: it keeps {kept} of {len(labels)} "
            f"samples, fewer than the {classes} classes; raise it, or add --balanced"
        )


def _measured(
    config: Config, dataset: Dataset | None, ready: Callable[[], object]
) -> Scored:
    """Scores that are computed now, the data and its name, and how."""
    opened = open_score(config, dataset)
    about = {
        "score": opened.names[0],
        "seed": opened.seed,
        "effort": dataclasses.asdict(opened.effort),
        "network": opened.options,
        "precision": opened.precision,
        "versions": provenance.versions(),
        "device": provenance.device(),
    }
    problem = opened.problem
    refuse_too_few(config, problem.splits.train.labels)
    ready()
    return measuring.compute(opened), problem.dataset, problem.name, about


def _read(config: Config, path: str, dataset: Dataset | None) -> Scored:
    """Scores of a file, likewise: it does not say which they are, so that its digest
    stands for them."""
    if dataset is None:
        problem = open_problem(config, 0.0, 0)
    else:
        problem = prepare(in_memory(dataset, config), 0.0, 0)
    train, whole = problem.splits.train, problem.dataset
    scores, warning = read_scores(path, train.ids), of_other_data(path, whole)
    if warning is not None:
        say(warning)
    with existing_file(path, "the scores", "give a scores.npz").open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    scored = Difficulty({"scores": scores}, train, whole.class_names, {})
    return scored, whole, problem.name, {"score": None, "scores": digest}
