"""The flags of a referee, and which of them are given."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxdd import augment
from jaxdd.errors import UserError, quoted
from jaxdd.evaluation import run as evaluation
from jaxdd.evaluation.protocol import Protocol
from jaxdd.evaluation.whole import EPOCHS
from jaxdd.fields import config_class, flags_of, option, override
from jaxdd.modality import check_augmentation
from jaxdd.primitives.ends import ENDS
from jaxdd.scores.selection import BY_FEATURES, SELECTIONS
from jaxdd.scores.table import SCORES
from jaxdd.storage.paths import is_there, local_path
from jaxdd.training.schedules import EvaluationSpec

RANDOM, FULL = "random", "full"
BASELINES = (RANDOM, *SELECTIONS, FULL)


@dataclass(frozen=True, kw_only=True)
class RefereeFlags(evaluation.Config):
    """The flags of a plain evaluation, and those that make a table of several rows."""

    artifact: str = option(
        ...,
        "path of a distilled.npz; several, joined by commas, share one table",
        kind="path",
        often=True,
    )
    baselines: str | None = option(
        None,
        f"real data that sets are compared with, joined by commas: {RANDOM} subsets, "
        f"those of {' and '.join(BY_FEATURES)}, a score of difficulty with "
        f"{', '.join('_' + end for end in ENDS)} ({', '.join(SCORES)}), and {FULL} for "
        f"all training data; default: {RANDOM}",
        often=True,
    )
    teacher: bool = option(
        False,
        "train a network on the training data, and compare all sets with its labels",
        often=True,
    )
    teacher_bank: str | None = option(
        None, "bank of experts, the first of which is the teacher instead", kind="path"
    )
    teacher_views: bool = option(
        False,
        "the teacher labels every augmented minibatch anew, instead of every image "
        "once",
    )
    real_epochs: int | None = option(
        None,
        "epochs of networks that are trained on all training data: the teacher, and "
        f"the row {FULL}; default: {EPOCHS}",
        above=0,
    )
    select_lr: str | None = option(
        None,
        "learning rates, joined by commas, or auto: the best on validation data is "
        "used, for each network; default: the protocol's",
        often=True,
    )


_COUNTS = ("num_eval", "num_random")  # of `evaluate` itself
PROTOCOL = tuple(name for name in flags_of(EvaluationSpec) if name not in _COUNTS)
Config = config_class(
    "Config",
    "Flags of `experiments.evaluate`.",
    (RefereeFlags,),
    EvaluationSpec,
    lambda flag: True,
    {name: name for name in PROTOCOL},
)


def is_asked(config: Any) -> bool:
    """Whether flags ask for a table of several rows, and not for a plain evaluation."""
    plain = {field.name for field in dataclasses.fields(evaluation.Config)}
    for field in dataclasses.fields(config):
        given = getattr(config, field.name)
        if field.name not in plain and given not in (None, False):
            return True
    return len(paths_of(config.artifact)) > 1


def plain(config: Any) -> evaluation.Config:
    """The flags of a plain evaluation among those of a referee."""
    names = [field.name for field in dataclasses.fields(evaluation.Config)]
    return evaluation.Config(**{name: getattr(config, name) for name in names})


def paths_of(text: str) -> list[str]:
    """The paths in --artifact; a file whose name has a comma is one path."""
    return [text] if is_there(local_path(text, "--artifact")) else text.split(",")


def names_of_baselines(text: str | None) -> tuple[str, ...]:
    """The names in --baselines.

    Raises:
        UserError: one is unknown, or named twice.

    Example:
        >>> names_of_baselines("random,el2n_easy")
        ('random', 'el2n_easy')
    """
    names = tuple((RANDOM if text is None else text).split(","))
    for name in names:
        if name not in BASELINES:
            raise UserError(
                f"unknown {quoted(name)} in --baselines: choose from {RANDOM}, {FULL}, "
                f"{', '.join(BY_FEATURES)}, or one of {', '.join(SCORES)} followed by "
                f"{', '.join('_' + end for end in ENDS)}"
            )
    if len(set(names)) < len(names):
        raise UserError(f"--baselines names a row twice: {quoted(text)}")
    return names


def protocols_of(
    config: Any, stored: Mapping[str, Protocol], image_shape: tuple[int, ...]
) -> dict[str, Protocol]:
    """The protocol by flags, or the stored one where there are none.

    Args:
        config: the flags.
        stored: {network: protocol} of the set.
        image_shape: of a sample.

    Raises:
        UserError: a flag has a value that it cannot have, or that samples do not fit.
    """
    given = {name: getattr(config, name) for name in PROTOCOL}
    given = {name: value for name, value in given.items() if value is not None}
    if not given:
        return dict(stored)
    spec = override(EvaluationSpec(), given, "an evaluation")
    augment.training(spec.augmentation)  # an unknown one is refused
    check_augmentation(spec.augmentation, image_shape)
    return {
        net: dataclasses.replace(
            protocol, training=spec.training(), augmentation=spec.augmentation
        )
        for net, protocol in stored.items()
    }
