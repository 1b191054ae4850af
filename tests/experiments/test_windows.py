"""FIEX and FIEM on methods without experts: what is left out, and that it really is."""

import dataclasses
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdd
from jaxdd.distillation import opening, options, sorting
from jaxdd.distillation import run as distill
from jaxdd.errors import UserError
from jaxdd.evaluation import run as evaluate
from jaxdd.evaluation.protocol import Measured
from jaxdd.methods.network import network_for
from jaxdd.scoring import api as scoring
from tests.experiments.helpers import (
    PARAMETERS,
    NoProbes,
    assert_same_run,
    measuring,
    read_json,
    scores_file,
    small,
)
from tests.helpers import Killed, die, refused

# A window is in the real data, whatever is matched with them.
METHODS = ("dm", *(pytest.param(x, marks=pytest.mark.slow) for x in ("dc", "dsa")))
SHORT = {
    "sdc_weight": 0.0,
    "steps": 4,
    "num_random": 5,
    "eval_epochs": 1,
    "measure_every": 4,
    "init": "noise",
}


def config(workdir, method="dm", **changes) -> options.Config:
    return small(workdir, **{**SHORT, "method": method, **changes})


NONE = {"mean": 0.0, "std": 0.0, "n": 5}
NOTHING = Measured(NONE, NONE, np.zeros((2, 1), bool), np.zeros(1, int), {})


@pytest.fixture
def unmeasured(monkeypatch):
    """Runs whose images are all that matters."""
    monkeypatch.setattr(distill, "_measure", measuring(NOTHING))
    monkeypatch.setattr(distill, "Probes", NoProbes)


@pytest.fixture(scope="module")
def made():
    return {}


@pytest.fixture
def run(tmp_path_factory, problem, unmeasured, made):
    """(flags) -> workdir of a finished run, each made once."""

    def get(**changes):
        key = tuple(sorted(changes.items()))
        if key not in made:
            made[key] = tmp_path_factory.mktemp("windows") / "run"
            distill.run(config(made[key], **changes), problem)
        return made[key]

    return get


def images(folder) -> np.ndarray:
    return jaxdd.load(folder / "distilled.npz").images


def sizes(problem) -> list[int]:
    return [int(n) for n in np.bincount(problem.splits.train.labels)]


@pytest.mark.parametrize("method", METHODS)
def test_a_window_is_told_and_changes_the_match(run, problem, method, capsys):
    counts = sizes(problem)
    easy, hard = (sum(int(s * n) for n in counts) for s in (0.1, 0.3))
    folder = run(method=method, drop_hardest=0.3, drop_easiest=0.1, score="loss")
    error = capsys.readouterr().err
    told = f"window: {easy + hard} of {sum(counts)} training samples are left out\n"
    assert told in error
    assert error.index(told) < error.index("loss: 5 networks")
    assert np.abs(images(folder) - images(run(method=method))).max() > 1e-4
    values = read_json(folder / "summary.json")["config"]
    assert values["score"] == "loss"
    assert values["curriculum"]["drop_hardest"] == 0.3


def test_nothing_else_of_a_run_depends_on_the_window(problem, tmp_path):
    """The random subsets that stand beside the set, above all."""
    plain, windowed = tmp_path / "plain", tmp_path / "windowed"
    for folder, share in ((plain, None), (windowed, 0.3)):
        asked = config(folder, init="real", steps=1, drop_hardest=share)
        distill.run(asked, problem)
    a, b = (read_json(f / "summary.json") for f in (plain, windowed))
    assert a["random"] == b["random"]
    assert a["difficulty"]["start"] == b["difficulty"]["start"]
    again = evaluate.Config(str(windowed / "distilled.npz"), num_eval=2)
    entry = evaluate.run(again)["mlp"].entry()
    assert entry["distilled"] == b["distilled"]
    assert entry["random"] == b["random"]


