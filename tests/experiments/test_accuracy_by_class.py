"""The accuracy of every class: counted, stored and printed."""

import json

import numpy as np
import pytest

import jaxdd
from experiments import evaluate as evaluate_program
from jaxdd.evaluation.result import (
    ClassAccuracy,
    Classes,
    Evaluation,
    NetworkEvaluation,
)
from jaxdd.statistics import Statistics, class_statistics
from tests.experiments.helpers import (
    read_json,
)


def test_accuracy_by_class_is_that_of_a_slow_loop():
    """On imbalanced data, where balanced accuracy is another number; one class lacks
    samples."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat([0, 1, 3, 4], [50, 3, 1, 7]))
    hits = (rng.uniform(size=(4, 61)) < np.where(labels == 0, 0.9, 0.3)).astype(int)
    found = class_statistics(hits, labels, 5)
    recalls = [[] for _ in range(5)]
    for row in hits:
        for k in range(5):
            own = [hit for hit, label in zip(row, labels, strict=True) if label == k]
            if own:
                recalls[k].append(100 * sum(own) / len(own))
    for k in (0, 1, 3, 4):
        assert found["mean"][k] == pytest.approx(np.mean(recalls[k]))
        assert found["std"][k] == pytest.approx(np.std(recalls[k]))
    assert found["mean"][2] is found["std"][2] is None
    per_network = np.mean([recalls[k] for k in (0, 1, 3, 4)], axis=0)
    balanced = found["balanced"]
    assert balanced["mean"] == pytest.approx(per_network.mean())
    assert balanced["std"] == pytest.approx(per_network.std())
    assert balanced["n"] == 4
    assert balanced["mean"] < 100 * hits.mean() - 10
    # With equally many samples of each class it is the accuracy.
    even = class_statistics(hits[:, :60], np.arange(60) % 5, 5)
    assert even["balanced"]["mean"] == pytest.approx(100 * hits[:, :60].mean())
    json.dumps(found, allow_nan=False)


def test_a_run_tells_its_accuracy_by_class(finished):
    """The same as from evaluation.npz, which names the samples."""
    summary = read_json(finished / "summary.json")
    labels = jaxdd.data.digits().test_labels
    with np.load(finished / "evaluation.npz") as file:
        right, ids = file["right"], file["ids"]
    classes = summary["classes"]
    assert classes["names"] == list("0123456789")
    assert classes["samples"] == [int((labels == k).sum()) for k in range(10)]
    for k in range(10):
        recall = 100 * right[:, labels[ids] == k].mean()
        assert classes["distilled"]["mean"][k] == pytest.approx(recall)
    for name in ("distilled", "random"):
        means = classes[name]["mean"]
        whole = np.average(means, weights=classes["samples"])
        assert whole == pytest.approx(summary[name]["mean"])
        assert classes[name]["balanced"]["mean"] == pytest.approx(np.mean(means))
        assert classes[name]["balanced"]["n"] == summary[name]["n"]


@pytest.mark.parametrize("count", [20, 21])
@pytest.mark.parametrize("asked", [False, True])
def test_classes_are_printed_where_they_are_few_or_asked_for(count, asked, capsys):
    labels = np.repeat(np.arange(count - 1), 2)
    by_class = class_statistics(np.arange(2 * count - 2)[None] % 2, labels, count)
    samples = np.bincount(labels, minlength=count).tolist()
    names = [f"kind\n{k}" for k in range(count)]
    accuracies = ClassAccuracy.of(by_class)
    entry = NetworkEvaluation(
        Statistics(51.0, 1.0, 1),
        Statistics(12.0, 2.0, 5),
        None,
        Classes(tuple(names), tuple(samples), accuracies, accuracies),
        {},
    )
    evaluate_program.show((Evaluation({"mlp": entry, "convnet": entry}), asked))
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["mlp", "51.00", "±", "1.00", "50.00", "12.00", "±",
                                "2.00", "-"]  # fmt: skip
    rows = [line for line in lines if "kind" in line]
    assert len(rows) == (count if count <= 20 or asked else 0)
    if rows:
        assert rows[0].split() == ["kind\\n0", "2", "50.00", "50.00"]
        assert rows[-1].split() == [f"kind\\n{count - 1}", "0", "-", "-"]
