"""The data that a set is evaluated on: its own, other data, and what is refused."""

import dataclasses

import numpy as np
import pytest

import jaxdd
from jaxdd.artifact import file as artifacts
from jaxdd.data.problem import prepare
from jaxdd.distillation import run as distill
from jaxdd.errors import UserError
from jaxdd.evaluation import reopening
from jaxdd.evaluation import run as evaluate
from jaxdd.evaluation.protocol import Judge
from jaxdd.statistics import Statistics
from tests.experiments.helpers import (
    QUICK,
    NoProbes,
    small,
)
from tests.helpers import Killed, die, refused


def digits_as(name="mine", **changes):
    """The digits as own arrays."""
    data = jaxdd.data.digits()
    fields = {
        "images": data.images,
        "labels": data.labels,
        "test_images": data.test_images,
        "test_labels": data.test_labels,
        "class_names": data.class_names,
        "name": name,
    }
    return jaxdd.from_arrays(**{**fields, **changes})


def test_own_arrays_are_called_what_they_are(tmp_path, monkeypatch):
    """And an artifact of them is evaluated with them, or says what to give."""
    monkeypatch.setattr(distill, "Probes", NoProbes)
    data = digits_as()
    config = small(tmp_path, **QUICK, steps=2)
    summary = distill.run(config, prepare(data, 0.1, 0))
    assert summary["config"]["dataset"] == "mine"
    path = str(tmp_path / "distilled.npz")
    assert jaxdd.load(path).dataset["name"] == "mine"
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with refused("calls its data 'mine'", "--dataset"):
        evaluate.run(evaluate.Config(path, num_eval=2))
    found = evaluate.run(evaluate.Config(path, num_eval=2), data)["mlp"]
    expected = Statistics.of(summary["distilled"])
    assert found.accuracy == found.stored == expected
    by_function = jaxdd.evaluate(path, num_eval=2, dataset=data)["mlp"]
    assert by_function.accuracy == expected
    assert by_function.protocol == found.protocol
    # The same numbers under another name are the same data.
    assert evaluate.open_run(evaluate.Config(path, dataset="digits")).tested.own


NAMES = list("0123456789")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["1", "0", *NAMES[2:]], "class 0 is '0' there and '1' in the artifact"),
        (["zero", *NAMES[1:]], "no class 'zero'"),
        (["0", "0", *NAMES[2:]], "other class names"),
    ],
)
def test_other_class_names_or_another_order_are_refused(path, tmp_path, names, words):
    """Their fingerprint is the same, since it is one of numbers."""
    made = dataclasses.replace(jaxdd.load(path), class_names=tuple(names))
    changed = artifacts.save(made, tmp_path / "changed.npz")
    with refused(words, "'digits'"):
        evaluate.run(evaluate.Config(str(changed)))
    assert [p.name for p in tmp_path.iterdir()] == ["changed.npz"]


def test_a_set_is_judged_on_other_test_data(path, tmp_path, monkeypatch):
    """The same samples in another order, and others in training: other data, and
    exactly the accuracy of before."""
    data, made = jaxdd.data.digits(), jaxdd.load(path)
    other = digits_as(
        "turned",
        images=data.images[::-1],
        labels=data.labels[::-1],
        test_images=data.test_images[::-1],
        test_labels=data.test_labels[::-1],
    )
    usual = reopening.open_dataset
    monkeypatch.setattr(
        reopening,
        "open_dataset",
        lambda flags: other if flags.dataset == "turned" else usual(flags),
    )
    flags = {"num_eval": 2, "workdir": str(tmp_path)}
    config = evaluate.Config(str(path), test_dataset="turned", **flags)
    found = evaluate.run(config)["mlp"]
    assert found.stored is None
    assert found.accuracy == Statistics.of(made.measured["distilled"])
    # Random subsets are those of the training data.
    assert found.random == Statistics.of(made.measured["random"])
    assert found.protocol["test"] == {
        "dataset": "turned",
        "part": "test",
        "fingerprint": other.fingerprint,
        "samples": 360,
    }
    opened = evaluate.open_run(dataclasses.replace(config, test_part="all"))
    both = np.concatenate([other.labels, other.test_labels])
    assert np.array_equal(opened.tested.split.labels, both)
    assert np.array_equal(opened.judges["mlp"].held_out.labels, both)
    assert len(opened.problem.splits.train.labels) == len(made_train(path))


def test_networks_are_taken_over_where_the_test_data_moved(path, tmp_path, monkeypatch):
    data = jaxdd.data.digits()
    monkeypatch.setattr(reopening, "open_dataset", lambda flags: data)
    digests = []

    def stopped(judge, synthetic, real, ipc, kept, watch):
        digests.append(kept.digest)
        die()

    monkeypatch.setattr(Judge, "beside_random", stopped)
    for name, networks in (("here", 2), ("there", 2), ("there", 3)):
        config = evaluate.Config(
            str(path), num_eval=networks, test_dataset=name, workdir=str(tmp_path)
        )
        with pytest.raises(Killed):
            evaluate.run(config)
    assert digests[0] == digests[1] != digests[2]


def made_train(path):
    return evaluate.open_run(evaluate.Config(str(path))).problem.splits.train.labels


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"test_part": "all"}, "--test_part=all is about --test_dataset"),
        ({"test_part": "some"}, "unknown --test_part='some': choose test or all"),
        ({"test_dataset": "few"}, "3 classes, not 10"),
        ({"test_dataset": "large"}, r"shape \(9, 8, 1\)"),
        ({"test_dataset": "colour"}, r"shape \(8, 8, 3\)"),
        ({"test_dataset": "folder:/no/such"}, "does not exist"),
    ],
)
def test_data_that_a_set_cannot_be_judged_on(path, flags, words, monkeypatch):
    def zeros(classes, shape):
        images, labels = np.zeros((20, *shape), np.uint8), np.arange(20) % classes
        return jaxdd.from_arrays(images, labels, images, labels)

    others = {
        "few": zeros(3, (8, 8, 1)),
        "large": zeros(10, (9, 8, 1)),
        "colour": zeros(10, (8, 8, 3)),
    }
    known = reopening.open_dataset

    def opened(flags):
        return others.get(flags.dataset) or known(flags)

    monkeypatch.setattr(reopening, "open_dataset", opened)
    with pytest.raises(UserError, match=words):
        evaluate.run(evaluate.Config(str(path), **flags))
