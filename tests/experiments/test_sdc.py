"""`experiments.sdc`: rows and claims in paired seeds, their tables, plots, refusals."""

import contextlib
import csv
import dataclasses
import io
import json

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from experiments import sdc
from experiments.comparing import pairs, sdc_results, shared_banks
from jaxdd.artifact import file as artifact
from jaxdd.distillation import experts
from jaxdd.distillation import run as distill
from jaxdd.errors import UserError
from jaxdd.experts import Bank
from jaxdd.methods import presets
from jaxdd.scores.probes import Probes
from tests.experiments.helpers import assert_goes_on, read_json
from tests.helpers import Killed, die

# What `sdc` has no flags for, since its comparison is at the field's own network.
TINY = {
    "net": "mlp",
    "width": 8,
    "augmentation": "none",
    "eval_augmentation": "none",
    "probes": 2,
    "probe_steps": 5,
}
SLUGS = {
    "dc": "dc",
    "dc, weight 1": "dc-weight-1",
    "mtt": "mtt",
    "mtt, weight 1": "mtt-weight-1",
    "mtt, norm path": "mtt-norm-path",
}
ROWS = list(SLUGS)


class Brightness(Probes):
    """In the place of probes, whose training takes longer than the runs here."""

    def __init__(self, *args):
        pass

    def measure(self, synthetic):
        value = float(jnp.abs(synthetic.images).mean())
        return {"grad_norm": value, "percentile": min(100 * value, 100.0)}


@pytest.fixture(scope="module", autouse=True)
def tiny():
    """A network that compiles quickly, for runs and experts alike, and no probes."""
    base = sdc._base
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sdc, "_base", lambda *a: dataclasses.replace(base(*a), **TINY))
        patch.setattr(distill, "Probes", Brightness)
        yield


def config(workdir, **changes) -> sdc.Config:
    values = {
        "methods": "dc,mtt",
        "seeds": "0,1",
        "weights": "0",
        "norms": "mean,path",
        "schedules": "constant",
        "steps": 3,
        "num_experts": 2,
        "bank_epochs": 7,
        "student_steps": 2,
        "eval_epochs": 3,
        "num_eval": 2,
    }
    return sdc.Config(workdir=str(workdir), **{**values, **changes})


def matching(workdir, **changes) -> sdc.Config:
    """Without experts."""
    none = dict.fromkeys(sdc.OF_EXPERTS)
    return config(workdir, **{**none, "methods": "dm", "norms": "mean", **changes})


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """(folder, table, standard error) of a finished comparison."""
    folder = tmp_path_factory.mktemp("sdc") / "both"
    with contextlib.redirect_stderr(io.StringIO()) as error:
        table = sdc.run(config(folder))
    return folder, table, error.getvalue()


def summary_of(folder, row, seed):
    return read_json(folder / f"{SLUGS[row]}-{seed}" / "summary.json")


def test_rows_differ_in_sdc_only(compared):
    folder = compared[0]
    for method, seed in (("dc", 0), ("mtt", 1)):
        names = [row for row in ROWS if row.split(",")[0] == method]
        values = {row: summary_of(folder, row, seed) for row in names}
        own = ("workdir", "sdc_weight", "sdc_at", "sdc_relative", "sdc_horizon")
        rest = [
            {k: v for k, v in x["config"].items() if k not in own}
            for x in values.values()
        ]
        assert all(x == rest[0] for x in rest)
        assert (rest[0]["seed"], rest[0]["validation"]) == (seed, 0.0)
        # The same start and the same bar beside it; experts without a warning.
        starts = [x["difficulty"]["start"] for x in values.values()]
        assert all(x == starts[0] for x in starts)
        # A learned step size is the learning rate of random subsets as well.
        bars = [x["random"]["mean"] for x in values.values()]
        assert method == "mtt" or len(set(bars)) == 1
        assert all(x["warnings"] == [] for x in values.values())
        for row, weight in ((method, 0), (f"{method}, weight 1", 1)):
            assert values[row]["config"]["sdc_weight"] == weight
            assert values[row]["config"]["sdc_relative"] == (weight != 0)
    assert summary_of(folder, "mtt, norm path", 0)["config"]["sdc_at"] == "path"


