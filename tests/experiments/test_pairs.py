"""Gains and intervals against calculations by hand; tables; names of folders."""

import csv

import numpy as np
import pytest

from experiments.comparing import pairs


def made_up(means, stds, n=5, random=50.0):
    return [
        {
            "distilled": {"mean": m, "std": s, "n": n},
            "random": {"mean": random, "std": 5.0, "n": 10},
            "seconds_per_step": 0.1,
        }
        for m, s in zip(means, stds, strict=True)
    ]


def test_gains_are_paired_by_seed():
    runs = {
        "base": made_up([60.0, 70.0, 80.0], [1.0, 2.0, 2.0]),
        "other": made_up([61.0, 72.0, 83.0], [0.0, 0.0, 3.0], n=4),
    }
    base, other = pairs.compare(runs)
    assert (base["mean"], other["mean"]) == (70.0, 72.0)
    assert (base["n"], other["n"]) == (15, 12)
    assert other["by_seed"] == [61.0, 72.0, 83.0]
    assert other["random"] == 50.0
    # Gains 1, 2, 3: mean 2, standard error 1 / sqrt(3), t of 2 degrees 4.302653.
    assert other["gain"] == pytest.approx(2.0)
    assert other["interval"] == pytest.approx(4.302653 / np.sqrt(3), rel=1e-6)
    assert (base["gain"], base["interval"]) == (0.0, 0.0)
    assert pairs.gain_text(other) == "+2.00 ± 2.48"


def test_the_spread_is_pooled_and_names_survive(tmp_path):
    rng = np.random.default_rng(0)
    networks = rng.normal(70, 3, (4, 5))
    networks += np.array([0, 1, 2, 3])[:, None]
    (row,) = pairs.compare({"x": made_up(networks.mean(1), networks.std(1))})
    assert row["mean"] == pytest.approx(networks.mean())
    assert row["std"] == pytest.approx(networks.std())
    rows = pairs.compare({"IR 0.5, AEE 40": made_up([60.0, 61.0], [1.0, 1.0])})
    pairs.write_tables(tmp_path, "title", rows, ["A note."])
    with (tmp_path / "table.csv").open(newline="") as file:
        (line,) = csv.DictReader(file)
    assert line["name"] == "IR 0.5, AEE 40"
    assert float(line["mean"]) == 60.5


def test_one_seed_and_runs_without_steps():
    rows = pairs.compare({"a": made_up([60.0], [1.0]), "b": made_up([59.5], [1.0])})
    assert rows[1]["interval"] is None
    assert pairs.gain_text(rows[1]) == "-0.50"
    summaries = made_up([60.0] * 3, [1.0] * 3)
    for summary, seconds in zip(summaries, (0.0, 2.0, 4.0), strict=True):
        summary["seconds_per_step"] = seconds
    assert pairs.compare({"a": summaries})[0]["seconds_per_step"] == 3.0
    assert pairs.compare({"a": summaries[:1]})[0]["seconds_per_step"] is None


@pytest.mark.parametrize(
    ("row", "folder"),
    [
        ("FIEX + FIEM", "fiex-fiem-2"),
        ("IR 0.5, AEE 40", "ir-0.5-aee-40-2"),
        ("mtt, weight -1", "mtt-weight-minus1-2"),
        ("mtt, weight 1e-05", "mtt-weight-1eminus05-2"),
        ("D4A without the term", "d4a-without-the-term-2"),
    ],
)
def test_the_folders_of_runs(tmp_path, row, folder):
    """Finished comparisons are found again by these names."""
    assert pairs.folder_of(tmp_path, row, 2) == tmp_path / folder
