"""`jaxdd.evaluate`, `jaxdd.referee` and `jaxdd.probe`: sets measured in one call."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxdd import fields
from jaxdd.artifact.artifact import Artifact
from jaxdd.artifact.given import Source, artifact_of
from jaxdd.calling import called
from jaxdd.data import Dataset
from jaxdd.data.accepted import Data, as_problem_data
from jaxdd.errors import UserError, quoted
from jaxdd.evaluation import options, probing
from jaxdd.evaluation import referee as refereeing
from jaxdd.evaluation.opening import open_referee
from jaxdd.evaluation.probed import Probed
from jaxdd.evaluation.result import Evaluation
from jaxdd.evaluation.run import Config, measure, open_artifact, read_artifact
from jaxdd.evaluation.verdict import Verdict
from jaxdd.fields import from_keywords
from jaxdd.fields.keywords import takes
from jaxdd.progress import Callback

# What a flag is called where several sets are compared.
_ARGUMENTS = {"artifact": "artifacts"}


def evaluate(
    artifact: Source,
    nets: str | Sequence[str] | None = None,
    *,
    num_eval: int = 5,
    num_random: int | None = None,
    seed: int | None = None,
    precision: str | None = None,
    dataset: Data | None = None,
    data_dir: str | Path | None = None,
    stream: str = "auto",
    test_dataset: Data | None = None,
    test_part: str = "test",
    progress: Callback | None = None,
) -> Evaluation:
    """Train fresh networks on a distilled set and measure them on test data.

    The protocol (schedule, augmentation, preprocessing, seeds) is the one stored in the
    artifact, so its own network gives exactly the stored number on the same kind of
    device and versions. Nothing is written. Several sets, selected real samples and a
    teacher's labels are compared by `jaxdd.referee`.

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
        stream: where decoded images are: "always" on disk, "never" there, or "auto",
            on disk where they would take more than a quarter of the memory and are
            read by name. Batches are the same.
        test_dataset: other data of the same classes to measure on, given likewise.
        test_part: "test", the test split of `test_dataset`, or "all" of it.
        progress: called with events, see `jaxdd.progress`; `jaxdd.report.bar` draws a
            bar.

    Raises:
        UserError: an argument cannot be used, or the data is not that of the set.

    Example:
        >>> import dataclasses, jaxdd, numpy as np
        >>> from jaxdd.artifact.artifact import _example
        >>> images, labels = np.zeros((20, 4, 4, 1), np.uint8), np.arange(20) % 2
        >>> data = jaxdd.from_arrays(images, labels, images, labels, ("cat", "dog"))
        >>> origin = {**_example().dataset, "fingerprint": data.fingerprint}
        >>> artifact = dataclasses.replace(_example(), dataset=origin)
        >>> evaluate(artifact, num_eval=2, dataset=data)["mlp"].accuracy.n
        2
    """
    with called(Config, progress):
        distilled = _read(artifact)
        in_memory, name = _data_like(distilled, dataset)
        test_in_memory, test_name = _data_like(distilled, test_dataset)
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
            stream=stream,
            test_dataset=test_name,
            test_part=test_part,
        )
        config = fields.understood(config)
        opened = open_artifact(distilled, config, in_memory, test_in_memory)
        return Evaluation(dict(measure(opened)))


@takes(options.Config, without=("artifact", "workdir"))
def referee(
    artifacts: Source | Sequence[Source] | Mapping[str, Source],
    nets: str | Sequence[str] | None = None,
    *,
    dataset: Data | None = None,
    test_dataset: Data | None = None,
    progress: Callback | None = None,
    **flags: Any,
) -> Verdict:
    """Compare distilled sets with real data and with each other, by one protocol.

    The same values give the same table as `python -m experiments.evaluate`. Nothing is
    written.

    Args:
        artifacts: one set or several, each as `jaxdd.evaluate` takes it; with a mapping
            by the names that they shall have.
        nets: names of networks, as a list or joined by commas; default: that of the
            first set.
        dataset, test_dataset: as of `jaxdd.evaluate`.
        progress: called with events, see `jaxdd.progress`.
        flags: of `experiments.evaluate`, such as `baselines="random,herding,full"`,
            `teacher=True`, `select_lr="auto"`, `num_eval=10` or `eval_epochs=300`.

    Returns:
        The table: `verdict.accuracy("mlp", "random", "teacher").mean` is a cell, and
        `verdict.gains("mlp", name)` has the gains of a set.

    Raises:
        UserError: an argument cannot be used, or the sets are of different data.

    Source: ours.

    Example:
        >>> import dataclasses, jaxdd, numpy as np
        >>> from jaxdd.artifact.artifact import _example
        >>> images, labels = np.zeros((20, 4, 4, 1), np.uint8), np.arange(20) % 2
        >>> data = jaxdd.from_arrays(images, labels, images, labels, ("cat", "dog"))
        >>> origin = {**_example().dataset, "fingerprint": data.fingerprint}
        >>> artifact = dataclasses.replace(_example(), dataset=origin)
        >>> verdict = referee({"mine": artifact}, dataset=data, num_random=5)
        >>> verdict.accuracy("mlp", "mine").n, list(verdict.gains("mlp", "mine"))
        (5, ['random'])
    """
    with called(options.Config, progress, _ARGUMENTS):
        _refuse_files(flags, "evaluate")
        sets = {name: _read(x) for name, x in _named(artifacts).items()}
        first = next(iter(sets.values()))
        in_memory, name = _data_like(first, dataset)
        test_in_memory, test_name = _data_like(first, test_dataset)
        config = from_keywords(
            options.Config,
            flags,
            artifact="in memory",
            nets=nets if nets is None or isinstance(nets, str) else _joined(nets),
            dataset=name,
            test_dataset=test_name,
        )
        opened = open_referee(
            fields.understood(config), sets, in_memory, test_in_memory
        )
        table: dict[str, Any] = {}
        for latest in refereeing.measure(opened):
            table = latest
        return Verdict(table)


@takes(probing.Config, without=("artifact", "workdir"))
def probe(
    artifacts: Source | Sequence[Source] | Mapping[str, Source],
    *,
    dataset: Data | None = None,
    progress: Callback | None = None,
    **flags: Any,
) -> Probed:
    """Who finds distilled sets hard? Their GraDN among real samples, kind by kind.

    The same values give the same numbers as `python -m experiments.probe`. Nothing is
    written.

    Args:
        artifacts: one set or several of the same data, as of `jaxdd.referee`.
        dataset: as of `jaxdd.evaluate`.
        progress: called with events, see `jaxdd.progress`; `jaxdd.report.bar` draws a
            bar.
        flags: of `experiments.probe`, such as `probe_kinds="random,real_early"`,
            `probes=5` or `data_dir="TFDS"`.

    Returns:
        The table: `probed.places[name]["random"].percentile` is a cell. Two more rows
        are what runs begin with, real images and noise.

    Raises:
        UserError: an argument cannot be used, or the sets are of different data.

    Source: ours; GraDN is SDC's.

    Example:
        >>> import dataclasses, jaxdd, numpy as np
        >>> from jaxdd.artifact.artifact import _example
        >>> images, labels = np.zeros((20, 4, 4, 1), np.uint8), np.arange(20) % 2
        >>> data = jaxdd.from_arrays(images, labels, images, labels, ("cat", "dog"))
        >>> origin = {**_example().dataset, "fingerprint": data.fingerprint}
        >>> artifact = dataclasses.replace(_example(), dataset=origin)
        >>> flags = {"probe_kinds": "random", "probes": 1}
        >>> list(probe({"mine": artifact}, dataset=data, **flags).places)
        ['first images: real', 'first images: noise', 'mine']
    """
    with called(probing.Config, progress, _ARGUMENTS):
        _refuse_files(flags, "probe")
        sets = {name: _read(x) for name, x in _named(artifacts).items()}
        in_memory, name = _data_like(next(iter(sets.values())), dataset)
        config = from_keywords(
            probing.Config,
            flags,
            artifact="in memory",
            workdir="none",
            dataset=name,
        )
        config = fields.understood(config)
        return probing.measure(probing.open_sets(config, sets, in_memory))


def _refuse_files(flags: Mapping[str, Any], program: str) -> None:
    """Raise UserError where keywords name files, which a function does not write."""
    for flag in ("artifact", "workdir"):
        if flag in flags:
            raise UserError(
                f"there is no keyword {quoted(flag)}: the sets come first, and only "
                f"python -m experiments.{program} writes"
            )


def _named(artifacts: Any) -> dict[str, Any]:
    """{name: set}; those without a name are numbered."""
    if isinstance(artifacts, Mapping):
        named = {str(name): x for name, x in artifacts.items()}
    elif isinstance(artifacts, list | tuple):
        named = {f"set {i}": x for i, x in enumerate(artifacts, 1)}
    else:
        named = {"distilled": artifacts}
    if not named:
        raise UserError("there is no set to compare: give one or more")
    for name in named:
        if name in options.BASELINES:
            raise UserError(f"{quoted(name)} is the name of a baseline: choose another")
    return named


def _data_like(
    distilled: Artifact, data: Data | None
) -> tuple[Dataset | None, str | None]:
    """Data in memory, or their name; arrays [n, a, b] are what the set has."""
    if data is None:
        return None, None
    return as_problem_data(data, distilled.modality.name)


def _read(distilled: Any) -> Artifact:
    if isinstance(distilled, str | Path):
        return read_artifact(fields.understood(Config(str(distilled))))
    return artifact_of(distilled)


def _joined(nets: Sequence[str]) -> str:
    if not isinstance(nets, list | tuple) or not all(isinstance(x, str) for x in nets):
        raise UserError(f"nets must be a list of names of networks, not {quoted(nets)}")
    return ",".join(nets)
