"""`experiments.demo`: its table, on settings that take seconds."""

import dataclasses

import numpy as np
import pytest

from experiments import demo
from jaxdd.data.problem import DataFlags, open_problem
from jaxdd.methods.network import NetworkSpec
from jaxdd.training.fit import Training
from tests.experiments.helpers import QUICK, SMALL, read_json
from tests.experiments.test_distill import poisoned

# What the demo itself sets; DM in the place of DSA compiles in a fraction of the time.
OWN = ("workdir", "sdc_weight", "steps", "seed", "dataset")
TINY = {k: v for k, v in {**SMALL, **QUICK}.items() if k not in OWN}


@pytest.fixture(autouse=True, scope="module")
def tiny():
    """The demo with the small networks and short evaluations of the other tests."""
    base_of = demo.base_of
    with pytest.MonkeyPatch.context() as patch:
        tiny = lambda config, **changes: base_of(config, **{**TINY, **changes})
        patch.setattr(demo, "base_of", tiny)
        patch.setattr(demo, "WHOLE", Training(epochs=1, batch_size=256))
        patch.setattr(demo, "NetworkSpec", lambda: NetworkSpec("mlp", 8))
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny, no_probes):
    folder = tmp_path_factory.mktemp("demo")
    config = demo.Config(str(folder), weights="3", seeds="0", steps=3)
    return config, folder, demo.run(config)


def test_the_table_of_one_weight_and_one_seed(finished, capsys):
    _, folder, table = finished
    assert table == read_json(folder / "table.json")
    assert [set(row) >= {"name", "mean", "std", "n"} for row in table["rows"]] == [
        True
    ] * 4
    random, plain, corrected, whole = table["rows"]
    runs = {n: read_json(folder / f"{n}-0/summary.json") for n in ("plain", "sdc")}
    assert plain["mean"] == runs["plain"]["distilled"]["mean"]
    assert corrected["mean"] == runs["sdc"]["distilled"]["mean"]
    assert random["mean"] == runs["plain"]["random"]["mean"]
    assert plain["grad_norm"] == runs["plain"]["difficulty"]["end"]["grad_norm"]
    assert 0 < whole["mean"] <= 100
    assert table["gain"] == [corrected["mean"] - plain["mean"]]
    assert table["sdc_weight"] == 3
    assert runs["sdc"]["config"]["sdc_weight"] == 3
    assert runs["plain"]["config"]["validation"] == 0
    # What the weight was chosen by: runs that did without a tenth of the data.
    for weight in ("0", "3"):
        chosen = read_json(folder / f"select-{weight}/summary.json")
        assert table["validation"][weight] == chosen["distilled"]["mean"]
        assert chosen["config"]["validation"] == 0.1
    demo.show(table)
    assert f"{corrected['mean']:.2f}" in capsys.readouterr().out


def test_a_finished_table_is_shown_for_the_same_flags_only(finished, monkeypatch):
    config, _, table = finished
    monkeypatch.setattr(demo, "choose_weight", None)
    assert demo.run(config) == table
    with pytest.raises(TypeError):  # it starts to compute
        demo.run(dataclasses.replace(config, weights="3,4"))


def test_the_test_split_has_no_part_in_choosing_the_weight(
    finished, tmp_path, monkeypatch
):
    config, _, table = finished
    problem = open_problem(DataFlags(), 0.1, 0)
    bad = poisoned(problem)
    assert np.abs(bad.dataset.test_images - problem.dataset.test_images).max() > 0.5
    monkeypatch.setattr(demo, "open_problem", lambda *_: bad)
    choice = demo.choose_weight(config, tmp_path, [3.0])
    assert choice == (table["sdc_weight"], table["validation"])
