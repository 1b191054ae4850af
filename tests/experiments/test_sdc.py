"""`experiments.sdc`: real runs, its claims, tables and plots, and what it refuses."""

import contextlib
import csv
import dataclasses
import io
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from experiments import sdc
from experiments.comparing import sdc_results, shared_banks
from experiments.comparing.groups import Finished, Opened
from experiments.comparing.sdc_rows import Row, chosen_of, sweeps_of
from jaxdd.artifact import file as artifact
from jaxdd.distillation import options
from jaxdd.distillation import run as distill
from jaxdd.errors import UserError
from jaxdd.experts import Bank
from jaxdd.scores.probes import Probes
from tests.experiments import comparisons
from tests.experiments.comparisons import FEW, SHORT, TINY, install
from tests.experiments.helpers import read_json
from tests.helpers import refused

PROBES = {"probes": 2, "probe_steps": 5}
FOLDERS = {
    "dc": "dc-0",
    "dc, weight 1": "dc-weight-1-0",
    "mtt": "mtt-0",
    "mtt, weight 1": "mtt-weight-1-0",
    "mtt, norm path": "mtt-norm-path-0",
}


class Brightness(Probes):
    """In the place of probes, whose training takes longer than the runs here."""

    def __init__(self, *args):
        pass

    def look(self, synthetic):
        self.value = float(jnp.abs(synthetic.images).mean())
        return {}

    def summary(self, seen):
        return {"grad_norm": self.value, "percentile": min(100 * self.value, 100.0)}


def config(workdir, **changes) -> sdc.Config:
    values = {"methods": "dc,mtt", "weights": "0", "norms": "mean,path"}
    values |= {**SHORT, "schedules": "constant", **changes}
    return sdc.Config(workdir=str(workdir), **values)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    flags = config(tmp_path_factory.mktemp("sdc") / "both")
    return comparisons.compared(sdc, flags, Brightness, **PROBES)


def summary_of(folder, row):
    return read_json(folder / FOLDERS[row] / "summary.json")


def test_rows_differ_in_sdc_only(compared):
    folder = compared[0]
    for method in ("dc", "mtt"):
        names = [row for row in FOLDERS if row.split(",")[0] == method]
        values = {row: summary_of(folder, row) for row in names}
        own = ("workdir",)
        rest = [
            {
                k: v
                for k, v in x["config"].items()
                if k not in own and not k.startswith("sdc_")
            }
            for x in values.values()
        ]
        assert all(x == rest[0] for x in rest)
        # The same start and the same bar beside it; experts without a warning.
        starts = [x["difficulty"]["start"] for x in values.values()]
        assert all(x == starts[0] for x in starts)
        # A learned step size is the learning rate of random subsets as well.
        bars = [x["random"]["mean"] for x in values.values()]
        assert method == "mtt" or len(set(bars)) == 1
        assert all(x["warnings"] == [] for x in values.values())
        for row, weight in ((method, 0), (f"{method}, weight 1", 1)):
            assert values[row]["config"]["sdc_weight"] == weight
            assert values[row]["config"].get("sdc_relative", False) == (weight != 0)
    assert summary_of(folder, "mtt, norm path")["config"]["sdc_at"] == "path"


def test_rows_are_added_to_a_comparison(compared, tmp_path):
    """What is finished is read; a row that would be another run is refused."""
    folder, table, _ = compared
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)

    def run(**rows):
        flags = config(copy, **rows)
        return comparisons.compared(sdc, flags, Brightness, **PROBES)[1]

    fewer = run(norms="mean")
    assert fewer["rows"] == [x for x in table["rows"] if "path" not in x["name"]]
    more = run(norms="mean", weights="0,2")["rows"]
    assert [x for x in more if "weight 2" not in x["name"]] == fewer["rows"]
    assert len(more) == len(fewer["rows"]) + 2
    with pytest.raises(UserError, match="sdc_norm is 'mean' there and 'per_sample'"):
        run(norms="per_sample")


def test_one_bank_serves_all_runs(compared):
    folder, _, error = compared
    bank = Bank.open(folder / "experts-mtt").manifest
    assert bank.data["validation"] == 0.0
    rows = [row for row in FOLDERS if row.startswith("mtt")]
    used = {summary_of(folder, row)["config"]["bank"]["manifest"] for row in rows}
    assert used == {bank.digest}
    assert [x.name for x in folder.glob("experts-*")] == ["experts-mtt"]
    assert error.count("experts for mtt") == 1


