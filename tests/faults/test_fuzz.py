"""A seeded share of the damage: a sentence, or a thing that works, nothing else.

All of it, as `make test-slow`: 3,000 artifacts, 300 files of ours, 300 folders.
"""

import gc
import time

import numpy as np
import pytest

from jaxdd.errors import UserError
from tests.faults import fuzz
from tests.faults.subjects import KINDS

SMALL = {"artifacts": 150, "files": 96, "folders": 40}
WHOLE = {"artifacts": 3000, "files": 300, "folders": 300}


def assert_no_faults(kind, numbers, folder):
    results = list(fuzz.run(KINDS[kind], numbers, 0, folder))
    faults = [x for x in results if x.outcome == "fault"]
    assert not faults, "\n".join(
        f"{x.subject} {x.number} ({x.damage}): {x.message}" for x in faults
    )
    # Damage that is always refused, or never, would try little.
    outcomes = [x.outcome for x in results]
    assert outcomes.count("refused") > len(numbers) / 10
    assert outcomes.count("usable") > len(numbers) / 50


@pytest.mark.parametrize("kind", KINDS)
def test_a_share_of_the_damage(kind, tmp_path):
    assert_no_faults(kind, range(SMALL[kind]), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_all_of_the_damage(kind, tmp_path):
    assert_no_faults(kind, range(WHOLE[kind]), tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_whole_is_usable(kind, tmp_path):
    """Otherwise all damage would be refused for another reason."""
    for name, subject in KINDS[kind].items():
        folder = tmp_path / name
        folder.mkdir()
        subject.build(folder)
        assert fuzz.outcome(subject, folder) == "usable"


def subject_that(use):
    return fuzz.Subject(lambda folder: None, lambda rng, folder: "", use)


def refuse(message):
    def use(folder):
        raise UserError(message)

    return use


def fill(folder):
    return bytearray(b"x") * (400 * 2**20)


FAULTS = {
    "another exception": (lambda folder: {}["x"], "KeyError"),
    "what is not usable": (lambda folder: np.testing.assert_equal(1, 2), "Assertion"),
    "a sentence of two lines": (refuse("a\nb"), "no short line"),
    "a long sentence": (refuse("x" * 700), "no short line"),
    "what no terminal shows": (refuse("\udcff"), "no short line"),
    "gigabytes": (fill, "MB"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found(name, tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz, "MEGABYTES", 50)
    gc.collect()  # garbage of other tests that goes meanwhile would hide what is taken
    use, says = FAULTS[name]
    with pytest.raises(fuzz.Fault, match=says):
        fuzz.outcome(subject_that(use), tmp_path)


def test_what_hangs_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz, "SECONDS", 0.1)
    with pytest.raises(fuzz.Fault, match="more than"):
        fuzz.outcome(subject_that(lambda folder: time.sleep(5)), tmp_path)
