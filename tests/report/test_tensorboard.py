"""What TensorBoard reads of a run: whole, resumed, in segments, asked for late."""

import importlib.util
import json
import shutil
import struct

import numpy as np
import pytest
from tensorboardX.proto import event_pb2

import jaxdd
from jaxdd.distillation import run as distill
from jaxdd.distillation.options import Config
from jaxdd.progress import Measured, Pictures, Stage, listening
from jaxdd.report import tensorboard
from jaxdd.storage.metrics import write_lines
from tests.experiments.helpers import CHEAP, SMALL
from tests.helpers import refused

# As many networks as other runs have: programs are compiled once.
RUN = {
    **SMALL, **CHEAP, "steps": 6, "log_every": 2, "measure_every": 3, "save_every": 2,
}  # fmt: skip


def events(workdir):
    """All events, file by file, as TensorBoard's own format frames them."""
    found = []
    for path in sorted((workdir / "tensorboard").iterdir()):
        data, place = path.read_bytes(), 0
        while place < len(data):
            (length,) = struct.unpack("<Q", data[place : place + 8])
            found.append(event_pb2.Event.FromString(data[place + 12 :][:length]))
            place += 16 + length
    return found


def seen(workdir):
    """{tag: {step: value}} as TensorBoard shows it: a restart drops what was later."""
    curves = {}
    for event in events(workdir):
        if event.HasField("session_log"):
            for points in curves.values():
                for step in [s for s in points if s >= event.step]:
                    del points[step]
        for value in event.summary.value:
            kind = value.WhichOneof("value")
            points = curves.setdefault(value.tag, {})
            points[event.step] = value.image if kind == "image" else value.simple_value
    return curves


def lines(workdir):
    text = (workdir / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def agree(workdir):
    """The curves are those of metrics.jsonl, and nothing more; return the images."""
    curves = seen(workdir)
    names = {x for line in lines(workdir) for x in line}
    for name in names - {"step", "seconds", "segment"}:
        points = {x["step"]: x[name] for x in lines(workdir) if x.get(name) is not None}
        assert curves.pop(name) == pytest.approx(points, rel=1e-6)
    assert set(curves) == {"images"}
    return curves["images"]


def test_curves_are_those_of_the_metrics_and_are_written_once(tmp_path):
    config = Config(**RUN, workdir=str(tmp_path), tensorboard=True)
    heard = []
    with listening(heard.append):
        distill.run(config)
    images = agree(tmp_path)
    assert set(images) == {0, 3, 6}
    assert images[3].width > 50
    assert images[3].encoded_image_string.startswith(b"\x89PNG")
    assert images[3].encoded_image_string != images[6].encoded_image_string
    before = events(tmp_path)
    distill.run(config)  # is finished
    assert events(tmp_path) == before
    # Whoever else listens hears the same.
    measured = [x for x in heard if isinstance(x, Measured)]
    assert [{"step": x.step, **x.values} for x in measured] == lines(tmp_path)
    assert "step 6: " in str(measured[-1])
    pictures = [x for x in heard if isinstance(x, Pictures)]
    assert [x.step for x in pictures] == [0, 3, 6, 6]
    made = jaxdd.load(tmp_path / "distilled.npz")
    assert (pictures[-1].images() == made.displayable()).all()
    # A finished run that never asked is caught up with.
    shutil.rmtree(tmp_path / "tensorboard")
    distill.run(config)
    assert set(agree(tmp_path)) == {6}


@pytest.mark.slow
@pytest.mark.parametrize("rule", [{"judge_epochs": 1}, {"segment_rule": "boost"}])
def test_steps_of_segments_follow_each_other(rule, tmp_path):
    flags = {**RUN, "ipc": 2, "segments": 2, **rule}
    distill.run(Config(**flags, workdir=str(tmp_path), tensorboard=True))
    assert set(agree(tmp_path)) == {0, 3, 6, 9, 12}


def grey(step):
    return Pictures("dm", step, ("a", "b"), lambda: np.full((2, 1, 4, 4, 1), 0.5))


def test_a_run_that_goes_on_takes_back_what_it_does_again(tmp_path):
    for first, factor in ((0, 1.0), (4, 10.0)):
        with tensorboard.recording(tmp_path, True), Stage("dm", 6) as stage:
            for step in range(first, 6):
                stage.measured(step, {"loss": factor * step, "seconds": 1.0})
                stage.pictures(step, ("a", "b"), grey(step).images)
    curves = seen(tmp_path)
    assert curves["loss"] == {0: 0, 1: 1, 2: 2, 3: 3, 4: 40, 5: 50}
    assert set(curves) == {"loss", "images"}


def test_a_run_that_asks_late_has_its_earlier_lines(tmp_path):
    earlier = [{"step": i, "loss": 1.0 * i, "seconds": 0.5} for i in range(4)]
    write_lines(tmp_path / "metrics.jsonl", earlier)
    with tensorboard.recording(tmp_path, True), Stage("dm", 6) as stage:
        stage.measured(2, {"loss": 20.0})
    assert seen(tmp_path) == {"loss": {0: 0, 1: 1, 2: 20}}


def test_images_that_cannot_be_drawn_are_left_out(tmp_path):
    heard = []
    recording = tensorboard.recording(tmp_path, True)
    with listening(heard.append), recording, Stage("dm", 1) as stage:
        stage.pictures(0, ("a", "b"), lambda: np.zeros(3))
        stage.measured(0, {"loss": 1.0})
    assert seen(tmp_path) == {"loss": {0: 1.0}}
    assert any("left out" in str(x) for x in heard)


def test_numbers_that_are_not_finite_are_left_out(tmp_path):
    with tensorboard.recording(tmp_path, True), Stage("dm", 1) as stage:
        stage.measured(0, {"loss": None, "match": 1.0})
    assert seen(tmp_path) == {"match": {0: 1.0}}


def test_nothing_is_written_unasked(tmp_path):
    with tensorboard.recording(tmp_path, False), Stage("dm", 1) as stage:
        stage.measured(0, {"loss": 1.0})
    assert not list(tmp_path.iterdir())


def test_without_the_package_it_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with refused(None, "pip install 'jaxdd[tensorboard]'"):
        distill.run(Config(**RUN, workdir=str(tmp_path / "w"), tensorboard=True))
    assert not (tmp_path / "w").exists()


def test_without_a_workdir_it_is_refused():
    with refused(None, "workdir="):
        jaxdd.distill("digits", method="dm", steps=1, tensorboard=True)


def test_a_full_disk_is_named(tmp_path):
    (tmp_path / "tensorboard").write_text("a file")
    recorder = tensorboard.Recorder(tmp_path)
    with refused(None, tmp_path / "tensorboard"):
        recorder(Measured("dm", 1, {"loss": 1.0}))
