"""`experiments.difficulty`: scores in dataset order, their pictures and ranks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from experiments import difficulty as difficulty_program
from jaxdd.data import digits
from jaxdd.data.problem import DataFlags, open_problem
from jaxdd.distillation import difficulty, sorting
from jaxdd.errors import UserError
from jaxdd.methods.network import NetworkSpec
from jaxdd.primitives.losses import mean_loss
from jaxdd.scores.probes import make_probes
from jaxdd.scores.table import SCORES, Effort
from jaxdd.types import Batch
from tests.experiments.helpers import read_json


def config(workdir, **changes):
    base = {"net": "mlp", "width": 8, "networks": 2, "train_steps": 5}
    return difficulty.Config(workdir=str(workdir), **{**base, **changes})


def read(folder):
    with np.load(folder / "scores.npz") as file:
        return file["scores"], file["ids"]


def test_one_score_in_dataset_order(tmp_path):
    summary = difficulty.run(config(tmp_path))
    scores, ids = read(tmp_path)
    dataset = digits()
    np.testing.assert_array_equal(ids, np.arange(len(dataset.labels)))
    assert scores.shape == ids.shape
    for name in ("histogram.png", "extremes.png"):
        with Image.open(tmp_path / name) as image:
            assert min(image.size) > 100
    assert summary == read_json(tmp_path / "summary.json")
    assert summary["scores"]["grad_norm"]["mean"] == pytest.approx(scores.mean())
    assert summary["rank_correlation"] == {}

    # Sample by sample, each gradient on its own.
    problem = open_problem(DataFlags(), 0.0, 0)
    network = NetworkSpec("mlp", 8).make(dataset)
    real = problem.on_device(problem.splits.train)
    probes = make_probes(network, real, seed=0, count=2, steps=5)
    loss = mean_loss(network)

    def norm(params, stats, i):
        image = problem.preprocess.apply(dataset.images[i : i + 1])
        label = np.eye(10, dtype=np.float32)[dataset.labels[i : i + 1]]
        batch = jax.tree.map(jnp.asarray, Batch(image, label))
        gradient = jax.grad(loss)(params, batch, stats)
        return np.sqrt(sum(float((g**2).sum()) for g in jax.tree.leaves(gradient)))

    for i in (0, 700, len(ids) - 1):
        each = [norm(*jax.tree.map(lambda x: x[e], probes), i) for e in range(2)]
        assert scores[i] == pytest.approx(np.mean(each), rel=1e-4)


def test_several_scores_and_their_rank_correlations(tmp_path, capsys):
    names = ["el2n", "loss", "forgetting"]
    score = ",".join([*names, "loss"])
    changes = {"validation": 0.5, "forgetting_epochs": 2, "seed": 3}
    summary = difficulty.run(config(tmp_path, score=score, **changes))
    held_out = open_problem(DataFlags(), 0.5, 3)
    scores = {}
    for name in names:
        scores[name], ids = read(tmp_path / name)
        np.testing.assert_array_equal(ids, held_out.splits.train.ids)
        assert (tmp_path / name / "histogram.png").exists()
        assert (tmp_path / name / "extremes.png").exists()
    assert (tmp_path / "rank_correlation.png").exists()
    found = summary["rank_correlation"]
    assert list(found) == names
    for a in names:
        for b in names:
            expected = spearman(scores[a], scores[b])
            assert found[a][b] == pytest.approx(expected, abs=1e-3)
    difficulty_program.show(summary)
    assert f"{found['el2n']['loss']:.2f}" in capsys.readouterr().out


def test_all_is_every_score_once(tmp_path, monkeypatch, capsys):
    """In the order of the table; what is measured how has its own tests."""
    rng = np.random.default_rng(0)
    asked = []

    def compute(network, real, seed, names, effort):
        asked.append((tuple(names), effort))
        count = real.labels.shape[0]
        return {name: rng.normal(size=count).astype(np.float32) for name in names}

    monkeypatch.setattr(sorting, "compute", compute)
    monkeypatch.setattr(difficulty, "write_scores", lambda *_: None)
    summary = difficulty.run(config(tmp_path, score="loss,all", damping=0.5, rank=3))
    (names, effort) = asked[0]
    assert names[0] == "loss"
    assert sorted(names) == sorted(SCORES)
    assert len(names) >= 11
    assert effort == Effort(2, 5, 10, 0.5, 3)
    assert list(summary["rank_correlation"]) == list(names)
    with Image.open(tmp_path / "rank_correlation.png") as image:
        assert min(image.size) > 500
    difficulty_program.show(summary)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 88


def test_influence_and_fisher(tmp_path):
    """The same scores whether asked for alone or beside another one."""
    chosen = {"score": "influence,fisher", "rank": 4}
    summary = difficulty.run(config(tmp_path / "a", **chosen))
    assert 0.5 < summary["rank_correlation"]["influence"]["fisher"] < 1
    again = difficulty.run(config(tmp_path / "b", score="influence", rank=4))
    assert again["scores"]["influence"] == summary["scores"]["influence"]
    assert summary["scores"]["influence"]["min"] > 0


@pytest.mark.parametrize("changes", [{"damping": 0.0}, {"rank": -1}, {"networks": 0}])
def test_what_is_not_positive_is_refused_before_anything_is_read(tmp_path, changes):
    name, value = next(iter(changes.items()))
    with pytest.raises(UserError, match=f"--{name} must be positive, not {value}"):
        difficulty.run(config(tmp_path / "out", dataset="none such", **changes))


def spearman(a, b):
    """Correlation of mean ranks, the slow way."""
    ranks = [np.array([np.sum(x < v) + np.sum(x == v) / 2 for v in x]) for x in (a, b)]
    return np.corrcoef(*ranks)[0, 1]


def test_a_constant_score_has_no_correlation(tmp_path, monkeypatch, capsys):
    """Nothing is ever forgotten on easy data; that is a result, not an error."""
    count = len(digits().labels)
    found = {"loss": np.arange(count, dtype=np.float32), "el2n": np.zeros(count)}
    monkeypatch.setattr(difficulty.sorting, "compute", lambda *_: found)
    summary = difficulty.run(config(tmp_path, score="loss,el2n"))
    assert summary["rank_correlation"]["loss"]["el2n"] is None
    assert summary == read_json(tmp_path / "summary.json")
    difficulty_program.show(summary)
    assert " - " in capsys.readouterr().out


def test_the_folder_of_a_run_is_refused(finished):
    before = (finished / "summary.json").read_bytes()
    with pytest.raises(UserError, match="holds a run of another program") as error:
        difficulty.run(config(finished))
    assert str(finished) in str(error.value)
    assert (finished / "summary.json").read_bytes() == before
