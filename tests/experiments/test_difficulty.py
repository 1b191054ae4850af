"""`experiments.difficulty`: scores in dataset order, their pictures and ranks."""

import dataclasses
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import jaxdd
from jaxdd.data import digits
from jaxdd.data.accepted import as_problem_data
from jaxdd.data.problem import DataFlags, open_problem
from jaxdd.errors import UserError
from jaxdd.methods.network import Arithmetic, NetworkSpec
from jaxdd.primitives.losses import mean_loss
from jaxdd.scores.probes import make_probes
from jaxdd.scores.table import SCORES, Effort
from jaxdd.scoring import api as scoring
from jaxdd.scoring import files, measuring
from jaxdd.types import Batch
from tests.experiments.helpers import read_json
from tests.helpers import refused


def config(workdir, **changes):
    base = {"net": "mlp", "width": 8, "networks": 2, "train_steps": 5}
    return scoring.Config(workdir=str(workdir), **{**base, **changes})


def read(folder):
    with np.load(folder / "scores.npz") as file:
        return file["scores"], file["ids"]


def test_one_score_in_dataset_order(tmp_path):
    scored = scoring.run(config(tmp_path))
    scores, ids = read(tmp_path)
    dataset = digits()
    np.testing.assert_array_equal(ids, np.arange(len(dataset.labels)))
    assert scores.shape == ids.shape
    for name in ("histogram.png", "extremes.png"):
        with Image.open(tmp_path / name) as image:
            assert min(image.size) > 100
    assert scored.summary == read_json(tmp_path / "summary.json")
    assert scored.summary["scores"]["grad_norm"]["mean"] == pytest.approx(scores.mean())
    assert scored.rank_correlation == {}
    # The function gives the same bits.
    sizes = {"width": 8, "networks": 2, "train_steps": 5}
    by_function = jaxdd.difficulty("digits", net="mlp", **sizes)
    np.testing.assert_array_equal(by_function.scores, scores)
    np.testing.assert_array_equal(by_function.ids, ids)
    assert str(by_function) == str(scored)

    # Sample by sample, each gradient on its own.
    problem = open_problem(DataFlags(), 0.0, 0)
    network = NetworkSpec("mlp", 8).make(dataset, Arithmetic())
    real = problem.on_device(problem.splits.train)
    probes = make_probes(network, real, seed=0, count=2, steps=5)
    loss = mean_loss(network)

    def norm(learner, i):
        image = problem.preprocess.apply(dataset.images[i : i + 1])
        label = np.eye(10, dtype=np.float32)[dataset.labels[i : i + 1]]
        batch = jax.tree.map(jnp.asarray, Batch(image, label))
        gradient = jax.grad(loss)(learner.params, batch, learner.stats)
        return np.sqrt(sum(float((g**2).sum()) for g in jax.tree.leaves(gradient)))

    for i in (0, 700, len(ids) - 1):
        each = [norm(jax.tree.map(lambda x: x[e], probes), i) for e in range(2)]
        assert scores[i] == pytest.approx(np.mean(each), rel=1e-4)


def test_several_scores_and_their_rank_correlations(tmp_path, capsys):
    names = ["el2n", "loss", "forgetting"]
    score = ",".join([*names, "loss"])
    changes = {"validation": 0.5, "forgetting_epochs": 2, "seed": 3}
    scored = scoring.run(config(tmp_path, score=score, **changes))
    held_out = open_problem(DataFlags(), 0.5, 3)
    scores = {}
    for name in names:
        scores[name], ids = read(tmp_path / name)
        np.testing.assert_array_equal(ids, held_out.splits.train.ids)
        assert (tmp_path / name / "histogram.png").exists()
        assert (tmp_path / name / "extremes.png").exists()
    assert (tmp_path / "rank_correlation.png").exists()
    found = scored.rank_correlation
    assert list(found) == names
    with pytest.raises(UserError, match="several scores: name one of el2n, loss, for"):
        scored.easiest(3)
    np.testing.assert_array_equal(scored.scores["loss"], scores["loss"])
    for a in names:
        for b in names:
            expected = spearman(scores[a], scores[b])
            assert found[a][b] == pytest.approx(expected, abs=1e-3)
    print(scored)
    assert f"{found['el2n']['loss']:.2f}".lstrip("0") in capsys.readouterr().out


