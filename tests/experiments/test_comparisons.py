"""What every comparison does: it reads, goes on, refuses, and shows its table.

Runs, banks and cells take no time here; each program has tests with real ones.
"""

import contextlib
import csv
import dataclasses
import io
import json
import shutil

import numpy as np
import pytest

from experiments import sdc
from experiments.comparing import comparison
from experiments.comparing.flags import ComparisonFlags, RunFlags, base_of
from jaxdd import report
from jaxdd.distillation import options
from jaxdd.distillation import run as distill
from jaxdd.errors import Diverged, UserError
from jaxdd.progress import listening
from jaxdd.report import pictures
from tests.experiments.comparisons import (
    CASES,
    FEW,
    TOY,
    FastRuns,
    ToyConfig,
    install,
    touch,
)
from tests.experiments.helpers import (
    busy,
    killed_before_every_record,
    read_json,
    records,
    without_records,
)
from tests.helpers import Killed, refused

TABLES = {name: case for name, case in CASES.items() if case.result == "table.json"}
PAIRED = {name: case for name, case in TABLES.items() if name != "demo"}
# Whose records are written by code of their own; the others are paired as the toy is.
OWN = ("toy", "d4a", "matrix", "demo")


@pytest.fixture(autouse=True)
def runs(monkeypatch) -> FastRuns:
    monkeypatch.setattr(comparison, "draw", touch)
    return install(monkeypatch)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(name) -> (folder, result, runs, standard error) of a finished comparison."""
    known: dict = {}

    def finish(name):
        if name not in known:
            folder = tmp_path_factory.mktemp("comparison") / "run"
            with pytest.MonkeyPatch.context() as patch:
                runs = install(patch)
                patch.setattr(comparison, "draw", pictures.draw)
                with (
                    contextlib.redirect_stderr(io.StringIO()) as error,
                    listening(report.bar),
                ):
                    result = CASES[name].run(CASES[name].config(folder))
            known[name] = folder, result, runs, error.getvalue()
        return known[name]

    return finish


@pytest.mark.parametrize("name", CASES)
def test_the_result_is_in_the_file(finished, name):
    folder, result, runs, error = finished(name)
    case = CASES[name]
    assert result == json.loads((folder / case.result).read_text())
    assert list(runs.configs) == case.runs
    assert runs.read == []
    assert str(folder) in error


@pytest.mark.parametrize("name", CASES)
def test_a_second_call_only_reads(finished, runs, name, capsys):
    folder, result, _, _ = finished(name)
    case, before = CASES[name], records(folder)
    again = case.run(case.config(folder))
    assert again == result
    assert runs.configs == {}
    assert records(folder) == before
    capsys.readouterr()
    case.show(again)
    shown = capsys.readouterr().out
    assert all(row in shown for row in case.rows)


@pytest.mark.parametrize("name", PAIRED)
def test_a_flag_that_a_version_did_not_have_stands_for_its_default(
    finished, runs, name, tmp_path
):
    folder = tmp_path / "run"
    shutil.copytree(finished(name)[0], folder)
    path = folder / "run.json"
    values = json.loads(path.read_text())
    values["config"].pop("probe_kinds")
    path.write_text(json.dumps(values))
    again = CASES[name].run(CASES[name].config(folder))
    assert again["rows"] == finished(name)[1]["rows"]
    assert runs.configs == {}


@pytest.mark.parametrize("name", [name for name, x in CASES.items() if x.others])
def test_other_flags_are_refused(finished, runs, name):
    folder = finished(name)[0]
    case, before = CASES[name], records(folder)
    changes, sentence = case.others
    asked = case.config(folder)
    with pytest.raises(UserError, match=sentence):
        case.run(type(asked)(**{**vars(asked), **changes}))
    assert records(folder) == before
    assert (runs.configs, runs.read) == ({}, [])


@pytest.mark.parametrize("name", OWN)
def test_stopped_between_two_runs_it_continues(
    finished, runs, tmp_path, monkeypatch, name
):
    case, begun = CASES[name], []

    def stop(config, problem):
        begun.append(config)
        if len(begun) == 3:
            raise Killed
        return runs(config, problem)

    asked = case.config(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(distill, "run", stop)
        with pytest.raises(Killed):
            case.run(asked)
    assert list(runs.configs) == case.runs[:2]
    assert not (tmp_path / case.result).exists()
    case.run(asked)
    assert list(runs.configs) == case.runs  # every one of them once
    assert records(tmp_path) == records(finished(name)[0])


@pytest.mark.parametrize("name", OWN)
def test_stopped_before_any_record_it_continues(
    finished, runs, tmp_path, monkeypatch, name
):
    case, original = CASES[name], finished(name)[0]
    copy = without_records(original, tmp_path / "copy")
    start = lambda: case.run(case.config(copy))
    kills = killed_before_every_record(monkeypatch, copy, start)
    assert kills == case.kills
    assert records(copy) == records(original)
    assert runs.configs == {}


@pytest.mark.parametrize("name", OWN)
def test_a_run_that_is_live_elsewhere_ends_it(finished, runs, tmp_path, name):
    case = CASES[name]
    copy = without_records(finished(name)[0], tmp_path / "copy")
    with busy(copy / case.runs[-1]), pytest.raises(UserError, match="another live run"):
        case.run(case.config(copy))
    assert not (copy / case.result).exists()


@pytest.mark.parametrize("name", CASES)
def test_runs_differ_only_in_what_their_row_says(finished, name):
    case, configs = CASES[name], finished(name)[2].configs
    if name == "demo":  # the weight is chosen without a tenth of the data
        configs = {k: v for k, v in configs.items() if not k.startswith("select")}
    groups: dict = {}
    for config in configs.values():
        groups.setdefault((config["method"], config["seed"]), []).append(config)
    differ = {
        flag
        for group in groups.values()
        for flag in group[0]
        if len({repr(config[flag]) for config in group}) > 1
    }
    assert differ == {*case.differ, "workdir"}
    assert all(config["validation"] == 0.0 for config in configs.values())


@pytest.mark.parametrize("name", PAIRED)
def test_the_table_is_that_of_the_runs(finished, name):
    folder, table, _, error = finished(name)
    case = CASES[name]
    assert [row["name"] for row in table["rows"]] == case.rows
    folders = dict(zip(case.rows, rows_of(case.runs), strict=True))
    for row in table["rows"]:
        summaries = [
            read_json(folder / x / "summary.json") for x in folders[row["name"]]
        ]
        assert row["by_seed"] == [x["distilled"]["mean"] for x in summaries]
        assert row["n"] == 4
        assert row["random"] == 50.5
        assert not row["base"] or row["gain"] == 0.0
    assert f"{case.rows[-1]}, seed 1" in error
    text = (folder / "table.md").read_text()
    for row in table["rows"]:
        line = next(x for x in text.splitlines() if x.startswith(f"| {row['name']} |"))
        cells = [x.strip() for x in line.strip("|").split("|")]
        assert cells[1] == f"{row['mean']:.2f} ± {row['std']:.2f}"
        gain = f"{row['gain']:+.2f} ± {row['interval']:.2f}"
        assert cells[4] == ("" if row["base"] else gain)
    with (folder / "table.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [x["name"] for x in lines] == case.rows
    for line, row in zip(lines, table["rows"], strict=True):
        for field in ("mean", "gain", "interval"):
            assert float(line[field]) == row[field]


def rows_of(runs):
    """[[folders of a row, by seed]], in the order of the table."""
    names = dict.fromkeys(x.rpartition("-")[0] for x in runs)
    return [[f"{name}-{seed}" for seed in (0, 1)] for name in names]


@pytest.mark.parametrize("name", PAIRED)
def test_every_plot_is_drawn(finished, name):
    folder, _, _, error = finished(name)
    assert "is left out" not in error
    plots = {"toy": 1, "sdc": 3, "d4a": 3}.get(name, 1)
    assert len(list(folder.glob("*.png"))) == plots


def test_what_a_program_adds_and_more_steps(finished, tmp_path, runs):
    folder, table, _, _ = finished("toy")
    assert [row["rate"] for row in table["rows"]] == [0.1, 0.2]
    assert table["largest"] == 0.2
    text = (folder / "table.md").read_text()
    assert text.startswith("# DSA on digits, 1 per class\n")
    assert text.endswith("The second rate is 2 times the first.\n")
    assert TOY.text(table) == text
    # Where the program does not say that they make another comparison.
    copy = tmp_path / "copy"
    table = TOY.run(ToyConfig(workdir=str(copy), seeds="0", steps=2))
    more = TOY.run(ToyConfig(workdir=str(copy), seeds="0", steps=5))
    assert (table["config"]["steps"], more["config"]["steps"]) == (2, 5)


def test_seeds_are_added_to_a_comparison(tmp_path):
    """What is finished is read; the table has the seeds that were asked for."""
    first, both = (
        TOY.run(ToyConfig(workdir=str(tmp_path), seeds=seeds, steps=2))
        for seeds in ("1", "0,1")
    )
    for row, wider in zip(first["rows"], both["rows"], strict=True):
        assert row["by_seed"] == wider["by_seed"][1:]


def test_a_run_that_diverges_is_named_and_the_others_are_kept(
    tmp_path, runs, monkeypatch
):
    """Without it the same command goes on; its remedy is not that of a single run."""

    def diverging(config, problem):
        if config.method == "mtt":
            raise Diverged("the loss of step 4 is not finite", "lower --image_lr")
        return runs(config, problem)

    monkeypatch.setattr(distill, "run", diverging)
    flags = {**FEW, "weights": "0", "norms": "mean", "schedules": "constant"}
    both = sdc.Config(
        workdir=str(tmp_path / "x"), methods="dc,mtt", num_experts=2, **flags
    )
    sentence = "mtt cannot be run with seed 0, since the loss of step 4 is not finite:"
    with refused(sentence) as caught:
        sdc.run(both)
    assert "--image_lr" not in str(caught.value)
    finished = list(runs.configs)
    table = sdc.run(dataclasses.replace(both, methods="dc", num_experts=None))
    assert [row["name"] for row in table["rows"]] == ["dc", "dc, weight 1"]
    assert list(runs.configs) == finished  # they were read


def test_one_seed_has_no_interval(tmp_path):
    table = TOY.run(ToyConfig(workdir=str(tmp_path), seeds="3", steps=2))
    assert [row["interval"] for row in table["rows"]] == [None, None]
    assert "±" not in TOY.text(table).splitlines()[5].split("|")[5]
    with (tmp_path / "table.csv").open(newline="") as file:
        assert [x["interval"] for x in csv.DictReader(file)] == ["", ""]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"seeds": "0,x"}, "--seeds must be numbers joined by commas, not '0,x'"),
        ({"seeds": "1,1"}, "--seeds names a seed twice"),
        ({"seeds": "0,-1"}, "--seeds must lie between 0 .* not -1"),
        ({"ipc": 1000}, "1000"),
        ({"factor": 0.0}, "--image_lr must be positive"),
        *(({name: 5}, f"--{name} is about experts, and dsa has none: leave it out")
          for name in ("num_experts", "bank_epochs", "max_start", "student_steps")),
    ],
    ids=str,
)  # fmt: skip
def test_bad_input_is_refused_before_anything_is_written(
    tmp_path, runs, changes, sentence
):
    with refused(sentence):
        TOY.run(ToyConfig(workdir=str(tmp_path / "run"), **changes))
    assert not (tmp_path / "run").exists()
    assert runs.configs == {}


def test_flags_of_runs():
    config = ComparisonFlags(workdir="w", max_start=4, student_steps=7, steps=5)
    base = base_of(config, "mtt")
    assert (base.max_start, base.student_steps, base.steps) == (4, 7, 5)
    base = base_of(config, "dm", width=3)
    assert (base.max_start, base.student_steps, base.width) == (None, None, 3)
    names = {field.name for field in dataclasses.fields(RunFlags)}
    assert names <= {field.name for field in dataclasses.fields(options.Config)}


def test_data_that_a_later_method_does_not_take_are_refused_first(tmp_path):
    """DataDAM compares the maps of two blocks, and there is one."""
    small = tmp_path / "small.npz"
    np.savez(small, images=np.zeros((60, 4, 4, 1), np.uint8), labels=np.arange(60) % 3)
    flags = {"dataset": f"npz:{small}", "seeds": "0"}
    with refused("at least two blocks"):
        sdc.run(sdc.Config(workdir=str(tmp_path / "w"), methods="dm,datadam", **flags))
    assert not (tmp_path / "w").exists()