def test_without_sdc_it_is_the_plain_run(compared, tmp_path):
    folder = compared[0]
    plain = options.Config(
        workdir=str(tmp_path), method="dc", seed=0, steps=3, validation=0.0,
        split_seed=0, eval_epochs=3, num_eval=2, **TINY, **PROBES,
    )  # fmt: skip
    distill.run(plain)
    images = [
        artifact.load(path / "distilled.npz").images
        for path in (tmp_path, folder / "dc-0", folder / "dc-weight-1-0")
    ]
    assert images[0].tobytes() == images[1].tobytes()
    assert images[0].tobytes() != images[2].tobytes()


def test_one_seed_claims_nothing_and_difficulty_is_measured(compared):
    claims = compared[1]["claims"]
    assert [x["claim"] for x in claims] == ["a", "b", "c", "d"] * 2
    *judged, untried = [x["verdict"] for x in claims[:4]]
    assert judged == ["not shown (one seed)"] * 3
    assert untried == "not shown (no weight above the reference)"
    for folder in FOLDERS.values():
        lines = sdc_results.read_measured(compared[0] / folder / "metrics.jsonl")
        assert [x["step"] for x in lines] == [0, 1, 2, 3]


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """(folder, table, finished) of a comparison with runs that take no time."""
    folder, caught = tmp_path_factory.mktemp("sdc") / "quick", []
    flags = config(folder, **FEW, weights="0,4")
    with pytest.MonkeyPatch.context() as patch:
        install(patch)
        finish = sdc.COMPARISON.finish
        remember = lambda _, finished: caught.append(finished) or finish(finished)
        patch.setattr(type(sdc.COMPARISON), "finish", remember)
        with contextlib.redirect_stderr(io.StringIO()):
            table = sdc.run(flags)
    return folder, table, caught[0]


def ends_of(finished: Finished, row: Row, measure: str) -> np.ndarray:
    return np.array([x["difficulty"]["end"][measure] for x in finished.runs[row]])


def test_rows_have_their_difficulty(tables):
    _, table, finished = tables
    for key, row in zip(finished.runs, table["rows"], strict=True):
        norms = ends_of(finished, key, "grad_norm")
        plain = ends_of(finished, Row(key.method), "grad_norm")
        assert row["grad_norm"] == pytest.approx(norms.mean())
        assert row["grad_norm_change"] == pytest.approx((norms - plain).mean())
        assert row["base"] == (key == Row(key.method))
        assert row["method"] == key.method
        assert row["weight"] == (0.0 if row["base"] else key.weight or 1.0)


def test_the_table_has_difficulty_and_claims(tables):
    folder, table, _ = tables
    text = (folder / "table.md").read_text()
    lines = [x for x in text.splitlines() if x.startswith("| ")]
    cells = [[x.strip() for x in line.strip("|").split("|")] for line in lines]
    assert cells[0][4:] == [
        "gain over the plain run", "GraDN", "GraDN, change", "percentile, start → end",
    ]  # fmt: skip
    rows, judged = table["rows"], table["claims"]
    for cell, row in zip(cells[1:], rows, strict=False):
        assert (cell[0], cell[6] == "") == (row["name"], row["base"])
    claims = [(f"({x['claim']})", x["text"], x["verdict"]) for x in judged]
    assert [(x[0], x[1], x[4]) for x in cells[len(rows) + 2 :]] == claims
    assert "Means over 2 seeds of 2 networks each" in text
    assert "mtt: mean norm at the start, constant schedule" in text
    with (folder / "table.csv").open(newline="") as file:
        for line, row in zip(csv.DictReader(file), rows, strict=True):
            for name in ("gain", "weight", "grad_norm_change", "percentile"):
                assert float(line[name]) == row[name]


def test_claims_are_about_the_reference_and_the_largest_weight(tables):
    _, table, finished = tables
    claims = {(x["text"], x["claim"]): x for x in table["claims"]}
    for method in ("dc", "mtt"):
        plain, reference, largest = (
            Row(method), Row(method, weight=1.0), Row(method, weight=4.0),
        )  # fmt: skip
        lowered = claims[f"SDC lowers the gradient norm of {method}'s set", "b"]
        norms = [ends_of(finished, row, "grad_norm") for row in (reference, plain)]
        assert lowered["by_seed"] == pytest.approx(norms[0] - norms[1])
        hurts = claims[f"too large a weight hurts {method}", "d"]
        accuracies = [
            np.array([x["distilled"]["mean"] for x in finished.runs[row]])
            for row in (largest, plain)
        ]
        assert hurts["by_seed"] == pytest.approx(accuracies[0] - accuracies[1])
    assert ("plain dc drifts towards hard samples", "a") in claims
    assert ("plain mtt does not drift towards hard samples", "a") in claims


