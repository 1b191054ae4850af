"""The table of methods and modifiers, in a corner of it."""

import contextlib
import dataclasses
import hashlib
import json
import os
import shlex

import numpy as np
import pytest

from experiments import matrix
from experiments.comparing import filling
from experiments.comparing.cells import Key, Records
from jaxdd.artifact import file as artifact
from jaxdd.distillation import run as distill
from jaxdd.distillation import segmented
from jaxdd.distillation.options import Config
from jaxdd.errors import Diverged, UserError
from tests.experiments.helpers import NoProbes, busy, without_records
from tests.helpers import full_disk

# Segments and windows have tests of their own.
SMALL = {"methods": "dm", "modifiers": "plain,sdc,fiem", "steps": 2, "width": 4}


def small(workdir, **changes) -> matrix.Config:
    return matrix.Config(workdir=str(workdir), **{**SMALL, **changes})


@pytest.fixture(autouse=True, scope="module")
def tiny():
    """A network that compiles quickly: the table is of the field's own."""
    cell_of, quick = matrix.cell_of, {"net": "mlp", "augmentation": "none"}

    def of(config, key):
        cell = cell_of(config, key)
        flags = dataclasses.replace(cell.config, **quick)
        return dataclasses.replace(cell, config=flags)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matrix, "cell_of", of)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny):
    folder = tmp_path_factory.mktemp("matrix")
    return folder, matrix.run(small(folder))


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


@pytest.mark.slow
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


def test_a_modifier_without_effect_does_not_work(finished, tmp_path, monkeypatch):
    monkeypatch.setitem(matrix.MODIFIERS, "fiex", {"probes": 2})
    copy = without_records(finished[0], tmp_path / "copy")
    plain, idle = matrix.run(small(copy, modifiers="plain,fiex"))["cells"]
    assert plain["works"]
    assert not idle["works"]
    assert "equal those of the plain method" in idle["why"]
    assert "**no**" in (copy / "matrix.md").read_text()


def test_cells_whose_record_is_lost_are_the_same_again(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(filling, "Probes", NoProbes)  # nothing is left to be measured
    copy = without_records(finished[0], tmp_path / "copy")
    again = matrix.run(small(copy, modifiers="plain,fiem"))["cells"]
    timed = ("seconds_per_step", "peak_mb")
    for cell, before in zip(
        again, (finished[1]["cells"][i] for i in (0, 2)), strict=True
    ):
        # No step was left: how long one takes, and what it needs, is not known.
        assert [cell[name] for name in timed] == [None, None]
        changed = {k for k in cell if cell[k] != before[k]}
        assert changed <= {*timed, "command"}
        assert cell["command"] == before["command"].replace(str(finished[0]), str(copy))
    assert "2 of 2 cells work" in (copy / "matrix.md").read_text()


def full_after_one_file(patch):
    """The disk takes the table's run.json, and nothing of its cells."""
    sync, calls = os.fsync, []

    def fsync(file):
        calls.append(file)
        if len(calls) > 1:
            full_disk()
        sync(file)

    patch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("trouble", ["busy", "disk"])
def test_passing_trouble_is_no_result(finished, tmp_path, monkeypatch, trouble):
    monkeypatch.setattr(filling, "Probes", NoProbes)
    copy = without_records(finished[0], tmp_path / "copy")
    asked = small(copy, modifiers="plain")
    with monkeypatch.context() as patch, contextlib.ExitStack() as stack:
        sentence = "another live run owns"
        if trouble == "busy":
            stack.enter_context(busy(copy / "dm-plain"))
        else:
            sentence = "No space left on device"
            full_after_one_file(patch)
        with pytest.raises(UserError, match=sentence):
            matrix.run(asked)
    assert (copy / "run.json").exists()
    assert not (copy / "matrix.json").exists()
    assert [x["works"] for x in matrix.run(asked)["cells"]] == [True]


def test_missing_experts_are_no_result(tmp_path, problem):
    records = Records(tmp_path)
    filler = filling.Filler(records, {"mtt": problem}, lambda cell: cell)
    cell = matrix.cell_of(small(tmp_path, methods="mtt"), Key("mtt", "plain"))
    with pytest.raises(UserError, match=f"{tmp_path}/experts"):
        filler.add(cell)
    assert records.all == []


def test_a_refusal_of_the_flags_is_a_result(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(filling, "Probes", NoProbes)
    copy = without_records(finished[0], tmp_path / "copy")
    asked = small(copy, modifiers="plain,fiem")
    real = filling.open_run

    def refuse(method, flags, problem):
        if "mask" not in flags:
            raise UserError("--features=all | is not for dm")
        return real(method, flags, problem)

    with monkeypatch.context() as patch:
        patch.setattr(filling, "open_run", refuse)
        plain, masked = matrix.run(asked)["cells"]
    assert (plain["works"], plain["sha256"]) == (False, None)
    assert masked["works"]  # compared with nothing, since the plain cell is refused
    text = (copy / "matrix.md").read_text()
    assert "**no**: --features=all \\| is not for dm" in text
    # A refusal costs nothing, so it is asked for again.
    again, same = matrix.run(asked)["cells"]
    assert again["works"]
    assert same == masked


def test_a_loss_that_diverges_is_a_result(tmp_path, monkeypatch):
    def diverge(*args):
        raise Diverged("the loss of step 1 is not finite", "lower --image_lr")

    monkeypatch.setattr(segmented, "distil", diverge)
    monkeypatch.setattr(filling, "Probes", NoProbes)
    (cell,) = matrix.run(small(tmp_path, modifiers="plain"))["cells"]
    assert not cell["works"]
    assert cell["why"] == "the loss of step 1 is not finite"


def test_a_loss_that_is_not_finite_is_no_number(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(filling, "Probes", NoProbes)
    monkeypatch.setattr(filling, "mean_loss", lambda *a: float("nan"))
    copy = without_records(finished[0], tmp_path / "copy")
    (cell,) = matrix.run(small(copy, modifiers="plain"))["cells"]
    assert (cell["works"], cell["why"]) == (False, "not finite")
    assert cell["loss_before"] is None


@pytest.mark.parametrize("content", ["{", "[{}]", "[1]", '{"a": 1}', "[[[["])
def test_a_damaged_table_is_refused(finished, tmp_path, content):
    path = tmp_path / "matrix.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"matrix\.json .* remove it, and its cells"):
        matrix.run(small(tmp_path))
    assert path.read_text() == content


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"ipc": 1}, "--ipc"),
        ({"methods": "dm,xx"}, "unknown 'xx' in --methods"),
        ({"modifiers": "sdc,xx"}, "unknown 'xx' in --modifiers"),
        ({"methods": "dm,dm"}, "--methods names 'dm' twice"),
        ({"steps": 0}, "--steps"),
    ],
)
def test_refusals(tmp_path, changes, word):
    target = tmp_path / "new"
    with pytest.raises(UserError, match=word):
        matrix.run(small(target, **changes))
    assert not target.exists()
