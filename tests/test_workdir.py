"""A run's folder: whole files, one owner, one configuration, truncated metrics."""

import errno
import json
import os
import subprocess
import sys

import pytest

from jaxdd.errors import UserError
from jaxdd.workdir import (
    FREE,
    Metrics,
    Record,
    atomic_file,
    make_folder,
    owned,
    read_json,
    write_atomically,
)


def full_disk(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def names(folder):
    return sorted(x.name for x in folder.iterdir())


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, "old")

    def write_half():
        with atomic_file(path) as file:
            file.write("half")
            file.flush()
            assert path.read_text() == "old"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]
    write_atomically(path, "new")
    assert path.read_text() == "new"


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_full_disk_is_told_and_the_old_file_stays(tmp_path, monkeypatch, failing):
    path = tmp_path / "file"
    write_atomically(path, "old")
    monkeypatch.setattr(os, failing, full_disk)
    with pytest.raises(UserError, match="No space left on device") as error:
        write_atomically(path, "new")
    assert str(path) in str(error.value)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    assert make_folder(tmp_path / "a" / "b").is_dir()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match="--workdir") as error:
            make_folder(path)
        assert str(path) in str(error.value)


def test_a_second_owner_is_refused_until_the_first_leaves(tmp_path):
    with owned(tmp_path / "run") as folder:
        with pytest.raises(UserError, match="another live run owns") as error:
            owned(tmp_path / "run").__enter__()
        assert str(folder) in str(error.value)
        with owned(tmp_path / "other"):
            pass
    with owned(tmp_path / "run"):
        pass


def test_a_killed_owner_leaves_no_lock(tmp_path):
    hold = (
        "import sys; from jaxdd.workdir import owned\n"
        "with owned(sys.argv[1]): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(UserError, match="another live run"):
            owned(tmp_path).__enter__()
        process.kill()
        process.wait()
        with owned(tmp_path):
            pass


CONFIG = {"method": "dsa", "ipc": 1, "weights": (1, 2), "steps": 5, "workdir": "a"}


def test_the_record_survives(tmp_path):
    record = Record(tmp_path, CONFIG)
    record.resumed_at.append(3)
    record.save()
    assert Record(tmp_path, CONFIG).resumed_at == [3]


def test_what_may_change_between_two_starts(tmp_path):
    Record(tmp_path, CONFIG)
    for name in FREE:
        Record(tmp_path, {**CONFIG, name: "changed"})


def test_a_configuration_from_before_a_value_was_known(tmp_path):
    """Runs drew real samples independently, and normalised with their own constants."""
    Record(tmp_path, {"method": "dsa"})
    as_then = {"method": "dsa", "sampling": "independent", "constants": None}
    Record(tmp_path, as_then)
    (tmp_path / "run.json").unlink()
    Record(tmp_path, {"method": "idc"})
    with pytest.raises(
        UserError, match="sampling is 'independent' there and 'passes' now"
    ):
        Record(tmp_path, {"method": "idc", "sampling": "passes", "constants": None})


def test_another_configuration_is_refused_naming_every_difference(tmp_path):
    Record(tmp_path, CONFIG)
    before = (tmp_path / "run.json").read_bytes()
    asked = {**CONFIG, "ipc": 10, "net": "mlp", "steps": 9}
    with pytest.raises(UserError) as error:
        Record(tmp_path, asked)
    message = str(error.value)
    assert "ipc is 1 there and 10 now" in message
    assert "net is None there and 'mlp' now" in message
    assert "method" not in message
    assert "steps" not in message
    assert str(tmp_path) in message
    assert (tmp_path / "run.json").read_bytes() == before


@pytest.mark.parametrize("content", ["", "{", "3", "[]", '{"config": {}}', "\xff"])
def test_a_damaged_record_is_named(tmp_path, content):
    path = tmp_path / "run.json"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(UserError) as error:
        Record(tmp_path, CONFIG)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="No such file"):
        read_json(tmp_path / "absent.json")


def line(step):
    return {"step": step, "loss": 0.1 * step, "seconds": 1.5 * step}


def text(*steps):
    return "".join(json.dumps(line(s)) + "\n" for s in steps)


@pytest.mark.parametrize(
    "tail",
    ["", text(8, 10), json.dumps(line(6))[:-1], '{"step', "\n3\n\xff\nnull\n{}\n[]\n"],
)
def test_lines_beyond_the_checkpoint_and_half_lines_are_dropped(tmp_path, tail):
    path = tmp_path / "metrics.jsonl"
    path.write_text(text(0, 2, 4, 6) + tail, encoding="latin-1")
    metrics = Metrics(tmp_path, 6)
    assert metrics.lines == [line(s) for s in (0, 2, 4, 6)]
    assert metrics.seconds == 9.0
    assert path.read_text() == text(0, 2, 4, 6)
    Metrics(tmp_path, 5).write(line(6))
    assert path.read_text() == text(0, 2, 4, 6)


def test_a_line_is_on_disk_at_once_and_only_once(tmp_path):
    metrics = Metrics(tmp_path, 0)
    assert metrics.seconds == 0
    for step in (0, 2, 2, 0, 4):
        metrics.write(line(step))
        assert text(step) in (tmp_path / "metrics.jsonl").read_text()
    assert (tmp_path / "metrics.jsonl").read_text() == text(0, 2, 4)


def test_a_full_disk_while_logging_is_told(tmp_path, monkeypatch):
    metrics = Metrics(tmp_path, 0)
    metrics.write(line(0))
    monkeypatch.setattr("jaxdd.workdir.open", full_disk, raising=False)
    with pytest.raises(UserError, match="No space left on device") as error:
        metrics.write(line(2))
    assert str(metrics.path) in str(error.value)
    with pytest.raises(UserError, match="No space left on device"):
        Metrics(tmp_path, 0)
    assert metrics.path.read_text() == text(0)
