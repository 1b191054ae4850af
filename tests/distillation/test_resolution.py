"""What a run is compared by, against the values that earlier versions wrote."""

import json
from pathlib import Path

import jax
import pytest

from jaxdd.data.problem import DataFlags, open_problem
from jaxdd.distillation.identity import identity
from jaxdd.distillation.opening import open_run
from jaxdd.distillation.options import run_of
from jaxdd.errors import UserError
from jaxdd.fields import flat
from jaxdd.methods.presets import preset
from jaxdd.methods.recipes import METHODS

# `values` of run.json as the version before recipes wrote them: the settings of all
# axes, whatever the method. `differ` is what a run has other than the first line.
BEFORE = json.loads((Path(__file__).parent / "values_before.json").read_text())
RUNS = {run.pop("name"): run for run in BEFORE["runs"]}
# Presets that have changed since: where the flag is not given, it is another run.
CHANGED = {"dcc": {"image_lr": 0.06}}


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
    before = {**BEFORE["usual"], **run["differ"], **CHANGED.get(name, {})}
    return now, before, opened.problem


NEW = {
    "precision",
    "probe_kinds",
    "image_optimizer",
    "image_schedule",
    "image_horizon",
    "image_clip",
    "calibration",
    "ema_of",
    "clipping",
    "feature_distance",
    "matches",
    "segment_rule",
    "segment_score",
    "lesson_epochs",
    "reference_epochs",
    "eval_optimizer",
    "eval_loss",
    "match_norm",
    "match_activation",
    "tensorboard",
    "stream",
    "boost_rate",
    "modality",
    "label",
    "id_column",
    "missing",
    "realism",
    "realism_score",
    "crops",
    "crop_images",
    "crop_area",
    "temperature",
    "image_beta1",
    "image_beta2",
    "statistics_weight",
    "first_weight",
    "view_area",
    "view_flip",
    "view_roll",
    "view_schedule",
    "view_horizon",
    "zca_blocks",
    "statistics_of",
    "subset",
}  # values that the version before did not have


@pytest.mark.parametrize("name", RUNS)
def test_a_run_of_the_version_before_is_the_same_run(name, digits):
    now, before, problem = now_and_before(name, digits)
    assert identity(now, problem) == identity(before, problem)
    # Of the old values, only those of absent choices are gone.
    assert {n: x for n, x in now.items() if n not in NEW} == {
        n: before[n] for n in now if n not in NEW
    }
    assert set(now) - NEW < set(before)


@pytest.mark.parametrize("method", METHODS)
def test_a_rising_weight_arrives_at_the_end_of_the_published_run(method, digits):
    flags = {"sdc_weight": 1.0, "steps": 7, "ipc": 2, "net": "mlp", "width": 4}
    if "tensors" in flat(METHODS[method]):
        flags["tensors"] = "all"  # an MLP has no convolution
    if "attention_power" in flat(METHODS[method]):
        flags["net"] = "convnet"  # nor maps
    if METHODS[method].taught:
        flags["net"] = "convnet_bn"  # nor batch norm
    resolved = open_run(method, flags, digits).resolved
    published = preset(method, "digits", 2).length.steps or 7  # RDED's is none
    assert (resolved.length.steps, resolved.recipe.sdc.horizon) == (7, published)


def test_matched_networks_may_differ_from_those_that_are_evaluated(digits):
    flags = {"ipc": 1, "width": 4, "depth": 1, "steps": 1, "match_norm": "none"}
    opened = open_run("dm", flags, digits)
    values, same = opened.resolved.values("here"), open_run("dm", {"ipc": 1}, digits)
    assert values["network"] == {"name": "convnet", "width": 4, "depth": 1}
    assert values["match_norm"] == "none"
    network = opened.network
    matched = opened.resolved.matched(digits.dataset, network)
    blocks = [set(x.init(jax.random.key(0))[0]["block0"]) for x in (network, matched)]
    assert blocks == [{"conv", "norm"}, {"conv"}]
    assert same.resolved.matched(digits.dataset, same.network) is same.network
    # It alters a step, so that a run without it is another run.
    without = {**values, "match_norm": None}
    assert identity(values, digits) != identity(without, digits)


@pytest.mark.parametrize(
    ("method", "flags", "sentence"),
    [
        ("mtt", {"match_norm": "none"}, "--match_norm and .* for methods without expe"),
        ("dsa", {"image_horizon": 3}, "--image_horizon=3 is where a cosine ends"),
    ],
)
def test_choices_that_exclude_each_other(method, flags, sentence):
    with pytest.raises(UserError, match=sentence):
        run_of(method, flags)
