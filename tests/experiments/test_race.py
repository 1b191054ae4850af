"""`experiments.race`: as many seconds for each, one protocol for all."""

import json

import numpy as np
import pytest

from experiments import race
from jaxdd.data import from_arrays
from jaxdd.distillation import options
from jaxdd.distillation import run as distill
from jaxdd.errors import UserError

SMALL = {"dataset": "digits", "width": 4, "num_eval": 1, "eval_epochs": 2}


def config(folder, **changes):
    flags = {"methods": "dm,dc", "seconds": 1.0, "seeds": "0", **SMALL, **changes}
    return race.Config(workdir=str(folder), **flags)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A race whose paces are known: a tenth and a third of a second a step."""
    folder = tmp_path_factory.mktemp("race")
    for name, seconds in (("dm", 0.1), ("dc", 0.3)):
        place = folder / "pilots" / name
        place.mkdir(parents=True)
        (place / "pace.json").write_text(json.dumps({"seconds_per_step": seconds}))
    return folder, race.run(config(folder))


@pytest.mark.slow
def test_every_method_gets_the_same_time(finished):
    folder, summary = finished
    steps = {row["method"]: row["steps"] for row in summary["rows"]}
    assert steps == {"dm": 10, "dc": 3}
    for method, count in steps.items():
        record = json.loads((folder / method / "seed0" / "summary.json").read_text())
        assert record["config"]["steps"] == count
    assert all(len(row["one"]) == len(row["own"]) == 1 for row in summary["rows"])


@pytest.mark.slow
def test_the_table_has_the_best_first_and_random_beside(finished):
    folder, summary = finished
    lines = (folder / "race.md").read_text().splitlines()
    rows = [line.split(" | ")[0].removeprefix("| ") for line in lines[4:]]
    by_accuracy = sorted(summary["rows"], key=lambda row: -row["one"][0])
    assert rows == ["random", *(row["method"] for row in by_accuracy)]
    assert f"{np.mean(summary['random']):.1f}" in lines[4]


def test_a_pilot_that_was_stopped_amid_its_last_steps_is_run_again(
    tmp_path, monkeypatch
):
    """The start that ends it takes no step, and has no pace."""
    flags = {"method": "dm", "workdir": str(tmp_path / "pilot"), "dataset": "digits"}
    pilot, experts = tmp_path / "pilot", tmp_path / "pilot" / "experts"
    experts.mkdir(parents=True)
    (pilot / "checkpoints").mkdir()
    (pilot / "summary.json").write_text("{}")
    paces = iter([0.0, 0.25])

    def run(config, problem):
        pace = next(paces)
        left = {path.name for path in pilot.iterdir()} - {"experts"}
        assert left == (set() if pace else {"checkpoints", "summary.json"})
        assert experts.is_dir()
        return {"seconds_per_step": pace}

    monkeypatch.setattr(distill, "run", run)
    for _ in "ab":  # the second start reads it
        assert race.pace(pilot, options.Config(**flags), None) == 0.25


@pytest.mark.slow
def test_a_finished_race_is_read(finished, monkeypatch):
    folder, summary = finished

    def judge(config, seed, folder, problems, runners):
        for runner in runners:
            runner.one.append(50.0)
        return 10.0

    monkeypatch.setattr(race, "_judge", judge)
    monkeypatch.setattr(distill, "distil", None)  # nothing may be distilled again
    again = race.run(config(folder))
    assert [row["own"] for row in again["rows"]] == [
        row["own"] for row in summary["rows"]
    ]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"methods": "dm,faster"}, "faster"),
        ({"seconds": 0.0}, "--seconds must be positive"),
        ({"num_random": 2}, "--num_random must be at least 5"),
    ],
)
def test_bad_flags_are_one_sentence(tmp_path, changes, sentence):
    with pytest.raises(UserError, match=sentence):
        race.run(config(tmp_path / "new", **changes))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("shape", "network"),
    [((4,), "mlp"), ((16, 2), "convnet1d"), ((8, 8, 1), "convnet")],
)
def test_sets_are_judged_by_the_usual_network_of_their_samples(shape, network):
    samples, labels = np.zeros((6, *shape), np.float32), np.arange(6) % 2
    modality = "sequences" if len(shape) == 2 else None
    pair = samples, labels
    dataset = from_arrays(*pair, *pair, modality=modality)
    assert race.judging_network(dataset, 8)["name"] == network
