"""`experiments.pad`: its rows, its sweeps, its banks, and what it refuses."""

from pathlib import Path

import pytest

from experiments import pad
from experiments.comparing import pairs
from jaxdd.distillation import options
from jaxdd.experts import Bank
from jaxdd.methods import presets
from tests.experiments import comparisons
from tests.experiments.comparisons import SHORT
from tests.experiments.helpers import NoProbes, read_json
from tests.helpers import refused

ROWS = {
    "base": "base-0",
    "FIEX": "fiex-0",
    "FIEM": "fiem-0",
    "FIEX + FIEM": "fiex-fiem-0",
}


def config(workdir, **changes) -> pad.Config:
    return pad.Config(workdir=str(workdir), **{**SHORT, **changes})


def matching(workdir, **changes) -> pad.Config:
    """Without experts."""
    none = dict.fromkeys(("num_experts", "bank_epochs", "student_steps"))
    return config(workdir, **{**none, "method": "dm", **changes})


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    flags = config(tmp_path_factory.mktemp("pad") / "datm")
    return comparisons.compared(pad, flags, NoProbes, num_random=5)


def values_of(folder) -> dict[str, dict]:
    """{row: the values of its run}."""
    return {
        row: read_json(folder / place / "summary.json")["config"]
        for row, place in ROWS.items()
    }


def test_two_banks_serve_all_rows(compared):
    folder, _, error = compared
    banks = [Bank.open(folder / f"experts-{i}").manifest for i in (0, 1)]
    assert not (folder / "experts-2").exists()
    plain, filtered = (m.curriculum for m in banks)
    assert "score" not in plain
    assert (filtered["init_ratio"], filtered["score"]) == (0.75, "el2n")
    assert filtered["removals"] == [[5, 0.1]]
    assert all(m.data["validation"] == 0.0 for m in banks)
    used = {row: x["bank"]["manifest"] for row, x in values_of(folder).items()}
    a, b = (m.digest for m in banks)
    assert used == {"base": a, "FIEX": b, "FIEM": a, "FIEX + FIEM": b}
    assert "curriculum: of 1437 training samples are left out" in error


def test_rows_differ_in_the_filters_only(compared):
    values = values_of(compared[0])
    masks = {row: x.get("mask_ratio", 0.0) for row, x in values.items()}
    assert masks == {"base": 0.0, "FIEX": 0.0, "FIEM": 0.25, "FIEX + FIEM": 0.25}
    own = ("workdir", "mask", "mask_ratio", "mask_granularity", "experts", "bank",
           "curriculum", "score")  # fmt: skip
    rest = [{k: v for k, v in x.items() if k not in own} for x in values.values()]
    assert all(x == rest[0] for x in rest)
    summaries = [read_json(compared[0] / x / "summary.json") for x in ROWS.values()]
    # Their experts are what each row's flags say, and the bar beside them is the same.
    assert all(x["warnings"] == [] for x in summaries)
    assert all(x["random"] == summaries[0]["random"] for x in summaries)


def rows_of(method="datm", dataset="cifar10", ipc=10, **changes):
    """{name of a row: its flags}."""
    config = pad.Config(workdir="x", method=method, dataset=dataset, ipc=ipc, **changes)
    (group,) = pad.groups(config)
    folders = {pairs.folder_of(Path("x"), row, 0) for row in group.rows}
    assert len(folders) == len(group.rows)  # every row has a folder of its own
    return {str(row): dict(flags) for row, flags in group.rows.items()}


def test_the_four_rows_are_pads_own_values():
    own = presets.preset("pad", "cifar10", 10)
    rows = rows_of()
    assert list(rows) == list(ROWS)
    assert rows["base"] == {}
    fiex, fiem = rows["FIEX"], rows["FIEM"]
    assert rows["FIEX + FIEM"] == {**fiex, **fiem}
    assert fiem == {"mask": "depth", "mask_ratio": own.recipe.mask.ratio}
    assert fiex.pop("score") == "el2n"
    assert options.run_of("datm", fiex).window.curriculum() == own.window.curriculum()
    changed = rows_of(mask="loss", mask_ratio=0.5)["FIEM"]
    assert changed == {"mask": "loss", "mask_ratio": 0.5}


def test_rows_without_experts():
    rows = rows_of("dsa", drop_hardest=0.3, score="loss")
    assert rows["FIEX"] == {"score": "loss", "drop_hardest": 0.3}
    assert set(rows["FIEM"]) == {"mask", "mask_ratio"}
    (group,) = pad.groups(matching("x"))
    assert group.base.features == "all"


def test_the_sweeps():
    rows = rows_of(sweep="score")
    swept = ("el2n", "loss", "entropy", "grad_norm", "forgetting")
    assert list(rows) == ["base", *(f"FIEX by {s}" for s in swept)]
    curricula = list(rows.values())[1:]
    assert [x.pop("score") for x in curricula] == list(swept)
    assert all(x == curricula[0] for x in curricula)
    assert "mask" not in curricula[0]
    rows = rows_of(sweep="alpha", mask="loss")
    assert list(rows) == ["alpha 0", "alpha 0.25", "alpha 0.5", "alpha 0.75"]
    assert [x.get("mask_ratio") for x in rows.values()] == [None, 0.25, 0.5, 0.75]
    assert [x["mask"] for x in rows.values()] == ["none", "loss", "loss", "loss"]
    rows = rows_of(sweep="curriculum")
    own = presets.preset("pad", "cifar10", 10).window
    swept = [(x["init_ratio"], x["add_end_epoch"]) for x in list(rows.values())[1:]]
    assert len(set(swept)) == 9
    assert (own.init_ratio, own.add_end_epoch) in swept
    names = [f"IR {ratio:g}, AEE {epoch}" for ratio, epoch in sorted(swept)]
    assert list(rows) == ["base", *names]


@pytest.mark.parametrize(
    ("start", "changes", "sentence"),
    [
        (config, {"sweep": "all"}, "unknown 'all' in --sweep: choose from none, score"),
        (config, {"score": "hard"}, "unknown 'hard' in --score"),
        (config, {"method": "pad"}, "--method=pad has filters of its own"),
        (config, {"bank_epochs": 3}, "--bank_epochs=3 is too few: 7 are needed"),
        (matching, {"sweep": "curriculum"}, "--sweep=curriculum is about experts"),
        (matching, {"drop_hardest": 0.0}, "nothing is left out by that order"),
        (matching, {"drop_hardest": 1.0}, "--drop_hardest must be below 1"),
    ],
    ids=lambda x: getattr(x, "__name__", str(x)),
)
def test_bad_input_is_refused_before_anything_is_trained(
    tmp_path, start, changes, sentence
):
    with refused(sentence):
        pad.run(start(tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()
