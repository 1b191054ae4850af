"""`experiments.pad`: four rows in paired seeds, their table, the sweeps' cells."""

import contextlib
import csv
import dataclasses
import io
import json

import numpy as np
import pytest
from PIL import Image

from experiments import pad
from experiments.comparing import pairs
from jaxdd.distillation import experts, options
from jaxdd.distillation import run as distill
from jaxdd.errors import UserError
from jaxdd.experts import Bank
from jaxdd.methods import presets
from jaxdd.modifiers.curriculum import Curriculum
from tests.experiments.helpers import NoProbes, assert_goes_on, read_json
from tests.helpers import Killed, die

# What `pad` has no flags for, since its comparison is at the field's own network.
TINY = {"net": "mlp", "width": 8, "augmentation": "none"}
RUN = {
    **TINY,
    "eval_augmentation": "none",
    "num_random": 5,
    "probes": 2,
    "probe_steps": 5,
}
ROWS = ["base", "FIEX", "FIEM", "FIEX + FIEM"]


@pytest.fixture(scope="module", autouse=True)
def tiny():
    """A network that compiles quickly, for runs and experts alike, and no probes."""
    base, bank = pad._base, pad._experts
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pad, "_base", lambda *a: dataclasses.replace(base(*a), **RUN))
        patch.setattr(distill, "Probes", NoProbes)
        patch.setattr(pad, "_experts", lambda *a: dataclasses.replace(bank(*a), **TINY))
        yield


def config(workdir, **changes) -> pad.Config:
    values = {
        "seeds": "0,1",
        "steps": 3,
        "num_experts": 2,
        "bank_epochs": 7,
        "student_steps": 2,
        "eval_epochs": 3,
        "num_eval": 2,
    }
    return pad.Config(workdir=str(workdir), **{**values, **changes})


def matching(workdir, **changes) -> pad.Config:
    """Without experts."""
    none = dict.fromkeys(("num_experts", "bank_epochs", "student_steps"))
    return config(workdir, **{**none, "method": "dm", **changes})


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """(folder, table, standard error) of a finished comparison."""
    folder = tmp_path_factory.mktemp("pad") / "datm"
    with contextlib.redirect_stderr(io.StringIO()) as error:
        table = pad.run(config(folder))
    return folder, table, error.getvalue()


def summary_of(folder, row, seed):
    return read_json(folder / f"{row}-{seed}" / "summary.json")


SLUGS = dict(zip(ROWS, ("base", "fiex", "fiem", "fiex-fiem"), strict=True))


def test_two_banks_serve_all_rows(compared):
    folder, _, error = compared
    banks = [Bank.open(folder / f"experts-{i}").manifest for i in (0, 1)]
    assert not (folder / "experts-2").exists()
    plain, filtered = (m.curriculum for m in banks)
    assert "score" not in plain
    assert (filtered["init_ratio"], filtered["score"]) == (0.75, "el2n")
    assert filtered["removals"] == [[5, 0.1]]
    assert all(m.data["validation"] == 0.0 for m in banks)
    used = {
        row: {
            summary_of(folder, SLUGS[row], seed)["config"]["bank"]["manifest"]
            for seed in (0, 1)
        }
        for row in ROWS
    }
    a, b = ({m.digest} for m in banks)
    assert used == {"base": a, "FIEX": b, "FIEM": a, "FIEX + FIEM": b}
    assert "curriculum: of 1437 training samples are left out" in error


def test_rows_differ_in_the_filters_only(compared):
    folder = compared[0]
    for seed in (0, 1):
        values = {row: summary_of(folder, SLUGS[row], seed) for row in ROWS}
        masks = {row: x["config"]["mask_ratio"] for row, x in values.items()}
        assert masks == {"base": 0.0, "FIEX": 0.0, "FIEM": 0.25, "FIEX + FIEM": 0.25}
        own = ("workdir", "mask", "mask_ratio", "experts", "bank", "curriculum")
        rest = [
            {k: v for k, v in x["config"].items() if k not in (*own, "score")}
            for x in values.values()
        ]
        assert all(x == rest[0] for x in rest)
        assert rest[0]["seed"] == seed
        # Their experts are what each row's flags say.
        assert all(x["warnings"] == [] for x in values.values())
        # The bar beside them is the same.
        assert all(x["random"] == values["base"]["random"] for x in values.values())