def test_all_is_every_score_once(tmp_path, monkeypatch, capsys):
    """In the order of the table; what is measured how has its own tests."""
    rng = np.random.default_rng(0)
    asked = []

    def compute(network, real, seed, names, effort):
        asked.append((tuple(names), effort))
        count = real.labels.shape[0]
        return {name: rng.normal(size=count).astype(np.float32) for name in names}

    monkeypatch.setattr(measuring, "scores_of", compute)
    monkeypatch.setattr(scoring, "write_score", lambda *_: None)
    scored = scoring.run(config(tmp_path, score="loss,all", damping=0.5, rank=3))
    (names, effort) = asked[0]
    assert names[0] == "loss"
    assert sorted(names) == sorted(SCORES)
    assert len(names) >= 11
    assert effort == Effort(2, 5, 10, 0.5, 3)
    assert list(scored.rank_correlation) == list(names)
    with Image.open(tmp_path / "rank_correlation.png") as image:
        assert min(image.size) > 500
    print(scored)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 88


def spearman(a, b):
    """Correlation of mean ranks, the slow way."""
    ranks = [np.array([np.sum(x < v) + np.sum(x == v) / 2 for v in x]) for x in (a, b)]
    return np.corrcoef(*ranks)[0, 1]


def test_a_constant_score_has_no_correlation(tmp_path, monkeypatch, capsys):
    """Nothing is ever forgotten on easy data; that is a result, not an error."""
    count = len(digits().labels)
    found = {"loss": np.arange(count, dtype=np.float32), "el2n": np.zeros(count)}
    monkeypatch.setattr(measuring, "scores_of", lambda *_: found)
    scored = scoring.run(config(tmp_path, score="loss,el2n"))
    assert scored.rank_correlation["loss"]["el2n"] is None
    assert scored.summary == read_json(tmp_path / "summary.json")
    print(scored)
    assert " - " in capsys.readouterr().out


def test_scores_of_other_flags_are_not_replaced(tmp_path, monkeypatch):
    count = len(digits().labels)
    found = {"loss": np.arange(count, dtype=np.float32), "el2n": np.zeros(count)}
    monkeypatch.setattr(
        measuring, "scores_of", lambda *args: {name: found[name] for name in args[3]}
    )
    first = config(tmp_path, score="loss")
    scoring.run(first)
    before = (tmp_path / "scores.npz").read_bytes()
    for name, changes in {
        "scores": {"score": "el2n"},
        "seed": {"seed": 3},
        "effort": {"networks": 3},
        "network": {"width": 4},
    }.items():
        with refused(f"holds scores whose {name} differs: choose another"):
            scoring.run(dataclasses.replace(first, **changes))
    assert (tmp_path / "scores.npz").read_bytes() == before
    scoring.run(first)  # the same again


def test_the_folder_of_a_run_is_refused(finished):
    before = (finished / "summary.json").read_bytes()
    with refused("holds a run of another program", str(finished)):
        scoring.run(config(finished))
    assert (finished / "summary.json").read_bytes() == before


RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (60, 6, 6, 3), dtype=np.uint8)
LABELS = np.arange(60) % 3
SCORES_OF_IMAGES = RNG.normal(size=48).astype(np.float32)


@pytest.fixture
def scored(monkeypatch):
    """Scores by draw instead of by networks."""
    scores = {"el2n": SCORES_OF_IMAGES, "loss": -SCORES_OF_IMAGES}
    monkeypatch.setattr(
        measuring, "scores_of", lambda network, real, seed, names, effort: {
            name: scores[name] for name in names
        },
    )  # fmt: skip
    return jaxdd.difficulty((IMAGES, LABELS), "el2n", net="mlp")


def test_the_easiest_and_hardest_of_every_class(scored):
    easiest, hardest = scored.easiest(4), scored.hardest(3)
    assert easiest.images.shape == (3, 4, 6, 6, 3)
    assert hardest.images.shape == (3, 3, 6, 6, 3)
    train = scored.train
    for k in range(3):
        own = np.sort(scored.scores[train.labels == k])
        np.testing.assert_array_equal(easiest.scores[k], own[:4])
        np.testing.assert_array_equal(hardest.scores[k], own[::-1][:3])
    # Ids are places in the dataset's training array.
    dataset, _ = as_problem_data((IMAGES, LABELS))
    pixels = dataset.images[hardest.ids].astype(np.float32) / 255
    np.testing.assert_array_equal(hardest.images, pixels)
    assert scored.easiest(100).ids.shape == (3, 16)  # all there are
    with pytest.raises(UserError, match="n must be at least 1, not 0"):
        scored.easiest(0)
    with pytest.raises(UserError, match="'loss' is not among el2n"):
        scored.hardest(2, "loss")


