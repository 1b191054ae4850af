"""A share of the random flag sets; `make test-slow` has them all."""

import pytest

from tests.faults import flags


def check(count, first):
    kinds, told = flags.faults(count, first)
    assert told == []
    # Neither refusing everything nor understanding everything is a finding.
    assert min(kinds["refused"], kinds["understood"]) > count / 40


def test_random_flags_are_understood_or_refused_in_a_sentence():
    check(100, 0)


@pytest.mark.slow
def test_five_hundred_of_them():
    check(500, 100)


def test_a_fault_is_found(monkeypatch):
    """The answers above are not given for want of looking."""

    def broken(*_):
        raise KeyError("a bug")

    monkeypatch.setattr(flags.fields.options, "local_path", broken)
    kinds, told = flags.faults(5)
    assert kinds["fault"] == len(told) == 5
    assert "KeyError" in told[0]
    for sentence in ("a\nb", "x" * 5000, "\udcff"):
        assert flags.judged(sentence).kind == "fault"