@pytest.mark.parametrize("method", METHODS[:2])
def test_what_is_left_out_is_never_matched(problem, tmp_path, method, unmeasured):
    """Other images in the place of those samples change no bit of the set."""
    ids = np.arange(len(problem.dataset.labels))
    path = scores_file(tmp_path / "s.npz", ids, -ids)  # the first ones are the hardest
    train = problem.splits.train
    gone = []
    for k in range(10):
        (members,) = np.nonzero(train.labels == k)
        order = members[np.argsort(train.ids[members])]
        gone += order[: len(order) // 4].tolist()
    changed = train.images.copy()
    changed[gone] = 1 - changed[gone]
    other = dataclasses.replace(
        problem, splits=problem.splits._replace(train=train._replace(images=changed))
    )
    changes = {"method": method, "scores": path, "drop_hardest": 0.25, "steps": 2}
    made = []
    for name, data in (("a", problem), ("b", other)):
        distill.run(config(tmp_path / name, **changes), data)
        made.append(images(tmp_path / name))
    np.testing.assert_array_equal(*made)
    if method == "dm":  # at the other end of the order they would matter
        easiest = {**changes, "drop_hardest": None, "drop_easiest": 0.25}
        distill.run(config(tmp_path / "c", **easiest), other)
        assert not np.array_equal(images(tmp_path / "c"), made[0])


def test_scores_from_a_file_are_the_same_as_the_runs_own(problem, tmp_path, run):
    """`experiments.difficulty` scores all of train; the run takes its own part."""
    asked = scoring.Config(
        workdir=str(tmp_path / "scores"), score="el2n", net="mlp", width=8,
        networks=5, validation=0.1,
    )  # fmt: skip
    scoring.run(asked)
    path = tmp_path / "scores" / "scores.npz"
    own = run(drop_hardest=0.3)
    with np.load(path) as given, np.load(own / "scores.npz") as kept:
        np.testing.assert_array_equal(given["ids"], kept["ids"])
        np.testing.assert_array_equal(given["scores"], kept["scores"])
        shuffled = np.random.default_rng(0).permutation(len(kept["ids"]))
        mixed = scores_file(
            tmp_path / "mixed.npz", kept["ids"][shuffled], kept["scores"][shuffled]
        )
    distill.run(config(tmp_path / "run", scores=mixed, drop_hardest=0.3), problem)
    np.testing.assert_array_equal(images(tmp_path / "run"), images(own))
    assert read_json(tmp_path / "run" / "summary.json")["config"]["score"] is None


def test_a_run_goes_on_with_the_scores_in_its_folder(
    problem, tmp_path, monkeypatch, run
):
    whole = run(drop_hardest=0.3)
    distill.run(config(tmp_path, drop_hardest=0.3, steps=2), problem)
    monkeypatch.setattr(sorting, "compute", die)
    summary = distill.run(config(tmp_path, drop_hardest=0.3), problem)
    assert summary["resumed_at"] == [2]
    assert_same_run(tmp_path, whole)


def test_scores_that_changed_meanwhile_are_refused(
    problem, tmp_path, unmeasured, monkeypatch
):
    ids = problem.splits.train.ids
    path = scores_file(tmp_path / "s.npz", ids, ids)
    changes = {"scores": path, "drop_hardest": 0.3}
    distill.run(config(tmp_path / "run", **changes, steps=1), problem)
    moved = shutil.copy(path, tmp_path / "moved.npz")  # what is in it counts
    with monkeypatch.context() as patch:
        patch.setattr(distill, "distil", die)
        asked = {**changes, "scores": str(moved), "steps": 1}
        distill.run(config(tmp_path / "run", **asked), problem)
    scores_file(path, ids, -ids)
    with pytest.raises(UserError, match=r"is not what .* was begun with"):
        distill.run(config(tmp_path / "run", **changes, steps=1), problem)
    with pytest.raises(UserError, match=r"is not what .* was begun with"):
        distill.run(config(tmp_path / "run", **changes, steps=2), problem)


# What stands in a file of scores, of the training samples' ids, and the refusal.
BAD = {
    "absent": (None, "the scores .*s.npz does not exist: .*experiments.difficulty"),
    "text": (None, "the scores .*no .npz archive.*experiments.difficulty"),
    "other arrays": (lambda ids: {"images": ids}, "the scores .*no array 'scores'"),
    "nan": (
        lambda ids: {"scores": np.where(ids == ids[3], np.nan, 1), "ids": ids},
        "does not hold one finite score per id",
    ),
    "twice": (
        lambda ids: {"scores": 1.0 * ids, "ids": np.where(ids == ids[0], ids[1], ids)},
        "does not hold one finite score per id",
    ),
    "lengths": (
        lambda ids: {"scores": 1.0 * ids[1:], "ids": ids},
        "does not hold one score per id",
    ),
    "other data": (
        lambda ids: {"scores": 1.0 * ids[:-2], "ids": ids[:-2]},
        "no score for 2 training samples, such as number",
    ),
    "empty": (
        lambda ids: {"scores": 1.0 * ids[:0], "ids": ids[:0]},
        "does not hold one score per id",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_wrong_scores_are_refused_in_a_sentence(problem, tmp_path, kind):
    path, (arrays, told) = tmp_path / "s.npz", BAD[kind]
    if kind == "text":
        path.write_text("scores")
    elif arrays is not None:
        np.savez(path, **arrays(problem.splits.train.ids))
    asked = config(tmp_path / "run", scores=str(path), drop_hardest=0.3)
    with refused(told, str(path)):
        distill.run(asked, problem)
    assert not (tmp_path / "run").exists()


def features_of(problem) -> list[int]:
    """How many features each block of the network has."""
    network = network_for(problem.dataset, {"name": "mlp", "width": 8}, "float32")
    params, stats = network.init(jax.random.key(0))
    image = jnp.zeros((1, *problem.dataset.image_shape))
    outputs, _ = network.apply(params, stats, image, False)
    return [x.shape[1] for x in outputs.features]


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("dm", "depth"),
        pytest.param("dc", "loss", marks=pytest.mark.slow),
        pytest.param("dm", "loss", marks=pytest.mark.slow),
        pytest.param("dc", "depth", marks=pytest.mark.slow),
    ],
)
def test_a_mask_is_told_and_changes_the_match(run, problem, method, kind, capsys):
    changes = {"method": method}
    total = PARAMETERS
    if method == "dm":
        changes["features"] = "all"
        total = sum(features_of(problem))
    masked = run(**changes, mask=kind, mask_ratio=0.25)
    error = capsys.readouterr().err
    dropped = int(0.25 * total)
    if kind == "loss":
        told = f"mask: the {dropped} of {total} entries with the smallest error\n"
        assert told in error
    else:
        parts = re.search(
            rf"mask: {dropped} of {total} entries are left out \((.*)\)\n", error
        )
        found = re.findall(r"(block0\S*) (\d+)/\d+", parts[1])
        assert sum(int(n) for _, n in found) == dropped  # the shallowest block alone
    assert np.abs(images(masked) - images(run(**changes))).max() > 1e-5


def test_a_mask_of_layers_drops_whole_layers(problem, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(opening, "Job", die)
    changes = {"mask": "depth", "mask_ratio": 0.9, "mask_granularity": "layer"}
    with pytest.raises(Killed):
        distill.run(config(tmp_path, "dc", **changes), problem)
    told = capsys.readouterr().err
    assert "mask: 592 of 682 entries are left out" in told  # all but the head
    assert "head" not in told
    changes["mask_ratio"] = 0.5
    for wrong, sentence in (
        (changes, "drops no whole layer"),
        ({"mask": "depth", "mask_ratio": 1e-6}, "drops none of 682 entries"),
        ({"drop_hardest": 0.0001}, "leaves out none of them"),
    ):
        with pytest.raises(UserError, match=sentence):
            distill.run(config(tmp_path / "run", "dc", **wrong), problem)
    assert not (tmp_path / "run").exists()
