"""Does a bank fit a distillation? What is refused, and what is told."""

import pytest

from jaxdd.errors import UserError
from jaxdd.experts import Bank
from tests.experts.helpers import (
    CURRICULUM,
    DATA,
    NET,
    NETWORK,
    TRAINING,
    filled,
    toy_manifest,
)
from tests.helpers import refused


def check(folder, needed=(0, 3), **changes):
    wanted = toy_manifest(NETWORK, **changes)
    return filled(folder).check(wanted, needed)


def test_what_a_bank_was_made_with_fits(tmp_path):
    """Also where the file has lists and the distillation tuples."""
    assert check(tmp_path) == []
    # How many, how long and how precise is not the distillation's business.
    free = {"experts": 9, "seed": 5, "first_epoch": 1, "last_epoch": 9}
    bank = Bank.open(tmp_path)
    assert bank.check(toy_manifest(NETWORK, dtype="bfloat16", **free), (0, 3)) == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"network": {**NET, "width": 16}},
            r"another network \(width is 8 there and 16 here\)",
        ),
        (
            {"network": {"name": "lenet", "image_shape": (8, 8, 1)}},
            r"\(name is 'mlp' there and 'lenet' here, width is 8 there and None here\)",
        ),
        (
            {"preprocess": {"kind": "zca", "digest": "123"}},
            r"another preprocessing \(kind is 'standard' there and 'zca' here\)",
        ),
        (
            {"data": {**DATA, "fingerprint": "abd"}},
            r"other data \(fingerprint is 'abc' there and 'abd' here\)",
        ),
        ({"leaves": (("bias", (3,)), ("kernel", (5, 3)))}, "of other shapes"),
        ({"leaves": (("bias", (3,)), ("weight", (4, 3)))}, "of other shapes"),
    ],
)
def test_a_bank_of_something_else_is_refused(tmp_path, changes, told):
    with refused(told, str(tmp_path)):
        check(tmp_path, **changes)


@pytest.mark.parametrize("needed", [(0, 4), (3, 5)])
def test_too_few_epochs_are_refused(tmp_path, needed):
    told = f"has the epochs 0 to 3, but {needed[0]} to {needed[1]} are needed"
    with pytest.raises(UserError, match=told):
        check(tmp_path, needed)


def test_epochs_that_were_not_kept_are_refused(tmp_path):
    bank = filled(tmp_path, first_epoch=1)
    wanted = toy_manifest(NETWORK)
    assert bank.check(wanted, (1, 3)) == []
    with pytest.raises(UserError, match="has the epochs 1 to 3, but 0 to 3 are needed"):
        bank.check(wanted, (0, 3))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"training": {**TRAINING, "gsam_rho": 0.01}},
            "another optimiser than this method's (gsam_rho is 0.0 there and 0.01 "
            "here)",
        ),
        (
            {"curriculum": {**CURRICULUM, "removals": ((40, 0.1),)}},
            "another curriculum than this method's (removals is [[40, 0.1], [60, 0.2]] "
            "there and [[40, 0.1]] here)",
        ),
        (
            {"augmentation": "flip"},
            "another augmentation than this method's ('none' there and 'flip' here)",
        ),
    ],
)
def test_other_experts_that_can_be_used_are_told(tmp_path, changes, told):
    assert check(tmp_path, **changes) == [f"the experts were trained with {told}"]


def test_all_differences_are_told(tmp_path):
    changes = {"training": {}, "curriculum": {}, "augmentation": "flip"}
    assert len(check(tmp_path, **changes)) == 3
