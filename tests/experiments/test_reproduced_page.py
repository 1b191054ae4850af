"""The page of the ledger: published cells apart from those repeated in seeds."""

import json
from pathlib import Path

import pytest

from experiments.reproducing import by_seed, ledger, page

RESULTS = Path(__file__).parents[2] / "results"


@pytest.fixture(scope="module")
def like():
    """(cell, seed, mean, **changes) -> a record like one of the ledger."""
    (first, *_) = ledger.read(RESULTS / ledger.LEDGER)
    count = iter(range(100))

    def make(cell, seed, mean, **changes):
        record = {**json.loads(json.dumps(first)), "cell": cell, "seed": seed}
        record["distilled"] = {"mean": mean, "std": 1.0, "n": 5}
        record["random"] = {"mean": 60.0 + seed, "std": 1.0, "n": 10}
        return {**record, "sha256": f"{next(count):064x}", **changes}

    return make


def rows_of(text: str) -> list[list[str]]:
    """The cells of the lines of the table of the digits."""
    table = text.partition(page.OURS)[2].partition("## ")[0]
    lines = [line for line in table.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]


def test_seeds_are_one_row_and_gains_are_paired(like):
    records = [
        like("digits-dm-1", 0, 10.0, revision="f00dcafe"),  # run again below
        *(like("digits-dm-1", seed, 80.0 + seed) for seed in (0, 1, 2)),
        like("digits-dm+sdc-1", 1, 82.0),
        like("digits-dm+sdc-1", 2, 84.0),
        like("digits-dm-1", 0, 70.0, device="another"),
        like("digits-dsa-1", 0, 90.0, steps=100, partial=True),
        like("cifar10-dm-1", 0, 26.0),
    ]
    sets = {ledger.set_name(records[2])}
    text = page.text(records, sets)
    head, ours, other = rows_of(text)
    row = dict(zip(head, ours, strict=True))
    # Student's t over three seeds: 4.303 / sqrt(3) times a deviation of 1.
    assert row["plain"] == "81.00 ± 2.48"
    assert row["with SDC"] == "83.00 ± 12.71"
    assert row["gain of SDC"] == "+1.50 ± 6.35"
    assert row["random"] == "61.00 ± 2.48"
    assert "f00dcafe" not in text
    assert row["seeds"] == "0, 1, 2; 1, 2"
    assert row["sets"] == f"0 [1](../results/sets/{sets.pop()}) 2; 1 2"
    assert (other[0], other[3], other[5]) == ("dm", "70.00", "")
    published = text.partition("## Published settings in full")[2].partition("## ")[0]
    assert "cifar10-dm-1" in published
    assert "digits" not in published
    partial = text.partition("## Partial runs")[2].partition("## ")[0]
    assert "digits-dsa-1" in partial


def test_a_cell_of_a_paper_is_not_ours_with_a_modifier_either(like):
    names = ("digits-dm-1", "digits-dm+sdc-1", "cifar10-dm-1", "cifar10-dm+sdc-1")
    of_own = [by_seed.is_ours(like(name, 0, 50.0)) for name in names]
    assert of_own == [True, True, False, False]
    assert not by_seed.is_ours(like("of-another-list-1", 0, 50.0))
