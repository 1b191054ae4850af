"""`jaxdd.evaluate`: a set measured in one call."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from jaxdd import fields
from jaxdd.artifact.file import Artifact
from jaxdd.data.accepted import Data, as_problem_data
from jaxdd.errors import UserError, quoted
from jaxdd.evaluation.result import Evaluation
from jaxdd.evaluation.run import Config, measure, open_artifact, read_artifact
from jaxdd.fields import from_keywords
from jaxdd.progress import Callback, listening


@runtime_checkable
class HasArtifact(Protocol):
    """A result that holds its distilled set, such as that of `jaxdd.distill`."""

    @property
    def artifact(self) -> Artifact: ...


def evaluate(
    artifact: str | Path | Artifact | HasArtifact,
    nets: str | Sequence[str] | None = None,
    *,
    num_eval: int = 5,
    num_random: int | None = None,
    seed: int | None = None,
    precision: str | None = None,
    dataset: Data | None = None,
    data_dir: str | Path | None = None,
    test_dataset: Data | None = None,
    test_part: str = "test",
    progress: Callback | None = None,
) -> Evaluation:
    """Train fresh networks on a distilled set and measure them on test data.

    The protocol (schedule, augmentation, preprocessing, seeds) is the one stored in the
    artifact, so its own network gives exactly the stored number on the same kind of
    device and versions. Nothing is written.

    Args:
        artifact: the set: the path of a `distilled.npz`, what `jaxdd.load` returns, or
            the result of `jaxdd.distill`.
        nets: names of networks, as a list or joined by commas; default: its own.
        num_eval: number of fresh networks per architecture.
        num_random: number of random real subsets to compare with, each with a network
            of its own; default: as stored.
        seed: of networks and random subsets; default: as stored.
        precision: of the products in networks: "float32", "tf32", "bfloat16" or "auto";
            default: as stored.
        dataset: the data that the set was made from, where it has moved or was made
            from arrays: (images, labels), a `jaxdd.data.Dataset`, or a name.
        data_dir: folder of prepared TFDS datasets.
        test_dataset: other data of the same classes to measure on, given likewise.
        test_part: "test", the test split of `test_dataset`, or "all" of it.
        progress: called with events, see `jaxdd.progress`; `jaxdd.report.bar` draws a
            bar.

    Raises:
        UserError: an argument cannot be used, or the data is not that of the set.

    Example:
        >>> import dataclasses, jaxdd, numpy as np
        >>> from jaxdd.artifact.file import _example
        >>> images, labels = np.zeros((20, 4, 4, 1), np.uint8), np.arange(20) % 2
        >>> data = jaxdd.from_arrays(images, labels, images, labels, ("cat", "dog"))
        >>> origin = {**_example().dataset, "fingerprint": data.fingerprint}
        >>> artifact = dataclasses.replace(_example(), dataset=origin)
        >>> evaluate(artifact, num_eval=2, dataset=data)["mlp"].accuracy.n
        2
    """
    with listening(progress):
        if isinstance(artifact, str | Path):
            distilled = read_artifact(artifact)
        else:
            distilled = _artifact_of(artifact)
        # Arrays [n, a, b] are sequences where the set has sequences.
        modality = distilled.modality.name
        in_memory, name = (
            (None, None) if dataset is None else as_problem_data(dataset, modality)
        )
        test_in_memory, test_name = (
            (None, None)
            if test_dataset is None
            else as_problem_data(test_dataset, modality)
        )
        config = from_keywords(
            Config,
            artifact=artifact if isinstance(artifact, str | Path) else "in memory",
            nets=nets if nets is None or isinstance(nets, str) else _joined(nets),
            num_eval=num_eval,
            num_random=num_random,
            seed=seed,
            precision=precision,
            dataset=name,
            data_dir=data_dir,
            test_dataset=test_name,
            test_part=test_part,
        )
        config = fields.understood(config)
        opened = open_artifact(distilled, config, in_memory, test_in_memory)
        return Evaluation(dict(measure(opened)))


def _joined(nets: Sequence[str]) -> str:
    if not isinstance(nets, list | tuple) or not all(isinstance(x, str) for x in nets):
        raise UserError(f"nets must be a list of names of networks, not {quoted(nets)}")
    return ",".join(nets)


def _artifact_of(distilled: Any) -> Artifact:
    """The set of an artifact or of a result.

    Raises:
        UserError: it is something else.
    """
    artifact = getattr(distilled, "artifact", distilled)
    if not isinstance(artifact, Artifact):
        raise UserError(
            f"a {type(distilled).__name__} cannot be evaluated: give the path of a "
            "distilled.npz, what jaxdd.load returns, or the result of jaxdd.distill"
        )
    return artifact
