"""`--plan` of scores and of an index by score."""

import dataclasses

import numpy as np
import pytest

from experiments.planning import scores, scoring
from experiments.planning.programs import Fitted, Memory
from experiments.planning.room import Room
from experiments.planning.scores import Scoring, Sorting
from jaxdd.errors import UserError
from jaxdd.scores.table import Effort
from jaxdd.scoring import api as scoring_run
from jaxdd.scoring import pruning
from tests.helpers import refused

FITTED = Fitted(2, 0.5, 0.0, 1.0, Memory(100, 20, 3), None)
FLAGS = {"net": "mlp", "width": 4, "networks": 3, "train_steps": 5}


def difficulty(folder, **changes):
    return scoring_run.Config(workdir=str(folder), **{**FLAGS, **changes})


def prune(folder, **changes):
    out = str(folder / "index.json")
    given = {"out": out, "keep": 0.5, "balanced": True, **FLAGS, **changes}
    return pruning.Config(**given)


@pytest.fixture
def stubbed(monkeypatch):
    """Costs that are known, so that only their sums are made here."""
    cost = lambda network, real, seed, names, effort: Scoring(
        FITTED, 4.0, {name: Sorting(2.0, 7.0) for name in names}
    )
    monkeypatch.setattr(scoring, "scoring_cost", cost)


def test_scores_are_timed_and_nothing_is_written(tmp_path):
    folder = tmp_path / "new" / "run"
    plan = scoring.difficulty(difficulty(folder, score="el2n"))
    assert list(tmp_path.iterdir()) == []
    expected = {"data", "training of networks", "score el2n", "compilation"}
    assert set(plan.seconds) == expected
    assert all(x >= 0 for x in plan.seconds.values())
    assert 0 < plan.total_seconds < 300
    assert min(part.amount for part in plan.device) > 0
    assert plan.advice == []
    assert "score el2n" in str(plan)


def test_networks_that_a_score_does_without_take_no_time(monkeypatch):
    monkeypatch.setattr(scores, "fit_cost", lambda *_, **__: FITTED)
    monkeypatch.setattr(scores, "_score_cost", lambda *_: Sorting(1.0, 7.0))
    real = type("Real", (), {"labels": np.zeros(640)})()

    def cost(*names):
        return scores.scoring_cost(None, real, 0, names, Effort(networks=3))

    # Two groups of networks, a hundred steps, ten of them an epoch.
    assert cost("el2n", "forgetting").training == 2 * 100 * 0.5 / 10
    assert cost("forgetting").training == 0
    assert scores.sorting_cost(None, real, 0, "el2n") == Sorting(
        1.0 + FITTED.compile_seconds, 7.0 + 3 * 100 * 0.5 / 10
    )


def test_sums_and_disk(stubbed, tmp_path):
    plan = scoring.difficulty(difficulty(tmp_path / "a", score="el2n,loss"))
    assert plan.seconds["training of networks"] == 4.0
    assert plan.seconds["score loss"] == 7.0
    assert plan.seconds["compilation"] >= 2 * 2.0 + FITTED.compile_seconds
    scored = np.zeros(1437, np.float32)
    np.savez(tmp_path / "scores.npz", scores=scored, ids=np.arange(1437))
    written = 2 * (tmp_path / "scores.npz").stat().st_size
    assert 0.9 * written < plan.disk[0].amount < 1.1 * written


def test_an_index_and_its_size(stubbed, tmp_path):
    config = prune(tmp_path / "a", score="el2n")
    plan = scoring.prune(config)
    assert not (tmp_path / "a").exists()
    assert "0.5 of digits by el2n" in plan.title
    pruning.run(config)
    disk = {part.name: part.amount for part in plan.disk}
    for name, file in (("index", "index.json"), ("picture", "index.png")):
        written = (tmp_path / "a" / file).stat().st_size
        assert written / 3 < disk[name] < 3 * written


def test_images_that_are_not_decoded_and_another_disk_for_them(stubbed, tmp_path):
    config = difficulty(tmp_path / "a", stream="always")
    roomy = 10**15
    size = 1797 * (64 * 4 + 4)
    plan = scoring.difficulty(config, Room(roomy, roomy, size))
    assert list(tmp_path.iterdir()) == []
    assert {part.name: part.amount for part in plan.disk}["decoded digits"] == size
    assert plan.seconds["decoding digits"] > 0
    (told,) = plan.advice
    assert told.startswith("disk: ")
    assert "JAXDD_CACHE on a larger disk or a smaller --image_size" in told
    assert any("digits are not decoded yet" in x for x in plan.notes)
    other = scoring.difficulty(config, Room(roomy, roomy, size, size - 1))
    (told,) = other.advice
    assert told.startswith("disk of JAXDD_CACHE: ")
    assert "--stream=never" in told
    assert "decoded digits" not in {part.name for part in other.disk}
    assert "disk of JAXDD_CACHE\n  decoded digits" in str(other)
    roomier = dataclasses.replace(other, advice=[], cache=[])
    assert "disk of JAXDD_CACHE" not in str(roomier)


@pytest.mark.parametrize(
    ("program", "changes"),
    [
        ("difficulty", {"score": "hardness"}),
        ("difficulty", {"networks": 0}),
        ("prune", {"score": "el2n", "scores": "scores.npz"}),
        ("prune", {"score": "el2n,loss"}),
        ("prune", {"out": "index.png"}),
        ("prune", {"keep": 1.5}),
    ],
)
def test_a_refusal_is_that_of_the_run(program, changes, tmp_path):
    config = {"difficulty": difficulty, "prune": prune}[program](tmp_path, **changes)
    run = {"difficulty": scoring_run.run, "prune": pruning.run}[program]
    sentences = []
    for verb in (run, getattr(scoring, program)):
        with pytest.raises(UserError) as error:
            verb(config)
        sentences.append(str(error.value))
    assert sentences[0] == sentences[1]


def test_what_measures_nothing_has_no_plan(tmp_path):
    with refused("--scores reads one"):
        scoring.prune(prune(tmp_path, scores="scores.npz"))
    (tmp_path / "run.json").write_text("{}")
    with refused("holds a run of another program"):
        scoring.difficulty(difficulty(tmp_path))
