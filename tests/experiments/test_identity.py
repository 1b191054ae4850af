"""What makes a run this run and no other."""

from pathlib import Path

import pytest

from jaxdd.distillation import options, resolution
from jaxdd.distillation.identity import identity
from jaxdd.errors import UserError
from jaxdd.storage.workdir import refuse_difference
from tests.experiments.helpers import cheap


def values_of(problem, folder="w", **changes):
    """What `run.json` has of a run."""
    config = cheap(folder, **changes)
    flags = options.given(config)
    run, problem = resolution.on_data(config.method, flags, problem)
    return resolution.resolve(run, problem).values(folder)


SELECTING = {"select": "validation"}
SEGMENTED = {"ipc": 2, "segments": 2}
JUDGED = {**SEGMENTED, "judge_epochs": 3}


@pytest.mark.parametrize(
    ("base", "changes", "same"),
    [
        ({}, {"workdir": "elsewhere"}, True),
        ({}, {"data_dir": "elsewhere", "scores": None}, True),
        ({}, {"steps": 99, "save_every": 1}, True),
        ({}, {"probes": 9, "probe_steps": 9, "log_every": 9}, True),
        ({}, {"eval_epochs": 9, "eval_lr": 0.9, "eval_batch": 9}, True),
        ({}, {"eval_schedule": "idc", "eval_augmentation": "flip"}, True),
        ({}, {"measure_every": 3}, True),
        ({}, {"image_lr": 0.5}, False),
        ({}, {"seed": 1}, False),
        ({}, {"zca": True}, False),
        (SELECTING, {"num_eval": 9, "num_random": 9}, True),
        (SELECTING, {"eval_epochs": 9}, False),
        (SELECTING, {"measure_every": 3}, False),
        (SEGMENTED, {"num_eval": 9, "measure_every": 3}, True),
        (SEGMENTED, {"eval_epochs": 9}, False),
        (SEGMENTED, {"eval_batch": 9}, False),
        (JUDGED, {"eval_epochs": 9}, True),
        (JUDGED, {"eval_lr": 0.9}, False),
        (JUDGED, {"judge_epochs": 4}, False),
    ],
)
def test_a_run_is_what_alters_its_steps(problem, base, changes, same):
    known = identity(values_of(problem, **base), problem)
    changes = {**base, **changes}
    values = values_of(problem, changes.pop("workdir", "w"), **changes)
    assert (identity(values, problem) == known) is same


NEW = ("normalisation", "constants", "sampling", "channels", "image_size")


def without_new(config):
    """Values as the version before wrote them."""
    return {k: v for k, v in config.items() if k not in NEW}


def test_a_value_that_a_version_did_not_have_stands_for_its_default(problem):
    """Runs drew real samples independently then, those of IDC too."""
    for method, sampling in (("dm", "independent"), ("idc", "passes")):
        values = values_of(problem, method=method)
        assert values["sampling"] == sampling
        before = identity(without_new(values), problem)
        same = identity(values, problem) == before
        assert same is (sampling == "independent")


@pytest.mark.parametrize(
    ("method", "net", "goes_on"),
    [("dm", "convnet_bn", False), ("dm", "convnet", True), ("dsa", "convnet_bn", True)],
)
def test_other_statistics_of_batch_norm_make_another_run(problem, method, net, goes_on):
    """Distribution matching normalised every class by itself once."""
    values = values_of(problem, method=method, net=net)
    now = identity(values, problem)
    before = identity(without_new(values), problem)
    if goes_on:
        refuse_difference(Path("w"), before, now)
        return
    with pytest.raises(UserError, match="statistics is 'of each class' there"):
        refuse_difference(Path("w"), before, now)
