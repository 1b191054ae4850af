"""The comparison of a base with D4A."""

import jax
import numpy as np
import pytest

from experiments import d4a
from experiments.comparing import d4a_results, methods
from jaxdd.data.problem import DataFlags, open_problem
from jaxdd.distillation import options
from jaxdd.distillation import run as distill
from jaxdd.errors import UserError
from tests.helpers import die

SMALL = {
    "dataset": "digits",
    "method": "dm",
    "ipc": 2,
    "segments": 2,
    "seeds": "0",
    "steps": 3,
    "eval_epochs": 3,
    "judge_epochs": 3,
    "judges": 1,
    "num_eval": 1,
    "ensemble": 1,
    "ensemble_steps": 5,
}


def small(workdir, **changes) -> d4a.Config:
    return d4a.Config(workdir=str(workdir), **{**SMALL, **changes})


@pytest.fixture(autouse=True, scope="module")
def tiny():
    """A network that compiles quickly: the comparison is at the field's own."""
    base_of, quick = d4a.base_of, {"net": "mlp", "width": 8, "augmentation": "none"}
    with pytest.MonkeyPatch.context() as patch:
        of = lambda *a, **changes: base_of(*a, **{**changes, **quick})
        patch.setattr(d4a, "base_of", of)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny, no_probes):
    folder = tmp_path_factory.mktemp("d4a")
    return folder, d4a.run(small(folder))


def test_three_rows_with_tenths_and_segments(finished):
    _, table = finished
    rows = {row["name"]: row for row in table["rows"]}
    assert list(rows) == [d4a.Row.BASE, d4a.Row.WITHOUT, d4a.Row.WITH]
    assert not rows[d4a.Row.BASE]["segments"]
    for row in rows.values():
        # Equal parts of the test split, up to one sample each.
        assert np.mean(row["by_tenth"]) == pytest.approx(row["mean"], abs=0.5)
    for name in (d4a.Row.WITHOUT, d4a.Row.WITH):
        first, second = rows[name]["segments"]
        assert sum(first["kept"]) == 1437
        assert sum(second["kept"]) < 1437
        assert first["forgotten"] == 0 <= second["forgotten"] <= 1


def test_the_term_makes_a_difference_after_the_first_segment(finished):
    folder, _ = finished

    def images(row, segment):
        path = folder / f"{row}-0" / "segments" / str(segment) / "segment.npz"
        with np.load(path) as file:
            return file["images"]

    first = [images(row, 0) for row in ("d4a", "d4a-without-the-term")]
    second = [images(row, 1) for row in ("d4a", "d4a-without-the-term")]
    np.testing.assert_allclose(*first, rtol=1e-4, atol=1e-5)  # two programs
    assert np.abs(second[0] - second[1]).max() > 1e-3


def test_tenths_are_sorted_once_from_easy_to_hard(finished, monkeypatch, tmp_path):
    folder, table = finished
    before = (folder / "test_losses.npz").read_bytes()
    monkeypatch.setattr(d4a_results, "make_probes", die)
    monkeypatch.setattr(distill, "distil", die)
    assert d4a.run(small(folder))["rows"] == table["rows"]
    assert (folder / "test_losses.npz").read_bytes() == before
    losses = np.random.default_rng(0).permutation(100).astype(float)
    right = (losses < 50)[None]
    np.savez(tmp_path / "evaluation.npz", right=right)
    accuracies = d4a_results.by_tenth(tmp_path, losses)
    assert accuracies.tolist() == [100.0] * 5 + [0.0] * 5


def test_what_tenths_are_of_is_checked(tmp_path):
    path = tmp_path / "evaluation.npz"
    for right, sentence in (
        (np.ones((1, 7), bool), "does not hold the answers to 9 samples"),
        (np.ones((1, 9), object), "'right' has the type"),
    ):
        np.savez(path, right=right)
        with pytest.raises(UserError, match=sentence):
            d4a_results.by_tenth(tmp_path, np.zeros(9))
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(UserError, match=r"evaluation\.npz cannot be used .* remove"):
        d4a_results.by_tenth(tmp_path, np.zeros(9))


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"segments": 1}, "--segments"),
        ({"segments": 3}, "3 segments"),
        ({"method": "d4a"}, "segments of its own"),
        ({"forgetting": "none"}, "--forgetting"),
        ({"forgetting_weight": 0.0}, "--forgetting"),
        ({"ensemble": 0}, "--ensemble"),
    ],
)
def test_refusals(tmp_path, changes, word):
    target = tmp_path / "new"
    with pytest.raises(UserError, match=word):
        d4a.run(small(target, **changes))
    assert not target.exists()


@pytest.mark.parametrize("dataset", ["wine", "waves"])
def test_tables_and_sequences_are_sorted_by_networks_of_theirs(dataset):
    config = options.Config(dataset=dataset, method="dm", workdir="unused")
    problem = open_problem(DataFlags(dataset=dataset), 0.0, 0)
    network = methods.network_of(config, problem)
    params, _ = network.init(jax.random.key(0))
    samples = jax.numpy.asarray(problem.splits.test.images[:2])
    outputs, _ = network.apply(params, {}, samples, False)
    assert outputs.logits.shape == (2, problem.dataset.num_classes)
