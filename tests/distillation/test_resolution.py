"""What a run is compared by, against the values that earlier versions wrote."""

import json
from pathlib import Path

import pytest

from jaxdd.data.problem import DataFlags, open_problem
from jaxdd.distillation.opening import open_run
from jaxdd.distillation.resolution import identity
from jaxdd.fields import flat
from jaxdd.methods.presets import preset
from jaxdd.methods.recipes import METHODS

# `values` of run.json as the version before recipes wrote them: the settings of all
# axes, whatever the method. `differ` is what a run has other than the first line.
BEFORE = json.loads((Path(__file__).parent / "values_before.json").read_text())
RUNS = {run.pop("name"): run for run in BEFORE["runs"]}


@pytest.fixture(scope="module")
def digits():
    return open_problem(DataFlags(dataset="digits"), 0.1, 0)


def now_and_before(name, problem):
    """The values that a run has now, and those that it had."""
    run = RUNS[name]
    flags = {n: x for n, x in run["flags"].items() if n != "method"}
    if flags.get("seed", 0) != problem.split_seed:
        problem = None
    opened = open_run(run["flags"]["method"], flags, problem)
    now = json.loads(json.dumps(opened.resolved.values("here")))
    return now, {**BEFORE["usual"], **run["differ"]}, opened.problem


@pytest.mark.parametrize("name", RUNS)
def test_a_run_of_the_version_before_is_the_same_run(name, digits):
    now, before, problem = now_and_before(name, digits)
    assert identity(now, problem) == identity(before, problem)
    # Of the old values, only those of absent choices are gone; the precision is new.
    assert now.pop("precision") == "float32"
    assert {n: before[n] for n in now} == now
    assert set(now) < set(before)


def test_whatever_alters_a_step_makes_another_run(digits):
    now, before, problem = now_and_before("pad", digits)
    for values in (now, before):
        same = identity(values, problem)
        for change in ({"workdir": "there"}, {"steps": 7}, {"num_eval": 9}):
            assert identity({**values, **change}, problem) == same
        for change in ({"image_lr": 7.0}, {"mask_ratio": 0.5}, {"max_start": 3}):
            assert identity({**values, **change}, problem) != same
    # What no choice of the method looks at.
    for change in ({"batch_real": 1}, {"distance": "cos"}, {"judges": 9}):
        assert identity({**before, **change}, problem) == identity(before, problem)


def test_a_value_that_a_version_did_not_have_stands_for_its_default(digits):
    """Runs of today and of before, without the values that came last."""
    now, before, problem = now_and_before("dsa", digits)
    for values in (now, before):
        for name in ("tensors", "batch_syn", "mask", "segments", "sampling", "space"):
            older = {n: x for n, x in values.items() if n != name}
            assert identity(older, problem) == identity(values, problem)


@pytest.mark.parametrize("method", METHODS)
def test_a_rising_weight_arrives_at_the_end_of_the_published_run(method, digits):
    flags = {"sdc_weight": 1.0, "steps": 7, "ipc": 2, "net": "mlp", "width": 4}
    if "tensors" in flat(METHODS[method]):
        flags["tensors"] = "all"  # an MLP has no convolution
    resolved = open_run(method, flags, digits).resolved
    published = preset(method, "digits", 2).length.steps
    assert (resolved.length.steps, resolved.recipe.sdc.horizon) == (7, published)
