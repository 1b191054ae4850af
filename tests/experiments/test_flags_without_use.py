"""Flags that a method has no use for, and bad ones: refused before any work."""

import pytest

from jaxdd.distillation import run as distill
from tests.experiments.helpers import QUICK, following, small
from tests.helpers import refused

DSA = {"method": "dsa"}


@pytest.mark.parametrize(
    ("start", "changes", "told"),
    [
        (small, {**DSA, "init_ratio": 0.5}, "--init_ratio .*--drop_hardest"),
        (small, {"labels": "teacher"}, "--labels=teacher needs a method"),
        (small, {**DSA, "sdc_weight": 1.0, "sdc_at": "path"}, "--sdc_at=path"),
        (small, {"mask": "depth", "mask_ratio": 0.25}, "add --features=all"),
        (following, {"bank_dtype": "float16"}, "--bank_dtype|'float16'"),
        (following, {"min_start": 2}, "lowest < first <= highest"),
        (following, {"first_start": 1}, "--expansion"),
        (following, {"mask": "depth", "mask_ratio": 1e-6}, "drops none of 682 entries"),
        (following, {"drop_hardest": 0.0001}, "leaves out none of them"),
        (following, {"eval_augmentation": "spin"}, "'spin'"),
    ],
    ids=lambda x: getattr(x, "__name__", str(x)),
)
def test_bad_flags_are_refused_before_any_work(tmp_path, problem, start, changes, told):
    usual = QUICK if start is small else {}
    with refused(told):
        distill.run(start(tmp_path / "run", **{**usual, **changes}), problem)
    assert not (tmp_path / "run").exists()
