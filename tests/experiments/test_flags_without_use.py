"""Flags that a method has no use for, and bad ones: refused before any work."""

import pytest

from jaxdd.distillation import run as distill
from tests.experiments.helpers import following, small
from tests.helpers import refused


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"method": "dsa", "init_ratio": 0.5}, "--init_ratio .*--drop_hardest"),
        ({"method": "dm", "labels": "teacher"}, "--labels=teacher needs a method"),
        ({"method": "dsa", "sdc_weight": 1.0, "sdc_at": "path"}, "--sdc_at=path"),
        ({"method": "dm", "mask": "depth", "mask_ratio": 0.25}, "add --features=all"),
    ],
    ids=str,
)
def test_flags_that_a_method_has_no_use_for_are_refused(tmp_path, changes, told):
    with refused(told):
        distill.run(small(tmp_path / "run", **{"sdc_weight": 0.0, **changes}))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"bank_dtype": "float16"}, "--bank_dtype|'float16'"),
        ({"min_start": 2}, "lowest < first <= highest"),
        ({"first_start": 1}, "--expansion"),
        ({"mask": "depth", "mask_ratio": 1e-6}, "drops none of 682 entries"),
        ({"drop_hardest": 0.0001}, "leaves out none of them"),
        ({"eval_augmentation": "spin"}, "'spin'"),
    ],
    ids=str,
)
def test_bad_flags_are_refused_before_experts_are_trained(
    tmp_path, problem, changes, told
):
    with refused(told):
        distill.run(following(tmp_path / "run", **changes), problem)
    assert not (tmp_path / "run").exists()