def test_the_table_is_that_of_the_runs(compared):
    folder, table, error = compared
    assert table == read_json(folder / "table.json")
    assert [row["name"] for row in table["rows"]] == ROWS
    for row in table["rows"]:
        runs = [summary_of(folder, SLUGS[row["name"]], seed) for seed in (0, 1)]
        assert row["by_seed"] == [x["distilled"]["mean"] for x in runs]
        assert row["n"] == 4
    base = table["rows"][0]
    assert (base["gain"], base["interval"]) == (0.0, 0.0)
    assert "[8/8] FIEX + FIEM, seed 1" in error

    text = (folder / "table.md").read_text()
    lines = [x for x in text.splitlines() if x.startswith("| ")]
    assert len(lines) == 5
    for line, row in zip(lines[1:], table["rows"], strict=True):
        cells = [x.strip() for x in line.strip("|").split("|")]
        assert cells[0] == row["name"]
        assert cells[1] == f"{row['mean']:.2f} ± {row['std']:.2f}"
        gain = f"{row['gain']:+.2f} ± {row['interval']:.2f}"
        assert cells[4] == ("" if row["name"] == "base" else gain)
    assert "Means over 2 seeds of 2 networks each" in text
    with (folder / "table.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [x["name"] for x in found] == ROWS
    for x, row in zip(found, table["rows"], strict=True):
        assert float(x["gain"]) == row["gain"]
        assert float(x["interval"]) == row["interval"]
    with Image.open(folder / "gain.png") as image:
        assert min(image.size) > 100


def test_a_second_call_only_reads(compared, monkeypatch, capsys):
    folder, table, _ = compared
    monkeypatch.setattr(distill, "_distil", die)
    monkeypatch.setattr(experts.banks, "make", die)
    (folder / "table.md").unlink()
    again = pad.run(config(folder))
    assert again["rows"] == table["rows"]
    assert (folder / "table.md").exists()
    error = capsys.readouterr().err
    assert error.count("finished: nothing to do") == 10  # eight runs and two banks
    pad.show(again)
    assert "| FIEX + FIEM |" in capsys.readouterr().out


def test_other_flags_are_another_comparison(compared):
    folder = compared[0]
    before = (folder / "table.json").read_bytes()
    with pytest.raises(UserError, match="score is 'el2n' there and 'loss' now"):
        pad.run(config(folder, score="loss"))
    assert (folder / "table.json").read_bytes() == before


def test_stopped_between_two_runs_it_goes_on(tmp_path, monkeypatch):
    real, seen = distill.run, []

    def run(asked, problem):
        seen.append((asked.mask_ratio, asked.seed))
        if len(seen) == 3:
            raise Killed
        return real(asked, problem)

    monkeypatch.setattr(distill, "run", run)
    asked = matching(tmp_path, sweep="alpha", seeds="0", steps=2)
    with pytest.raises(Killed):
        pad.run(asked)
    assert not (tmp_path / "table.json").exists()
    stamp = (tmp_path / "alpha-0-0" / "summary.json").stat().st_mtime_ns
    table = pad.run(asked)
    assert (tmp_path / "alpha-0-0" / "summary.json").stat().st_mtime_ns == stamp

    # The sweep of the mask's share, on a method without experts.
    names = ["alpha 0", "alpha 0.25", "alpha 0.5", "alpha 0.75"]
    assert [row["name"] for row in table["rows"]] == names
    assert all(row["interval"] is None for row in table["rows"])  # one seed
    assert "± " not in table["rows"][1]["name"] + pairs.gain_text(table["rows"][1])
    found = [
        read_json(tmp_path / f"alpha-{a:g}-0" / "summary.json")["config"]
        for a in (0, 0.25, 0.5, 0.75)
    ]
    assert [x["mask_ratio"] for x in found] == [0, 0.25, 0.5, 0.75]
    assert [x["mask"] for x in found] == ["none", "depth", "depth", "depth"]
    assert all(x["features"] == "all" for x in found)
    assert not (tmp_path / "experts-0").exists()
    with (tmp_path / "table.csv").open(newline="") as file:
        assert [x["interval"] for x in csv.DictReader(file)] == [""] * 4


def test_stopped_between_its_runs_and_its_table_it_goes_on(
    compared, tmp_path, monkeypatch
):
    start = lambda folder: pad.run(config(folder))
    assert_goes_on(monkeypatch, compared[0], tmp_path / "copy", start, "fiex-fiem-1")


# --- Gains and intervals, against a calculation by hand -----------------------------


def made_up(means, stds, n=5, random=50.0):
    return [
        {
            "distilled": {"mean": m, "std": s, "n": n},
            "random": {"mean": random, "std": 5.0, "n": 10},
            "seconds_per_step": 0.1,
        }
        for m, s in zip(means, stds, strict=True)
    ]


def test_gains_are_paired_by_seed():
    found = {
        "base": made_up([60.0, 70.0, 80.0], [1.0, 2.0, 2.0]),
        "other": made_up([61.0, 72.0, 83.0], [0.0, 0.0, 3.0], n=4),
    }
    base, other = pairs.compare(found)
    assert (base["mean"], other["mean"]) == (70.0, 72.0)
    assert (base["n"], other["n"]) == (15, 12)
    assert other["by_seed"] == [61.0, 72.0, 83.0]
    assert other["random"] == 50.0
    # Gains 1, 2, 3: mean 2, standard error 1 / sqrt(3), t of 2 degrees 4.302653.
    assert other["gain"] == pytest.approx(2.0)
    assert other["interval"] == pytest.approx(4.302653 / np.sqrt(3), rel=1e-6)
    assert (base["gain"], base["interval"]) == (0.0, 0.0)
    assert pairs.gain_text(other) == "+2.00 ± 2.48"


def test_the_spread_is_that_of_all_networks_pooled():
    rng = np.random.default_rng(0)
    networks = rng.normal(70, 3, (4, 5))
    networks += np.array([0, 1, 2, 3])[:, None]
    (row,) = pairs.compare({"x": made_up(networks.mean(1), networks.std(1))})
    assert row["mean"] == pytest.approx(networks.mean())
    assert row["std"] == pytest.approx(networks.std())


def test_one_seed_has_no_interval():
    rows = pairs.compare({"a": made_up([60.0], [1.0]), "b": made_up([59.5], [1.0])})
    assert rows[1]["interval"] is None
    assert pairs.gain_text(rows[1]) == "-0.50"


def test_names_with_commas_survive_the_csv(tmp_path):
    rows = pairs.compare({"IR 0.5, AEE 40": made_up([60.0, 61.0], [1.0, 1.0])})
    pairs.write_tables(tmp_path, "title", rows, ["A note."])
    with (tmp_path / "table.csv").open(newline="") as file:
        (found,) = csv.DictReader(file)
    assert found["name"] == "IR 0.5, AEE 40"
    assert float(found["mean"]) == 60.5


# --- Cells --------------------------------------------------------------------------


def cells(method="datm", dataset="cifar10", ipc=10, **changes):
    asked = pad.Config(workdir="x", method=method, dataset=dataset, ipc=ipc, **changes)
    return pad._cells(asked, presets.preset(method, dataset, ipc))


def test_the_four_rows_are_pads_own_values():
    own = presets.preset("pad", "cifar10", 10)
    found = cells()
    assert list(found) == ROWS
    assert found["base"] == {}
    fiex, fiem = found["FIEX"], found["FIEM"]
    assert found["FIEX + FIEM"] == {**fiex, **fiem}
    assert fiem == {"mask": "depth", "mask_ratio": own.settings.mask_ratio}
    assert fiex.pop("score") == "el2n"
    asked = options.Config(workdir="x", method="datm", **fiex)
    assert options.curriculum_of(asked, Curriculum()) == own.experts.curriculum
    assert cells(mask="loss", mask_ratio=0.5)["FIEM"] == {
        "mask": "loss",
        "mask_ratio": 0.5,
    }


def test_the_four_rows_without_experts():
    found = cells("dsa", drop_hardest=0.3, score="loss")
    assert found["FIEX"] == {"score": "loss", "drop_hardest": 0.3}
    assert set(found["FIEM"]) == {"mask", "mask_ratio"}


def test_the_sweep_of_scores():
    found = cells(sweep="score")
    swept = ("el2n", "loss", "entropy", "grad_norm", "forgetting")
    assert list(found) == ["base", *(f"FIEX by {s}" for s in swept)]
    curricula = [dict(x) for x in list(found.values())[1:]]
    assert [x.pop("score") for x in curricula] == list(swept)
    assert all(x == curricula[0] for x in curricula)
    assert "mask" not in curricula[0]


def test_the_sweep_of_curricula():
    found = cells(sweep="curriculum")
    own = presets.preset("pad", "cifar10", 10).experts.curriculum
    assert len(found) == 1 + 9
    swept = [(x["init_ratio"], x["add_end_epoch"]) for x in list(found.values())[1:]]
    assert len(set(swept)) == 9
    assert (own.init_ratio, own.add_end_epoch) in swept
    for name, flags in list(found.items())[1:]:
        assert name == f"IR {flags['init_ratio']:g}, AEE {flags['add_end_epoch']}"
    # Every row is a folder of its own.
    assert len({pairs._slug(name) for name in found}) == 10


def test_the_sweep_of_shares():
    found = cells(sweep="alpha", mask="loss")
    assert [x["mask_ratio"] for x in found.values()] == [0, 0.25, 0.5, 0.75]
    assert [x["mask"] for x in found.values()] == ["none", "loss", "loss", "loss"]
    assert len({pairs._slug(name) for name in found}) == 4


# --- Bad input ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"sweep": "all"}, "unknown --sweep='all': choose one of none, score"),
        ({"score": "hard"}, "unknown score 'hard'"),
        ({"seeds": "0,x"}, "--seeds must be numbers joined by commas, not '0,x'"),
        ({"seeds": "1,1"}, "--seeds names a seed twice"),
        ({"seeds": "0,-1"}, "--seeds must lie between 0 .* not -1"),
        ({"method": "pad"}, "--method=pad has filters of its own"),
        ({"method": "dd"}, "unknown method 'dd'"),
        ({"mask": "width"}, "unknown mask 'width'"),
        ({"mask_ratio": 1.5}, r"must lie in \[0, 1\), not 1.5"),
        ({"bank_epochs": 3}, "--bank_epochs=3 is too few: 7 are needed"),
        ({"bank_epochs": 0}, "--bank_epochs=0 is too few"),
        ({"num_experts": -1}, "--num_experts must be positive, not -1"),
        ({"num_eval": 0}, "--num_eval must be positive, not 0"),
        ({"steps": 0}, "--steps must be positive, not 0"),
        ({"method": "dm"}, "--num_experts is about experts|--student_steps is about"),
    ],
    ids=str,
)
def test_bad_input_is_refused_before_anything_is_trained(tmp_path, changes, told):
    with pytest.raises(UserError, match=told) as error:
        pad.run(config(tmp_path / "run", **changes))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"sweep": "curriculum"}, "--sweep=curriculum is about experts"),
        ({"drop_hardest": 0.0}, "nothing is left out by that order"),
        ({"drop_hardest": 1.0}, r"must lie in \[0, 1\)"),
        ({"bank_epochs": 5}, "--bank_epochs is about experts"),
        ({"student_steps": 5}, "--student_steps is about matching trajectories"),
    ],
    ids=str,
)
def test_the_same_without_experts(tmp_path, changes, told):
    with pytest.raises(UserError, match=told) as error:
        pad.run(matching(tmp_path / "run", **changes))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_comparison_is_plain_json(compared):
    folder = compared[0]
    assert json.loads((folder / "table.json").read_text())["config"]["seeds"] == "0,1"
