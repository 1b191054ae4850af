"""Who finds sets hard: `jaxdd.probe` and `experiments.probe`."""

import dataclasses
import json

import numpy as np
import pytest

import jaxdd
from experiments.planning import probing as planning
from jaxdd.errors import UserError
from jaxdd.evaluation import probing
from jaxdd.evaluation.probing import STARTS, Config
from jaxdd.scores.probes import Probes
from tests.evaluation.tables import DATA, HARD, OTHER_INPUTS, PROBLEM, artifact

FLAGS = {"probe_kinds": "random,real_early,synthetic", "probes": 2, "probe_steps": 4}


@pytest.fixture(scope="module")
def probed():
    sets = {"mine": HARD, "two": artifact(ipc=2, soft=True)}
    return jaxdd.probe(sets, dataset=DATA, **FLAGS)


def test_a_row_is_what_a_distillation_measures_of_its_set(probed):
    network = jaxdd.make_network("mlp", DATA.image_shape, 3, width=4)
    real = PROBLEM.on_device(PROBLEM.splits.train)
    kinds = tuple(FLAGS["probe_kinds"].split(","))
    measured = Probes(network, real, 0, 2, 4, kinds).measure(HARD.synthetic())
    row = probed.places["mine"]
    assert list(row) == list(kinds) == list(probed.kinds)
    assert row["random"].percentile == pytest.approx(measured["percentile"])
    for kind in kinds[1:]:
        assert row[kind].grad_norm == pytest.approx(measured[f"grad_norm_{kind}"])
        assert row[kind].percentile == pytest.approx(measured[f"percentile_{kind}"])


def test_what_runs_begin_with_stands_beside_the_sets(probed):
    assert list(probed.places) == [*STARTS, "mine", "two"]
    noise, real = (
        probed.places[f"first images: {x}"]["real_early"] for x in ("noise", "real")
    )
    assert noise.grad_norm != real.grad_norm
    text = str(probed).splitlines()
    assert text[0] == "| percentile (GraDN) | random | real_early | synthetic |"
    assert len(text) == 2 + len(probed.places)
    assert "mine" in probed._repr_html_()


def test_the_program_writes_what_the_function_returns(paths, tmp_path, capsys):
    folder = tmp_path / "out"
    config = Config(artifact=paths, workdir=str(folder), **FLAGS)
    plan = str(planning.probe(config))
    assert not folder.exists()
    assert all(f"networks of {kind}" in plan for kind in ("real_early", "synthetic"))
    assert "networks of random" not in plan
    written = probing.run(config)
    stored = json.loads((folder / "probed.json").read_text())
    for row, kinds in stored["places"].items():
        for kind, place in kinds.items():
            assert tuple(place.values()) == pytest.approx(written.places[row][kind])
    assert stored["about"]["sets"]["dm"]["digest"] == HARD.digest
    assert (folder / "table.md").read_text() == f"{written}\n"
    assert (folder / "percentiles.png").stat().st_size > 10_000


def test_a_second_call_reads_and_other_flags_are_refused(paths, tmp_path, monkeypatch):
    flags = {**FLAGS, "probe_kinds": "random,synthetic"}
    config = Config(artifact=paths, workdir=str(tmp_path / "out"), **flags)
    written = probing.run(config)
    monkeypatch.setattr(probing, "measure", None)
    again = probing.run(config)
    assert (again.places, str(again)) == (written.places, str(written))
    before = (tmp_path / "out/probed.json").read_bytes()
    for name, value in {"probes": 3, "seed": 5, "probe_kinds": "random"}.items():
        with pytest.raises(UserError, match=f"whose {name} differs: choose"):
            probing.run(dataclasses.replace(config, **{name: value}))
    assert (tmp_path / "out/probed.json").read_bytes() == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-20],
        lambda text: text.replace('"percentile": ', '"percentile": -'),
        lambda text: text.replace('"random": {', '"late": {'),
    ],
)
def test_a_damaged_table_is_refused(paths, tmp_path, probed, damage):
    probed.write(tmp_path)
    file = tmp_path / "probed.json"
    file.write_text(damage(file.read_text()))
    config = Config(artifact=paths, workdir=str(tmp_path), **FLAGS)
    with pytest.raises(UserError, match="move it away and probe again"):
        probing.run(config)


def refused(paths, tmp_path, **changes):
    given = {"artifact": paths, "workdir": str(tmp_path / "out"), **FLAGS, **changes}
    with pytest.raises(UserError) as error:
        probing.run(Config(**given))
    assert not (tmp_path / "out").exists()
    return str(error.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"probe_kinds": "random,late"}, "'late'"),
        ({"probe_kinds": "random,random"}, "names a kind twice"),
        ({"probes": 0}, "--probes must be positive"),
        ({"seed": -1}, "--seed"),
        ({"precision": "half"}, "--precision"),
    ],
)
def test_bad_flags_are_refused(paths, tmp_path, changes, words):
    assert words in refused(paths, tmp_path, **changes)


def test_sets_that_cannot_share_a_table_are_refused():
    other = artifact(preprocess=OTHER_INPUTS)
    with pytest.raises(UserError, match="different preprocessing"):
        jaxdd.probe({"a": HARD, "b": other}, dataset=DATA, **FLAGS)
    with pytest.raises(UserError, match="is the name of a row"):
        jaxdd.probe({next(iter(STARTS)): HARD}, dataset=DATA, **FLAGS)
    with pytest.raises(UserError, match="the sets come first"):
        jaxdd.probe(HARD, dataset=DATA, workdir="runs")


def test_a_folder_of_a_run_is_left_alone(paths, tmp_path):
    (tmp_path / "run.json").write_text("{}")
    config = Config(artifact=paths, workdir=str(tmp_path), **FLAGS)
    with pytest.raises(UserError, match="holds a run of another program"):
        probing.run(config)
    assert not (tmp_path / "probed.json").exists()


def test_logits_are_measured_as_probabilities():
    logits = np.log(HARD.labels + 1e-6).astype(np.float32)
    soft = artifact(labels=logits, label_space="logits")
    flags = {**FLAGS, "probe_kinds": "random"}
    places = jaxdd.probe({"hard": HARD, "logits": soft}, dataset=DATA, **flags).places
    hard, same = (places[name]["random"].grad_norm for name in ("hard", "logits"))
    assert same == pytest.approx(hard, rel=1e-4)