def test_the_chart_is_of_the_sweep_of_weights(tables):
    _, _, finished = tables
    sweep = sweeps_of(finished.groups)["mtt"]
    assert list(sweep) == ["without SDC", "weight 1", "weight 4"]
    chart = sdc_results.chart(finished, "mtt", sweep, "difficulty_grad_norm")
    lines = [
        sdc_results.read_measured(folder / "metrics.jsonl")
        for folder in finished.folders_of(Row("mtt"))
    ]
    ends = [run[-1]["difficulty_grad_norm"] for run in lines]
    steps, means = chart.series["without SDC"]
    assert steps == [0, 3]
    assert means[-1] == pytest.approx(np.mean(ends))
    assert chart.band["without SDC"][-1] == pytest.approx(np.std(ends))


def test_runs_that_were_measured_at_other_steps_are_named(tables, tmp_path):
    _, _, finished = tables
    for i, folder in enumerate(finished.folders_of(Row("mtt"))):
        copy = tmp_path / folder.name
        copy.mkdir()
        lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
        (copy / "metrics.jsonl").write_text("".join(lines[i:]))
    moved = dataclasses.replace(finished, folder=tmp_path)
    with pytest.raises(UserError, match=r"the runs of mtt in .* were not measured at"):
        sdc_results.chart(moved, "mtt", {"x": Row("mtt")}, "difficulty_grad_norm")


@pytest.fixture(scope="module")
def chosen(tmp_path_factory):
    """(flags, folder, table, data of every run) of weights that were chosen."""
    folder, problems = tmp_path_factory.mktemp("sdc") / "chosen", {}
    flags = config(
        folder, **FEW, weights="-1,1,3", norms="mean,per_sample", validation=0.3
    )
    with pytest.MonkeyPatch.context() as patch:
        runs = install(patch)

        def run(config, problem):
            problems[config.workdir] = problem
            return runs(config, problem)

        patch.setattr(distill, "run", run)
        with contextlib.redirect_stderr(io.StringIO()):
            table = sdc.run(flags)
    return flags, folder, table, problems


def test_weights_are_chosen_on_validation_data(chosen):
    _, folder, table, problems = chosen
    chosen_weights = {}
    for method, selection in table["selection"].items():
        means, names = {}, {"0": method, "1": f"{method}-weight-1"}
        for weight, name in {**names, "3": f"{method}-weight-3"}.items():
            runs = [folder / f"select/{name}-{seed}" for seed in (0, 1)]
            summaries = [read_json(x / "summary.json") for x in runs]
            accuracies = [x["distilled"]["mean"] for x in summaries]
            assert selection["by_weight"][weight] == accuracies
            means[weight] = np.mean(accuracies)
            for place, summary in zip(runs, summaries, strict=True):
                # It was measured on three tenths of train, and saw the others alone.
                assert summary["config"]["validation"] == 0.3
                train, validation, test = problems[str(place)].splits
                sizes = len(train.labels), len(test.labels)
                assert (validation, *sizes) == (None, 1005, 432)
        best = max(("1", "3"), key=means.__getitem__)
        assert f"{selection['chosen']:g}" == best
        assert not (folder / f"select/{method}-weight-minus1-0").exists()
        cells = " | ".join(f"{x:.2f}" for x in means.values())
        assert f"| {method} | {cells} | {best} |\n" in (folder / "table.md").read_text()
        chosen_weights[method] = best
    for method, best in chosen_weights.items():
        # The comparison has all of the training data.
        place = folder / f"{method}-norm-per-sample-0"
        flags = read_json(place / "summary.json")["config"]
        assert (flags["validation"], f"{flags['sdc_weight']:g}") == (0, best)
        assert len(problems[str(place)].splits.train.labels) == 1437
        (raised,) = [
            x for x in table["claims"] if x["claim"] == "c" and method in x["text"]
        ]
        reached = {row["name"]: row["by_seed"] for row in table["rows"]}
        gained = np.subtract(reached[f"{method}, weight {best}"], reached[method])
        assert raised["by_seed"] == pytest.approx(gained)
    notes = (folder / "table.md").read_text()
    named = ", ".join(f"{k} {v}" for k, v in chosen_weights.items())
    assert f"at the reference weight of (b), (c) and (e): {named}. " in notes
    assert "Nothing was selected" not in notes


