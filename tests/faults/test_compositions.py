"""Axes combine freely, or say why not: a share here, `make test-slow` has 400."""

import pytest

from tests.faults import compositions


def check(count, first):
    kinds, told = compositions.faults(count, first)
    assert told == []
    assert min(kinds["refused"], kinds["traced"]) > count / 5
    assert kinds["unfit"] > count / 40


def test_random_recipes_are_traced_or_refused_in_a_sentence():
    check(40, 0)


@pytest.mark.slow
def test_four_hundred_of_them():
    check(400, 40)


def test_a_fault_is_found(monkeypatch):
    """The answers above are not given for want of looking."""

    def broken(*_):
        raise TypeError("a bug")

    monkeypatch.setattr(compositions, "build", broken)
    kinds, told = compositions.faults(4)
    assert kinds["fault"] == len(told) > 0
    assert "a bug" in told[0]
