"""Pictures do not decide about a run: what cannot be drawn is said and left out."""

import errno
import os

import numpy as np
import pytest

from jaxdd import report
from jaxdd.data.problem import DataFlags, open_problem
from jaxdd.errors import NotWritten
from jaxdd.report import pictures
from jaxdd.scoring.api import write_score
from jaxdd.scoring.result import Difficulty


def fail(*args):
    raise RuntimeError("a bad\nfont")


@pytest.mark.parametrize(
    ("function", "arguments", "cause"),
    [
        (report.curves, [{}], "no series"),
        (report.histogram, [[np.nan]], "none of the 1 scores"),
        (report.image_grid, [np.zeros((1, 1, 4, 4, 3)), ["a", "b"]], "1 classes but 2"),
        (report.counts, [[["x"]], ["a"], ["b"]], "ValueError: could not convert"),
        (fail, [], "(RuntimeError: a bad)"),
    ],
)
def test_what_cannot_be_drawn_is_said(tmp_path, capsys, function, arguments, cause):
    path = tmp_path / "picture\n.png"
    labels = {report.curves: ["x", "y"], report.histogram: ["x"]}.get(function, [])
    assert pictures.draw(function, *arguments, path, *labels) is None
    told = capsys.readouterr().err
    assert told.startswith(f"warning: {tmp_path}/picture\\n.png is left out, since ")
    assert cause in told
    assert told.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_what_can_be_drawn_and_a_full_disk(tmp_path, capsys, monkeypatch):
    path = tmp_path / "a.png"
    assert pictures.draw(report.histogram, [1.0], path, xlabel="x") == path
    assert path.exists()
    assert capsys.readouterr().err == ""

    def fsync(file):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(NotWritten, match="No space left on device"):
        pictures.draw(report.histogram, [1.0], tmp_path / "b.png", xlabel="x")
    assert list(tmp_path.iterdir()) == [path]


def test_scores_without_a_picture_are_scores(tmp_path, capsys):
    problem = open_problem(DataFlags(), 0.0, 0)
    scores = np.full(len(problem.splits.train.labels), np.nan)
    scored = Difficulty(
        {"el2n": scores}, problem.splits.train, problem.dataset.class_names, {}
    )
    write_score(scored, "el2n", tmp_path)
    assert {x.name for x in tmp_path.iterdir()} == {"scores.npz", "extremes.png"}
    assert "histogram.png is left out" in capsys.readouterr().err
