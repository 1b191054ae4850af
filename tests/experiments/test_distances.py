"""Runs of M3D, DataDAM and NCFM: stopped and continued, in segments, windowed."""

import numpy as np
import pytest

import jaxdd
from jaxdd.distillation import options
from jaxdd.distillation import run as distill
from jaxdd.distillation.opening import open_run
from tests.experiments.helpers import assert_same_run, read_json
from tests.experiments.segments import kill_in_segment
from tests.helpers import Killed, refused

SMALL = {
    "dataset": "digits",
    "ipc": 2,
    "net": "mlp",
    "width": 8,
    "augmentation": "none",
    "batch_real": 8,
    "steps": 4,
    "num_eval": 1,
    "num_random": 5,
    "eval_epochs": 2,
    "eval_augmentation": "none",
    "log_every": 1,
    "save_every": 1,
}
OF = {
    "m3d": {"matches": 2},
    "ncfm": {"cf_frequencies": 8, "num_experts": 2, "bank_epochs": 2},
}

pytestmark = pytest.mark.usefixtures("no_probes")


def config(workdir, method, **changes) -> options.Config:
    flags = {**SMALL, **OF.get(method, {}), **changes}
    return options.Config(workdir=str(workdir), method=method, **flags)


@pytest.mark.slow
def test_ncfm_goes_on_with_its_experts(problem, tmp_path, monkeypatch):
    """To the bit, and the bank is not trained again."""
    distill.run(config(tmp_path / "whole", "ncfm"), problem)
    asked = config(tmp_path / "killed", "ncfm")
    with monkeypatch.context() as patch:
        kill_in_segment(0, patch)
        with pytest.raises(Killed):
            distill.run(asked, problem)
    bank = tmp_path / "killed/experts/snapshots.bin"
    before = bank.read_bytes()
    assert distill.run(asked, problem)["resumed_at"] == [2]
    assert bank.read_bytes() == before
    assert_same_run(tmp_path / "killed", tmp_path / "whole")
    made = jaxdd.load(tmp_path / "whole/distilled.npz")
    assert made.step_size is None
    assert made.space == "pixels"
    values = read_json(tmp_path / "whole/summary.json")["config"]
    assert values["bank"]["experts"] == 2
    assert (values["eval_optimizer"], values["eval_schedule"]) == ("adamw", "fifths")


@pytest.mark.slow
def test_ncfm_in_segments_with_a_window_a_mask_and_the_correction(problem, tmp_path):
    """Everything at once, from a bank that is given; its window is that of the run."""
    flags = {
        "segments": 2, "forgetting": "proxy", "judges": 1, "judge_epochs": 2,
        "sdc_weight": 0.1, "drop_hardest": 0.5, "score": "el2n", "features": "all",
        "mask": "depth", "mask_ratio": 0.25, "steps": 2,
    }  # fmt: skip
    distill.run(config(tmp_path / "own", "ncfm", **flags), problem)
    summary = read_json(tmp_path / "own/summary.json")
    total = len(problem.splits.train.labels)
    assert 0.4 * total < sum(summary["segments"][0]["kept"]) < 0.6 * total
    assert not (tmp_path / "own/segments/1/experts").exists()
    given = {**flags, "experts": str(tmp_path / "own/experts")}
    del given["segments"], given["forgetting"], given["judges"], given["judge_epochs"]
    opened = open_run(
        "ncfm",
        {**SMALL, "cf_frequencies": 8, **given},
        problem,
    )
    assert any("window" in remark for remark in opened.remarks)


@pytest.mark.slow
def test_m3d_in_a_run(problem, tmp_path):
    distill.run(config(tmp_path / "run", "m3d"), problem)
    made = jaxdd.load(tmp_path / "run/distilled.npz")
    assert np.isfinite(made.images).all()
    assert made.factor == 1


@pytest.mark.parametrize(
    ("method", "changes", "told"),
    [
        ("datadam", {}, "needs a network with at least two blocks of maps"),
        ("datadam", {"net": "convnet", "depth": 1}, "use a ConvNet with --depth=2"),
        (
            "ncfm",
            {"net": "convnet_bn", "width": 4},
            "cannot have batch norm.*use --norm=instance",
        ),
        ("ncfm", {"segments": 2, "segment_rule": "pdd"}, "use filter"),
        ("ncfm", {"segments": 2, "segment_experts": 1}, "short runs of experts"),
        ("dm", {"calibration": 1.0}, "--calibration=1 needs trained networks"),
        ("m3d", {"calibration": -1.0}, "--calibration must be at least 0"),
        ("m3d", {"clipping": "never"}, "must be one of network, step"),
    ],
)
def test_what_makes_no_sense_is_refused(problem, tmp_path, method, changes, told):
    with refused(told):
        distill.run(config(tmp_path / "run", method, **changes), problem)
    assert not (tmp_path / "run").exists()