def test_one_bank_serves_all_runs(compared):
    folder, _, error = compared
    bank = Bank.open(folder / "experts-mtt").manifest
    assert bank.data["validation"] == 0.0
    used = {
        summary_of(folder, row, seed)["config"]["bank"]["manifest"]
        for row in ROWS
        if row.startswith("mtt")
        for seed in (0, 1)
    }
    assert used == {bank.digest}
    assert [x.name for x in folder.glob("experts-*")] == ["experts-mtt"]
    assert error.count("experts for mtt") == 1


def test_without_sdc_it_is_the_plain_run(compared, tmp_path):
    folder = compared[0]
    plain = distill.Config(
        workdir=str(tmp_path), method="dc", seed=0, steps=3, validation=0.0,
        split_seed=0, eval_epochs=3, num_eval=2, **TINY,
    )  # fmt: skip
    distill.run(plain)
    images = [
        artifact.load(path / "distilled.npz").images
        for path in (tmp_path, folder / "dc-0", folder / "dc-weight-1-0")
    ]
    assert images[0].tobytes() == images[1].tobytes()
    assert images[0].tobytes() != images[2].tobytes()


def test_the_table_is_that_of_the_runs(compared):
    folder, table, error = compared
    assert table == read_json(folder / "table.json")
    assert [row["name"] for row in table["rows"]] == ROWS
    for row in table["rows"]:
        runs = [summary_of(folder, row["name"], seed) for seed in (0, 1)]
        plain = [summary_of(folder, row["method"], seed) for seed in (0, 1)]
        reached, before = (
            [x["distilled"]["mean"] for x in found] for found in (runs, plain)
        )
        assert row["by_seed"] == reached
        assert row["gain"] == pytest.approx(np.mean(reached) - np.mean(before))
        norms, usual = (
            np.array([x["difficulty"]["end"]["grad_norm"] for x in found])
            for found in (runs, plain)
        )
        assert row["grad_norm"] == pytest.approx(norms.mean())
        assert row["grad_norm_change"] == pytest.approx((norms - usual).mean())
        assert row["base"] == (row["name"] in ("dc", "mtt"))
    assert "[4/4] dc, weight 1, seed 1" in error
    assert "[6/6] mtt, norm path, seed 1" in error

    text = (folder / "table.md").read_text()
    lines = [x for x in text.splitlines() if x.startswith("| ")]
    cells = [[x.strip() for x in line.strip("|").split("|")] for line in lines]
    assert cells[0][4:] == [
        "gain over the plain run", "GraDN", "GraDN, change", "percentile, start → end",
    ]  # fmt: skip
    for found, row in zip(cells[1:6], table["rows"], strict=True):
        assert found[0] == row["name"]
        assert found[1] == f"{row['mean']:.2f} ± {row['std']:.2f}"
        assert found[4] == pairs.gain_text(row)
        assert (found[6] == "") == row["base"]
    judged = [(f"({x['claim']})", x["text"], x["verdict"]) for x in table["claims"]]
    assert [(x[0], x[1], x[4]) for x in cells[7:]] == judged
    assert [x[0] for x in judged] == ["(a)", "(b)", "(c)", "(d)"] * 2
    assert "Means over 2 seeds of 2 networks each" in text
    assert "mtt: mean norm at the start, constant schedule" in text
    with (folder / "table.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [x["name"] for x in found] == ROWS
    for x, row in zip(found, table["rows"], strict=True):
        for name in ("gain", "weight", "grad_norm_change", "percentile"):
            assert float(x[name]) == row[name]


def test_claims_are_about_the_reference(compared):
    folder, table, _ = compared
    found = {(x["text"].split()[1], x["claim"]): x for x in table["claims"]}
    lowered = [x for x in table["claims"] if x["claim"] == "b"]
    for method, claim in zip(("dc", "mtt"), lowered, strict=True):
        with_sdc, without = (
            [
                summary_of(folder, row, seed)["difficulty"]["end"]["grad_norm"]
                for seed in (0, 1)
            ]
            for row in (f"{method}, weight 1", method)
        )
        assert claim["by_seed"] == pytest.approx(np.subtract(with_sdc, without))
    assert found["dc", "a"]["text"].startswith("plain dc drifts")
    assert found["mtt", "a"]["text"].startswith("plain mtt does not drift")
    nothing_larger = [x for x in table["claims"] if x["claim"] == "d"]
    assert all(x["difference"] is None for x in nothing_larger)


def test_the_plots(compared):
    folder = compared[0]
    for name in ("difficulty", "gain", "grad_norm"):
        with Image.open(folder / f"{name}.png") as image:
            assert min(image.size) > 100
    # One line per weight of the sweep, measured at every step here, over both seeds.
    lines = sdc_results._lines(folder, compared[1]["rows"], "mtt", [0, 1])
    assert list(lines) == ["without SDC", "weight 1"]
    for runs in lines.values():
        assert [[x["step"] for x in run] for run in runs] == [[0, 1, 2, 3]] * 2
    chart = sdc_results._chart("mtt", lines, "difficulty_grad_norm")
    ends = [
        summary_of(folder, "mtt", seed)["difficulty"]["end"]["grad_norm"]
        for seed in (0, 1)
    ]
    assert chart.series["without SDC"][1][-1] == pytest.approx(np.mean(ends))
    assert chart.band["without SDC"][-1] == pytest.approx(np.std(ends))


def test_a_second_call_only_reads(compared, monkeypatch, capsys):
    folder, table, _ = compared
    monkeypatch.setattr(distill, "_distil", die)
    monkeypatch.setattr(experts.banks, "make", die)
    (folder / "table.md").unlink()
    again = sdc.run(config(folder))
    assert (again["rows"], again["claims"]) == (table["rows"], table["claims"])
    assert (folder / "table.md").exists()
    # Ten runs and a bank.
    assert capsys.readouterr().err.count("finished: nothing to do") == 11
    sdc.show(again)
    assert "| mtt, norm path |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"weight": 2.0}, "weight is 1.0 there and 2.0 now"),
        # A rising weight and the measurements depend on how long a run is.
        ({"steps": 4}, "horizon is 3 there and 4 now"),
    ],
    ids=str,
)
def test_other_flags_are_another_comparison(compared, changes, told):
    folder = compared[0]
    before = (folder / "table.json").read_bytes()
    with pytest.raises(UserError, match=told):
        sdc.run(config(folder, **changes))
    assert (folder / "table.json").read_bytes() == before