def test_a_chosen_weight_stays(chosen, capsys, monkeypatch):
    """A second start reads what was chosen; another share is another comparison."""
    flags, _, table, _ = chosen
    runs = install(monkeypatch)
    assert sdc.run(flags) == table
    assert not runs.configs  # all were read
    sdc.show(table)
    assert "Weights chosen on validation data" in capsys.readouterr().out
    with refused("validation is 0.3 there and 0.2 now"):
        sdc.run(dataclasses.replace(flags, validation=0.2))


def test_a_chosen_weight_of_many_digits_is_one_of_the_rows():
    flags = config("x", weights="0.123456789", validation=0.3)
    accuracies = {Row("dc"): [1.0], Row("dc", 0.123456789): [2.0]}
    selection = {"dc": accuracies, "mtt": {Row("mtt", 0.123456789): [1.0]}}
    for group in sdc.groups(sdc.choose(flags, selection)):
        weights = {row.weight for row in group.rows if row.weight}
        assert weights == {0.123456789}


def test_of_equal_weights_the_smallest_is_chosen():
    accuracies = {Row("dc"): [90.0], Row("dc", 3.0): [80.0], Row("dc", 1.0): [80.0]}
    assert chosen_of(accuracies) == 1.0


def test_methods_of_one_recipe_share_their_experts(tmp_path, monkeypatch):
    trained = []
    monkeypatch.setattr(
        shared_banks, "train", lambda *a: trained.append(a) or a[0].workdir
    )
    flags = config(tmp_path, methods="mtt,dsa,datm,tesla", bank_epochs=None)
    groups = sdc.groups(flags)
    # TESLA follows its experts for longer here, so their bank has to be as long.
    base = dataclasses.replace(groups[3].base, max_start=20)
    groups[3] = dataclasses.replace(groups[3], base=base)
    problems = dict.fromkeys(("mtt", "dsa", "datm", "tesla"), "data")
    banks = shared_banks.by_method(Opened(flags, [0], groups, problems, tmp_path))
    assert {row.method: bank for row, bank in banks.items()} == {
        "mtt": f"{tmp_path}/experts-mtt",
        "tesla": f"{tmp_path}/experts-mtt",
        "datm": f"{tmp_path}/experts-datm",
    }
    assert [(x[0].method, x[0].epochs, *x[1:]) for x in trained] == [
        ("tesla", 21, "data", "mtt, tesla"),
        ("datm", 12, "data", "datm"),
    ]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"methods": "dc,dd"}, "unknown 'dd' in --methods: choose from dc, dsa"),
        ({"methods": "dc,dc"}, "--methods names 'dc' twice"),
        ({"methods": "dc,d4a"}, "the method 'd4a' distils in segments"),
        ({"weights": "1,much"}, "--weights must be numbers joined by commas"),
        ({"weights": "2,2.0"}, "--weights names a weight twice: '2,2.0'"),
        ({"weights": "nan"}, "the weights must be finite numbers, not nan"),
        ({"weight": "0"}, "--weight must be positive and finite, not 0"),
        ({"weight": "dc:1"}, "--weight='dc:1' has to name each of dc, mtt once"),
        ({"weight": "dc:1,mtt:much"}, "--weight must be a number, or METHOD:WEIGHT"),
        ({"validation": 0.3, "weight": "1", "weights": "1"}, "leave one of them out"),
        (
            {"validation": 0.3, "weights": "-1,0"},
            "of --weights, and '-1,0' has none",
        ),
        ({"validation": 0.6}, "--validation must be at most 0.5, not 0.6"),
        ({"norms": "path"}, "--norms=path needs trajectories, which --methods=dc"),
        ({"norms": "mean,mean"}, "--norms names 'mean' twice"),
        ({"methods": "dc,dm", "norms": "mean"}, "about experts, and dc, dm have none"),
    ],
    ids=str,
)
def test_bad_input_is_refused_before_anything_is_trained(tmp_path, changes, sentence):
    with refused(sentence):
        sdc.run(config(tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()
