"""A foreign set with all that belongs to it: labels, scale, decoder and protocol."""

import dataclasses
from pathlib import Path
from typing import Any

from jaxdd.artifact.artifact import Artifact
from jaxdd.artifact.file import contents, from_contents
from jaxdd.data import Dataset
from jaxdd.data.problem import Problem
from jaxdd.errors import UserError, quoted
from jaxdd.exchange.foreign import Foreign
from jaxdd.exchange.labels import understood
from jaxdd.exchange.options import ForeignFlags
from jaxdd.exchange.scale import check_normalisation, scaled
from jaxdd.methods.network import NetworkSpec
from jaxdd.methods.presets import preset, unpublished, usual_network
from jaxdd.methods.recipes import METHODS
from jaxdd.progress import say
from jaxdd.storage import provenance
from jaxdd.storage.paths import shown
from jaxdd.synthetic.formation import Formation
from jaxdd.synthetic.labels import LOSS_OF

# Whose evaluation judges a set of no known method: an ordinary one with augmentation.
_PROTOCOL = "dm"
_LARGEST_RATE = 1e3


def assembled(
    foreign: Foreign, problem: Problem, options: ForeignFlags, place: Path
) -> Artifact:
    """The artifact of a foreign set; each assumption is said.

    Args:
        foreign: the set as it lies.
        problem: the dataset that it was distilled from.
        options: the flags.
        place: the file or folder.

    Raises:
        UserError: the set and the dataset do not fit, or nothing says what the set's
            numbers are.
    """
    where, dataset = shown(place.name), problem.dataset
    _check_names(foreign, dataset, where)
    check_normalisation(options, dataset.image_shape[-1])
    ipc = _ipc(foreign, options, dataset, where)
    method = options.method or foreign.method
    recipe = METHODS[method or _PROTOCOL]
    network = _network(usual_network(recipe), options)
    factor = options.factor or foreign.factor or 1
    chosen = preset(
        method or _PROTOCOL,
        dataset.name,
        ipc,
        factor,
        network.published_name,
        dataset.num_classes,
    )
    named = understood(
        foreign.labels,  # type: ignore[arg-type]
        dataset.num_classes,
        options.labels,
        recipe.labels.name,
        where,
    )
    images = scaled(foreign, problem, chosen, options)
    step_size = options.step_size
    step_size = foreign.step_size if step_size is None else step_size
    if step_size is not None and not 0 < step_size < _LARGEST_RATE:
        raise UserError(
            f"the learned rate of {where} is {step_size:g}, at which nothing can be "
            "trained: give --step_size"
        )
    evaluation = chosen.evaluation
    if named.space != recipe.labels.space:
        evaluation = dataclasses.replace(evaluation, loss=LOSS_OF[named.space])
    training = evaluation.training(step_size, options.eval_epochs)
    formation = Formation(factor, options.formation)
    formation.check(*images.images.shape[1:3])
    stand_in = unpublished(method or _PROTOCOL, dataset.name, ipc)
    said = [
        f"the set is one of {method}"
        if method
        else f"no method is named: the set is evaluated as one of {_PROTOCOL}",
        *([] if stand_in is None else [stand_in]),
        *foreign.said,
        *images.said,
        *named.said,
        f"it is trained on for {training.epochs} epochs at the rate "
        f"{training.learning_rate:g} with the augmentation {evaluation.augmentation}",
    ]
    if factor > 1:
        said.append(f"each stored image is cut into {factor} x {factor}")
    order, classes = named.order, dataset.num_classes
    stored = images.images[order], named.labels[order]
    artifact = Artifact(
        images=stored[0].reshape(classes, ipc, *stored[0].shape[1:]),
        labels=stored[1].reshape(classes, ipc, classes),
        step_size=step_size,
        preprocess=images.preprocess,
        class_names=dataset.class_names,
        dataset={
            "name": problem.name,
            "fingerprint": dataset.fingerprint,
            "validation": 0.0,
            "split_seed": 0,
            **dataset.described,
            **options.form,
        },
        network=network.sized(dataset).options(),
        augmentation=evaluation.augmentation,
        training=training,
        measured={},
        provenance={
            "seed": 0,
            "config": _config(options, method, place),
            "assumed": said,
            "versions": provenance.versions(),
        },
        factor=factor,
        formation=options.formation,
        space=images.space,
        label_space=named.space,
    )
    artifact = from_contents(contents(artifact))  # as if it came from a file of ours
    for sentence in said:
        say(f"{where}: {sentence}")
    return artifact


def _check_names(foreign: Foreign, dataset: Dataset, where: str) -> None:
    """Refuse classes of other names, or in another order.

    Raises:
        UserError: they are.
    """
    theirs, ours = foreign.class_names, dataset.class_names
    if theirs is None or theirs == ours:
        return
    if sorted(theirs) == sorted(ours):
        pairs = enumerate(zip(theirs, ours, strict=True))
        k, (other, own) = next(x for x in pairs if x[1][0] != x[1][1])
        raise UserError(
            f"the classes of {where} are in another order than the dataset's (class "
            f"{k} is {quoted(other)} there and {quoted(own)} in the dataset): write "
            "its labels in the order of the dataset"
        )
    lacking = next((name for name in theirs if name not in ours), None)
    if lacking is None:
        difference = f"{len(ours)} classes, and the set names {len(theirs)}"
        if len(set(theirs)) < len(theirs):
            difference += ", some of them twice"
    else:
        difference = f"{len(ours)} classes and none called {quoted(lacking)}"
    raise UserError(
        f"the classes of {where} are not those of the dataset, which has "
        f"{difference}: give the dataset that the set was distilled from"
    )


def _ipc(foreign: Foreign, options: ForeignFlags, dataset: Dataset, where: str) -> int:
    """Images per class.

    Raises:
        UserError: images and labels differ in number, or there are other images per
            class than --ipc says.
    """
    count = len(foreign.images)
    labels = 0 if foreign.labels is None else len(foreign.labels)
    if labels != count:
        raise UserError(f"{where} has {count} images and {labels} labels")
    ipc = count // dataset.num_classes
    if options.ipc not in (None, ipc) or ipc < 1:
        expected = "" if options.ipc is None else f", not --ipc={options.ipc}"
        raise UserError(
            f"{where} has {count} images for {dataset.num_classes} classes, which are "
            f"{ipc} per class{expected}: give the dataset that the set was distilled "
            "from"
        )
    return ipc


def _network(usual: NetworkSpec, options: ForeignFlags) -> NetworkSpec:
    """The network of the evaluation, with what flags say of it."""
    given: dict[str, Any] = {
        name: getattr(options, name)
        for name in ("net", "width", "depth")
        if getattr(options, name) is not None
    }
    return dataclasses.replace(usual, **given)


def _config(options: ForeignFlags, method: str | None, place: Path) -> dict[str, Any]:
    """What was asked for, for the provenance."""
    given = {
        field.name: getattr(options, field.name)
        for field in dataclasses.fields(options)
        if getattr(options, field.name) != field.default
    }
    return {**given, "method": method, "source": place.name}
