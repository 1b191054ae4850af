"""Flags that a method has no use for, and bad ones: refused before any work."""

import pytest

from jaxdd.distillation import options
from jaxdd.distillation import run as distill
from jaxdd.errors import UserError
from tests.experiments.helpers import following, small
from tests.helpers import refused


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"method": "dsa", "experts": "x"}, "--experts is about experts"),
        ({"method": "dm", "num_experts": 3}, "--num_experts is about experts"),
        ({"method": "dc", "removals": "4:0.1"}, "--removals is about experts"),
        ({"method": "dsa", "init_ratio": 0.5}, "--init_ratio .*--drop_hardest"),
        ({"method": "dsa", "init": "correct"}, "--init=correct needs experts"),
        ({"method": "dsa", "labels": "soft"}, "--labels=soft needs experts"),
        ({"method": "dm", "labels": "teacher"}, "--labels=teacher needs a method"),
        ({"method": "dsa", "sdc_weight": 1.0, "sdc_at": "path"}, "--sdc_at=path"),
        ({"method": "dsa", "student_steps": 3}, "--student_steps is about"),
        ({"method": "dm", "gradient": "truncated"}, "--gradient is about"),
        ({"method": "dm", "matches": 3}, "--matches is about networks"),
        ({"method": "dm", "distance": "mse"}, "--distance is about matching grad"),
        ({"method": "dsa", "features": "all"}, "--features is about matching feat"),
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
        ({"batch_real": 8}, "--batch_real is about matching real samples"),
        ({"inner_epochs": 2}, "--inner_epochs is about networks"),
        ({"labels": "some"}, "'some'"),
        ({"gradient": "half"}, "'half'"),
        ({"bank_dtype": "float16"}, "--bank_dtype|'float16'"),
        ({"min_start": 2}, "lowest < first <= highest"),
        ({"first_start": 1}, "--expansion"),
        ({"max_start": 0}, "--max_start must be positive"),
        ({"ema_decay": 1.0}, "--ema_decay must be below 1"),
        ({"gate": -1.0}, "--gate must be at least 0"),
        ({"experts": "x", "num_experts": 3}, "--num_experts is for a bank made here"),
        ({"mask": "depth"}, "--mask=depth drops nothing so far"),
        ({"mask_ratio": 0.25}, "--mask_ratio is about a mask"),
        ({"mask": "depth", "mask_ratio": 1e-6}, "drops none of 682 entries"),
        ({"mask": "depth", "mask_ratio": 1.0}, "--mask_ratio must be below 1"),
        ({"drop_hardest": 0.0001}, "leaves out none of them"),
        ({"score": "el2n"}, "nothing is left out by that order"),
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


@pytest.mark.parametrize(
    ("method", "flags", "told"),
    [
        ("dsa", {"seed": -1}, "--seed must lie between 0 and 4294967295, not -1"),
        ("dsa", {"ipc": 2**31}, "--ipc must lie between -2147483647 and"),
        ("dsa", {"mask": "width"}, "--mask must be one of none, depth, loss, not 'w"),
        ("dsa", {"mask": ["loss"]}, "--mask must be a text, not ["),
        ("mtt", {"labels": ["soft"]}, "--labels must be a text, not ["),
        ("mtt", {"labels": "teacher", "factor": 2}, "--labels=teacher needs whole im"),
        ("mtt", {"label_lr": 1.0}, "--label_lr is about learned labels, which"),
        ("dsa", {"warmup_networks": 2}, "--warmup_networks is about matching all cl"),
        ("dsa", {"sdc_norm": "mean"}, "--sdc_norm is about the difficulty correction"),
        ("d4a", {"segments": 1, "judges": 3}, "--judges is about segments, which"),
    ],
    ids=str,
)
def test_a_refusal_names_the_flag(method, flags, told):
    """Also for callers in Python, whose values no command line has read before."""
    with pytest.raises(UserError) as error:
        options.run_of(method, flags)
    assert str(error.value).startswith(told)
