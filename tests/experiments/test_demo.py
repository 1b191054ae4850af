"""`experiments.demo`: its table, on settings that take seconds."""

from functools import partial

import numpy as np
import pytest

from experiments import demo, distill
from experiments.problem import open_problem
from jaxdd.train import Training
from tests.experiments.helpers import SMALL, read_json
from tests.experiments.test_distill import poisoned

KEPT = ("net", "width", "augmentation", "batch_real", "num_eval", "eval_epochs",
        "eval_augmentation", "probes", "probe_steps")  # fmt: skip
TINY = {name: SMALL[name] for name in KEPT}


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """The demo with the small networks and short evaluations of the other tests."""
    config = partial(distill.Config, **TINY, eval_lr=0.3)
    monkeypatch.setattr(demo.distill, "Config", config)
    monkeypatch.setattr(demo, "WHOLE", Training(epochs=1, batch_size=256))


def test_the_table_of_one_weight_and_one_seed(tmp_path, capsys, monkeypatch):
    config = demo.Config(workdir=str(tmp_path), weights="3", seeds="0", steps=3)
    table = demo.run(config)
    assert table == read_json(tmp_path / "table.json")
    assert [set(row) >= {"name", "mean", "std", "n"} for row in table["rows"]] == [
        True
    ] * 4
    random, plain, corrected, whole = table["rows"]
    runs = {n: read_json(tmp_path / f"{n}-0/summary.json") for n in ("plain", "sdc")}
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
        chosen = read_json(tmp_path / f"select-{weight}/summary.json")
        assert table["validation"][weight] == chosen["distilled"]["mean"]
        assert chosen["config"]["validation"] == 0.1
    demo.show(table)
    assert f"{corrected['mean']:.2f}" in capsys.readouterr().out

    # Again: shown, not computed; with another flag nothing old is passed off as new.
    with monkeypatch.context() as patch:
        patch.setattr(demo, "choose_weight", None)
        assert demo.run(config) == table
        with pytest.raises(TypeError):
            demo.run(demo.Config(str(tmp_path), weights="3,4", seeds="0", steps=3))


def test_the_test_split_has_no_part_in_choosing_the_weight(tmp_path, monkeypatch):
    config = demo.Config(steps=20)
    found = demo.choose_weight(config, tmp_path / "a", [30.0])
    problem = open_problem("digits", None, 0.1, 0, False)
    bad = poisoned(problem)
    assert np.abs(bad.dataset.test_images - problem.dataset.test_images).max() > 0.5
    monkeypatch.setattr(demo, "open_problem", lambda *_: bad)
    assert demo.choose_weight(config, tmp_path / "b", [30.0]) == found
