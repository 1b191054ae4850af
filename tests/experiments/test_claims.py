"""What several seeds show: verdicts against calculations by hand, sides of claims."""

import numpy as np
import pytest

from experiments.comparing import claims


@pytest.mark.parametrize(
    ("differences", "side", "expected"),
    [
        # Mean 2, standard error 1 / sqrt(3), t of 2 degrees 4.303: 2 +- 2.48.
        ([1.0, 2.0, 3.0], 1, "not shown"),
        ([1.0, 2.0, 3.0], -1, "not shown"),
        # Mean 2.6 with the same interval.
        ([1.6, 2.6, 3.6], 1, "shown"),
        ([1.6, 2.6, 3.6], -1, "contradicted"),
        ([-1.6, -2.6, -3.6], -1, "shown"),
        ([-1.6, -2.6, -3.6], 1, "contradicted"),
        # Two seeds: t of 1 degree 12.706, so 1 +- 0.64 and 1 +- 1.27.
        ([0.95, 1.05], 1, "shown"),
        ([0.9, 1.1], 1, "not shown"),
        ([0.0, 0.0, 0.0], 1, "not shown"),
        ([5.0], 1, "not shown (one seed)"),
        ([-5.0], 1, "not shown (one seed)"),
    ],
)
def test_verdicts(differences, side, expected):
    assert claims.verdict(differences, side) == expected


def made_up(accuracies, norms, ends=(20.0, 20.0, 20.0)):
    return [
        {
            "distilled": {"mean": a},
            "difficulty": {
                "start": {"grad_norm": 5.0, "percentile": 50.0},
                "end": {"grad_norm": n, "percentile": p},
            },
        }
        for a, n, p in zip(accuracies, norms, ends, strict=True)
    ]


def judged(family, ends, **changes):
    plain = made_up([80.0, 81.0, 82.0], [2.0, 2.1, 2.2], ends)
    corrected = made_up([81.0, 82.0, 83.1], [1.0, 1.1, 1.3])
    largest = made_up([60.0, 62.0, 63.0], [9.0, 9.0, 9.0])
    found = claims.of_method(
        "m",
        family,
        plain,
        corrected,
        changes.get("largest", largest),
        changes.get("longer"),
    )
    return {x["claim"]: x for x in found}


def test_the_claims_have_the_right_sides():
    harder, easier = [80.0, 81.0, 82.0], [20.0, 21.0, 22.0]
    found = judged("gradient", harder)
    assert {k: x["verdict"] for k, x in found.items()} == dict.fromkeys("abcd", "shown")
    assert found["a"]["by_seed"] == [30.0, 31.0, 32.0]
    assert found["b"]["by_seed"] == pytest.approx([-1.0, -1.0, -0.9])
    assert found["c"]["by_seed"] == pytest.approx([1.0, 1.0, 1.1])
    assert found["d"]["difference"] == pytest.approx(-58 / 3)
    # Gains of -1, 0 and 1 points have the interval 4.302653 / sqrt(3).
    assert found["a"]["interval"] == pytest.approx(4.302653 / np.sqrt(3), rel=1e-6)

    assert judged("gradient", easier)["a"]["verdict"] == "contradicted"
    assert judged("trajectory", harder)["a"]["verdict"] == "contradicted"
    assert judged("trajectory", easier)["a"]["verdict"] == "shown"
    unclear = [40.0, 50.0, 60.0]
    for family in ("gradient", "trajectory"):
        assert judged(family, unclear)["a"]["verdict"] == "not shown"
    assert "a" not in judged("distribution", harder)


def test_a_gain_that_longer_steps_bring_too_is_none_of_sdc():
    """With SDC 81, 82 and 83.1 % are reached."""
    for accuracies, verdict in (
        ([80.0, 81.1, 82.0], "shown"),
        ([82.0, 83.1, 84.0], "contradicted"),
        ([80.0, 83.0, 83.0], "not shown"),
    ):
        found = judged("gradient", [50.0] * 3, longer=made_up(accuracies, [1.0] * 3))
        assert (found["c"]["verdict"], found["e"]["verdict"]) == ("shown", verdict)
    assert "e" not in judged("gradient", [50.0] * 3)


def test_a_weight_that_was_not_tried_shows_nothing():
    found = judged("gradient", [50.0, 50.0, 50.0], largest=None)["d"]
    assert found["verdict"] == "not shown (no weight above the reference)"
    assert (found["difference"], found["interval"], found["by_seed"]) == (
        None,
        None,
        [],
    )
    line = claims.markdown([found])[-1]
    assert line.startswith("| (d) | too large a weight hurts m |  |")
