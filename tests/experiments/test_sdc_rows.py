"""The rows that `experiments.sdc` compares, and what a row changes."""

from pathlib import Path

import pytest

from experiments import sdc
from experiments.comparing import pairs
from experiments.comparing.sdc_rows import Row, sweeps_of


def rows_of(method, **changes):
    (group,) = sdc.groups(sdc.Config(workdir="x", methods=method, **changes))
    folders = {pairs.folder_of(Path("x"), row, 0) for row in group.rows}
    assert len(folders) == len(group.rows)  # every row has a folder of its own
    return group.rows


def test_the_rows_of_gradient_matching():
    rows = rows_of("dsa")
    assert [str(row) for row in rows] == [
        "dsa",
        *(f"dsa, weight {w}" for w in (-1, 1, 10)),
        "dsa, norm per_sample", "dsa, linear", "dsa, log",
    ]  # fmt: skip
    assert rows[Row("dsa")] == {}
    reference = rows[Row("dsa", weight=1.0)]
    assert reference == {
        "sdc_weight": 1.0,
        "sdc_norm": "mean",
        "sdc_at": "start",
        "sdc_schedule": "constant",
        "sdc_relative": True,
    }
    assert rows[Row("dsa", weight=-1)] == {**reference, "sdc_weight": -1.0}
    other_norm = {**reference, "sdc_norm": "per_sample"}
    assert rows[Row("dsa", norm="per_sample")] == other_norm
    assert rows[Row("dsa", schedule="log")] == {**reference, "sdc_schedule": "log"}


def test_the_rows_of_trajectory_matching():
    rows = rows_of("mtt", steps=40, relative=False)
    assert [str(row) for row in rows][4:] == [
        "mtt, norm per_sample", "mtt, norm path", "mtt, constant", "mtt, log",
    ]  # fmt: skip
    reference = rows[Row("mtt", weight=1)]
    # The weight rises over the run, and its last value is reached.
    assert (reference["sdc_schedule"], reference["sdc_horizon"]) == ("linear", 40)
    assert not reference["sdc_relative"]
    assert rows[Row("mtt", norm="path")] == {**reference, "sdc_at": "path"}
    assert rows[Row("mtt", norm="per_sample")]["sdc_at"] == "start"


def test_the_first_norm_and_schedule_carry_the_sweep():
    flags = {"norms": "path,mean", "schedules": "log,constant", "weight": 2.0}
    for method, norms, at in (("mtt", 1, "path"), ("dsa", 0, "start")):
        rows = rows_of(method, **flags, weights="0,4")
        assert len(rows) == 3 + norms + 1
        for weight in (2, 4):
            row = rows[Row(method, weight=weight)]
            assert (row["sdc_at"], row["sdc_schedule"]) == (at, "log")
        assert rows[Row(method, schedule="constant")]["sdc_weight"] == 2.0


def test_longer_steps_are_a_row_without_sdc():
    for method, image_lr in (("dsa", 0.03), ("mtt", 10.0)):  # of digits
        rows = rows_of(method, longer=1.3)
        row = Row(method, longer=1.3)
        assert rows[row] == {"image_lr": pytest.approx(1.3 * image_lr)}
        assert str(row) == f"{method}, longer steps 1.3"
        assert rows[Row(method)] == {}
    (group,) = sdc.groups(sdc.Config(workdir="x", methods="dsa", longer=1.3))
    labels = sweeps_of([group])["dsa"]
    assert list(labels) == ["without SDC", "weight -1", "weight 1", "weight 10"]


def test_methods_may_have_references_of_their_own():
    flags = {"methods": "dsa,mtt", "weight": "mtt:0.3,dsa:2", "weights": "0"}
    groups = sdc.groups(sdc.Config(workdir="x", norms="mean,per_sample", **flags))
    for group, weight in zip(groups, (2, 0.3), strict=True):
        rows = group.rows
        assert {row.weight for row in rows} == {None, weight}
        other_norm = rows[Row(group.method, norm="per_sample")]
        assert other_norm["sdc_weight"] == weight
