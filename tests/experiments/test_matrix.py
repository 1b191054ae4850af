"""The table of methods and modifiers, in a corner of it."""

import hashlib
import json
import shlex

import numpy as np
import pytest

from experiments import distill, matrix
from experiments.distill import Config
from jaxdd import artifact
from jaxdd.errors import UserError

# Segments and windows have tests of their own.
SMALL = {"methods": "dm", "modifiers": "plain,sdc,fiem", "steps": 2, "width": 4}


def small(workdir, **changes) -> matrix.Config:
    return matrix.Config(workdir=str(workdir), **{**SMALL, **changes})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("matrix")
    return folder, matrix.run(small(folder))


def test_fifty_cells():
    config = matrix.Config(workdir="somewhere")
    rows, columns = matrix._axes(config)
    assert len(rows) * len(columns) == 50


def test_every_cell_of_a_row_works(finished):
    folder, table = finished
    cells = json.loads((folder / "matrix.json").read_text())
    assert cells == table["cells"]
    assert [x["modifier"] for x in cells] == SMALL["modifiers"].split(",")
    for cell in cells:
        assert cell["works"], cell["why"]
        assert cell["seconds_per_step"] > 0
        assert cell["peak_mb"] > 0
        assert np.isfinite([cell["loss_before"], cell["loss_after"]]).all()
    assert len({x["sha256"] for x in cells}) == len(cells)
    assert "3 of 3 cells work" in (folder / "matrix.md").read_text()


def test_the_command_distils_the_cell_alone(finished, tmp_path):
    _, table = finished
    cell = next(x for x in table["cells"] if x["modifier"] == "sdc")
    words = shlex.split(cell["command"])
    assert words[:3] == ["python", "-m", "experiments.distill"]
    kinds = {"ipc": int, "steps": int, "seed": int, "width": int, "measure_every": int}
    kinds |= {"validation": float, "sdc_weight": float}
    kinds |= {"sdc_share": "True".__eq__, "sdc_relative": "True".__eq__}
    flags = dict(word.removeprefix("--").split("=", 1) for word in words[3:])
    flags = {k: kinds.get(k, str)(v) for k, v in flags.items()}
    flags |= {"workdir": str(tmp_path), "num_eval": 1, "num_random": 5}
    distill.run(Config(**flags, eval_epochs=1, probes=1, probe_steps=1))
    images = artifact.load(tmp_path / "distilled.npz").images
    assert hashlib.sha256(images.tobytes()).hexdigest() == cell["sha256"]


def test_filled_cells_are_taken_over(finished, monkeypatch):
    folder, table = finished
    monkeypatch.setattr(matrix._Table, "_filled", None)
    assert matrix.run(small(folder))["cells"] == table["cells"]


def test_a_modifier_without_effect_does_not_work(tmp_path, monkeypatch):
    monkeypatch.setitem(matrix.MODIFIERS, "fiex", {"probes": 2})
    found = matrix.run(small(tmp_path, modifiers="plain,fiex"))["cells"]
    assert found[0]["works"]
    assert not found[1]["works"]
    assert "equal those of the plain method" in found[1]["why"]
    assert "**no**" in (tmp_path / "matrix.md").read_text()


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"ipc": 1}, "--ipc"),
        ({"methods": "dm,xx"}, "unknown method 'xx'"),
        ({"modifiers": "sdc,xx"}, "unknown modifier 'xx'"),
        ({"steps": 0}, "--steps"),
    ],
)
def test_refusals(tmp_path, changes, word):
    target = tmp_path / "new"
    with pytest.raises(UserError, match=word):
        matrix.run(small(target, **changes))
    assert not target.exists()
