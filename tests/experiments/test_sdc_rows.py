"""The rows that `experiments.sdc` compares, and what a row changes."""

from experiments import sdc
from experiments.comparing import pairs
from jaxdd.methods import presets


def cells(method, **changes):
    asked = sdc.Config(workdir="x", **changes)
    return sdc._cells(asked, method, presets.preset(method, "digits", 1))


def test_the_rows_of_gradient_matching():
    found = cells("dsa")
    assert list(found) == [
        "dsa",
        *(f"dsa, weight {w}" for w in (-1, 1, 10)),
        "dsa, norm per_sample", "dsa, linear", "dsa, log",
    ]  # fmt: skip
    assert found["dsa"] == {}
    reference = found["dsa, weight 1"]
    assert reference == {
        "sdc_weight": 1.0,
        "sdc_norm": "mean",
        "sdc_at": "start",
        "sdc_schedule": "constant",
        "sdc_relative": True,
    }
    assert found["dsa, weight -1"] == {**reference, "sdc_weight": -1.0}
    assert found["dsa, norm per_sample"] == {**reference, "sdc_norm": "per_sample"}
    assert found["dsa, log"] == {**reference, "sdc_schedule": "log"}
    # Every row is a folder of its own.
    assert len({pairs._slug(name) for name in found}) == len(found)


def test_the_rows_of_trajectory_matching():
    found = cells("mtt", steps=40, relative=False)
    assert list(found)[4:] == [
        "mtt, norm per_sample", "mtt, norm path", "mtt, constant", "mtt, log",
    ]  # fmt: skip
    reference = found["mtt, weight 1"]
    # The weight rises over the run, and its last value is reached.
    assert (reference["sdc_schedule"], reference["sdc_horizon"]) == ("linear", 40)
    assert not reference["sdc_relative"]
    assert found["mtt, norm path"] == {**reference, "sdc_at": "path"}
    assert found["mtt, norm per_sample"]["sdc_at"] == "start"


def test_the_first_norm_and_schedule_carry_the_sweep():
    asked = {"norms": "path,mean", "schedules": "log,constant", "weight": 2.0}
    for method, norms, at in (("mtt", 1, "path"), ("dsa", 0, "start")):
        found = cells(method, **asked, weights="0,4")
        assert len(found) == 3 + norms + 1
        for weight in (2, 4):
            row = found[f"{method}, weight {weight}"]
            assert (row["sdc_at"], row["sdc_schedule"]) == (at, "log")
        assert found[f"{method}, constant"]["sdc_weight"] == 2.0