def test_scores_are_saved_and_shown(scored, tmp_path):
    path = scored.save(tmp_path / "scores.npz")
    ids = scored.ids[::-1]
    np.testing.assert_array_equal(files.read_scores(path, ids), scored.scores[::-1])
    with pytest.raises(UserError, match="s3://x"):
        scored.save("s3://x")
    page = scored._repr_html_()
    assert page.count("data:image/png;base64,") == 1
    assert f"<td>el2n</td><td>{SCORES_OF_IMAGES.mean():.4g}</td>" in page
    assert repr(scored) == "Difficulty(el2n: 48 samples)"
    both = jaxdd.difficulty((IMAGES, LABELS), ["el2n", "loss"], net="mlp")
    assert "<td>loss</td><td>-1.00</td><td>1.00</td>" in both._repr_html_()
    assert list(both.scores) == ["el2n", "loss"]


def test_scores_of_other_data_are_told(scored, tmp_path):
    """Two data sets of one size: nothing else tells them apart."""
    path = scored.save(tmp_path / "scores.npz")
    part = slice(len(scored.ids))
    data, other = (
        jaxdd.from_arrays(x[part], LABELS[part], IMAGES, LABELS)
        for x in (IMAGES, IMAGES[::-1])
    )
    own = dataclasses.replace(scored, fingerprint=data.fingerprint)
    own.save(path)
    half = np.flatnonzero(np.arange(len(data.labels)) % 4 < 2)
    assert files.of_other_data(path, data) is None
    assert files.of_other_data(path, data.subset(half)) is None
    assert "its fingerprint differs" in str(files.of_other_data(path, other))
    events = []
    jaxdd.prune(other, scores=path, keep=0.5, progress=events.append)
    assert any("has scores of other data" in str(x) for x in events)
    # Files of before do not say what they are of.
    np.savez(path, scores=scored.scores, ids=scored.ids)
    assert files.of_other_data(path, other) is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"score": "hardness"}, "unknown score 'hardness': choose from"),
        ({"score": []}, "score must be a list of names of scores"),
        ({"net": "transformer"}, "transformer"),
        ({"channels": 1}, "about datasets that are read by name"),
        ({"data": "folder:/no/such"}, "does not exist"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_arguments_that_cannot_be_used(arguments, words):
    with refused(words):
        jaxdd.difficulty(**{"data": (IMAGES, LABELS), "net": "mlp", **arguments})


def test_keywords_of_the_function_default_to_the_flags():
    """A value that is left out means the same in both."""
    keywords = inspect.signature(jaxdd.difficulty).parameters
    flags = {f.name: f.default for f in dataclasses.fields(scoring.Config)}
    shared = keywords.keys() & flags.keys()
    assert keywords.keys() - shared == {"data", "progress"}
    assert flags.keys() - shared == {"dataset", "workdir"}
    assert {n: keywords[n].default for n in shared} == {n: flags[n] for n in shared}


@pytest.mark.parametrize(
    ("score", "name", "says"),
    [
        ("el2n", "scores.npz", "is there already and is not a scores.npz"),
        ("el2n,loss", "loss", "loss is no folder"),
    ],
)
def test_files_in_the_way_are_refused_before_networks_are_trained(
    tmp_path, monkeypatch, score, name, says
):
    (tmp_path / name).write_text("mine")
    monkeypatch.setattr(scoring, "compute", None)
    with refused(says):
        scoring.run(scoring.Config(workdir=str(tmp_path), score=score))
    assert (tmp_path / name).read_text() == "mine"


def test_without_a_score_that_is_not_finite_the_command_is_the_same(
    tmp_path, monkeypatch
):
    found = {"loss": np.arange(len(digits().labels), dtype=np.float32)}
    monkeypatch.setattr(measuring, "scores_of", lambda *args: found)
    flags = config(tmp_path, score="loss,el2n")
    assert scoring.run(flags).summary["left_out"] == ["el2n"]
    assert (tmp_path / "loss" / "scores.npz").exists()
    scoring.run(flags)
    with refused("holds scores whose scores differs"):
        scoring.run(dataclasses.replace(flags, score="loss,forgetting"))