def test_stopped_between_two_runs_it_goes_on(tmp_path, monkeypatch):
    real, seen = distill.run, []

    def run(asked, problem):
        seen.append(asked.sdc_weight)
        if len(seen) == 2:
            raise Killed
        return real(asked, problem)

    monkeypatch.setattr(distill, "run", run)
    asked = matching(tmp_path, seeds="0", steps=2, weights="-1,0")
    with pytest.raises(Killed):
        sdc.run(asked)
    assert not (tmp_path / "table.json").exists()
    stamp = (tmp_path / "dm-0" / "summary.json").stat().st_mtime_ns
    table = sdc.run(asked)
    assert (tmp_path / "dm-0" / "summary.json").stat().st_mtime_ns == stamp
    # The plain run stands for the weight 0, and nothing is claimed of one seed.
    assert seen == [0, -1, 0, -1, 1]
    names = ["dm", "dm, weight -1", "dm, weight 1"]
    assert [row["name"] for row in table["rows"]] == names
    negative = read_json(tmp_path / "dm-weight-minus1-0" / "summary.json")
    assert negative["config"]["sdc_weight"] == -1.0
    assert [x["claim"] for x in table["claims"]] == ["b", "c", "d"]
    *judged, untried = [x["verdict"] for x in table["claims"]]
    assert judged == ["not shown (one seed)"] * 2
    assert untried == "not shown (no weight above the reference)"
    assert not list(tmp_path.glob("experts-*"))


