"""A set that grows: segments that are boosted."""

from pathlib import Path

import numpy as np
import pytest

import jaxdd
from jaxdd.distillation import options
from jaxdd.distillation import run as distill
from tests.experiments.helpers import read_json
from tests.experiments.segments import OF_DM, config
from tests.helpers import Killed, die

pytestmark = pytest.mark.usefixtures("no_probes")


BOOSTED = {
    **OF_DM,
    "segments": 2,
    "segment_rule": "boost",
    "judges": 1,
    "judge_epochs": 2,
}


def boosted(workdir, **changes) -> options.Config:
    return config(workdir, BOOSTED, **changes)


@pytest.fixture(scope="module")
def moved(tmp_path_factory, problem, no_probes) -> Path:
    """A finished run whose set grows; tests must not change it."""
    folder = tmp_path_factory.mktemp("boosted") / "run"
    distill.run(boosted(folder), problem)
    return folder


def test_a_boosted_set_holds_the_earlier_one_and_goes_on(moved):
    records = read_json(moved / "summary.json")["segments"]
    assert [x["size"] for x in records] == [2, 1]
    assert len({tuple(x["kept"]) for x in records}) == 1
    first, second = (np.load(moved / f"segments/{i}/segment.npz") for i in (0, 1))
    whole = jaxdd.load(moved / "distilled.npz").images
    assert np.array_equal(whole, second["images"])
    begun = second["begun_images"]
    assert np.array_equal(begun[:, :2], first["images"])
    # The earlier images move, less than the new one.
    old, new = (np.abs(whole - begun)[:, rows].mean() for rows in ([0, 1], [2]))
    assert 0 < old < 0.5 * new


@pytest.mark.slow
def test_a_killed_boosted_set_is_continued_and_a_rate_of_0_keeps_what_there_is(
    moved, problem, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(distill, "_measure", die)
        with pytest.raises(Killed):
            distill.run(boosted(tmp_path / "again"), problem)
    distill.run(boosted(tmp_path / "again"), problem)
    again, once = (jaxdd.load(x / "distilled.npz") for x in (tmp_path / "again", moved))
    assert np.array_equal(again.images, once.images)
    distill.run(boosted(tmp_path / "kept", boost_rate=0.0), problem)
    kept = jaxdd.load(tmp_path / "kept/distilled.npz").images
    first = np.load(tmp_path / "kept/segments/0/segment.npz")["images"]
    assert np.array_equal(kept[:, :2], first)