def test_stopped_between_its_runs_and_its_table_it_goes_on(
    compared, tmp_path, monkeypatch
):
    start = lambda folder: sdc.run(config(folder))
    assert_goes_on(monkeypatch, compared[0], tmp_path / "copy", start, "mtt-1")


# --- Bad input ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"methods": "dc,dd"}, "unknown method 'dd'"),
        ({"methods": "dc,"}, "unknown method ''"),
        ({"methods": "dc,dc"}, "--methods names 'dc' twice"),
        ({"seeds": "0,x"}, "--seeds must be numbers joined by commas, not '0,x'"),
        ({"seeds": "1,1"}, "--seeds names a seed twice"),
        ({"seeds": "-1"}, "--seeds must lie between 0 .* not -1"),
        ({"weights": "1,much"}, "--weights must be numbers joined by commas"),
        ({"weights": "2,2.0"}, "--weights names a weight twice: '2,2.0'"),
        ({"weights": "nan"}, "the weights must be finite numbers, not nan"),
        ({"weight": 0.0}, "--weight must be positive, not 0"),
        ({"weight": -1.0}, "--weight must be positive, not -1"),
        ({"norms": "max"}, "unknown 'max' in --norms: choose from mean, per_sample"),
        ({"norms": "path"}, "--norms=path needs trajectories, which --methods=dc"),
        ({"norms": "mean,mean"}, "--norms names 'mean' twice"),
        ({"schedules": "cosine"}, "unknown 'cosine' in --schedules"),
        ({"bank_epochs": 3}, "--bank_epochs=3 is too few: 7 are needed"),
        ({"num_experts": 0}, "--num_experts must be positive, not 0"),
        ({"num_eval": 0}, "--num_eval must be positive, not 0"),
        ({"steps": 0}, "--steps must be positive, not 0"),
        ({"ipc": 1000}, "1000"),
        ({"methods": "dc"}, "--num_experts is about experts, which none of --methods="),
    ],
    ids=str,
)
def test_bad_input_is_refused_before_anything_is_trained(tmp_path, changes, told):
    with pytest.raises(UserError, match=told) as error:
        sdc.run(config(tmp_path / "run", **changes))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"objective": "kernel"}, "the method 'dc' has no SDC: leave it out"),
        ({"sdc_weight": 0.1}, "the method 'dc' has SDC of its own"),
        ({"segments": 2}, "the method 'dc' distils in segments"),
    ],
    ids=str,
)
def test_methods_that_cannot_be_compared(tmp_path, monkeypatch, changes, told):
    usual = presets.preset

    def preset(*args):
        found = usual(*args)
        settings = dataclasses.replace(found.settings, **changes)
        return dataclasses.replace(found, settings=settings)

    monkeypatch.setattr(presets, "preset", preset)
    with pytest.raises(UserError, match=told):
        sdc.run(config(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_methods_of_one_recipe_share_their_experts(tmp_path, monkeypatch):
    trained = []
    monkeypatch.setattr(
        shared_banks, "train", lambda *a: trained.append(a) or a[0].workdir
    )
    asked = config(tmp_path, methods="mtt,dsa,datm,tesla", bank_epochs=None)
    found = sdc._presets(asked)
    bases = {method: sdc._base(asked, method, found[method]) for method in found}
    # TESLA follows its experts for longer here, so their bank has to be as long.
    bases["tesla"] = dataclasses.replace(bases["tesla"], max_start=20)
    problems = dict.fromkeys(bases, "data")
    banks = shared_banks.serve(bases, tmp_path, problems, 2, None)
    assert banks == {
        "mtt": f"{tmp_path}/experts-mtt",
        "tesla": f"{tmp_path}/experts-mtt",
        "datm": f"{tmp_path}/experts-datm",
    }
    assert [(x[0].method, x[0].epochs, *x[1:]) for x in trained] == [
        ("tesla", 21, "data", "mtt, tesla"),
        ("datm", 12, "data", "datm"),
    ]


def test_a_comparison_is_plain_json(compared):
    folder = compared[0]
    content = json.loads((folder / "table.json").read_text())
    assert content["config"]["seeds"] == "0,1"
    assert set(content) == {"rows", "claims", "config", "versions", "device"}
