"""A run's folder: whole files, one owner, one configuration, truncated metrics."""

import errno
import json
import math
import os
import subprocess
import sys

import pytest

from jaxdd.errors import UserError
from jaxdd.storage.files import (
    atomic_file,
    make_folder,
    set_aside,
    to_json,
    write_atomically,
)
from jaxdd.storage.lock import owned
from jaxdd.storage.metrics import Metrics, write_lines
from jaxdd.storage.workdir import FREE, Record
from tests.helpers import full_disk, refused


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
    with refused("No space left on device", str(path)):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_another_file_that_cannot_be_read_is_no_fault_of_the_one_that_is_written(
    tmp_path,
):
    path = tmp_path / "file"
    with pytest.raises(FileNotFoundError, match="another"), atomic_file(path) as file:
        file.write((tmp_path / "another").read_text())
    assert names(tmp_path) == []


def test_writers_of_one_file_never_mix(tmp_path):
    """Two open at once: each writes a file of its own, and the last one wins."""
    path = tmp_path / "file"
    with atomic_file(path) as first:
        first.write("first")
        first.flush()
        with atomic_file(path) as second:
            second.write("second, which is longer")
        assert path.read_text() == "second, which is longer"
    assert path.read_text() == "first"
    assert names(tmp_path) == ["file"]


LEAVE_PARTS = """
import os, sys
from pathlib import Path
from jaxdd.storage.files import atomic_file
with atomic_file(Path(sys.argv[1]) / "x") as file:
    file.write("half")
    file.flush()
    os._exit(1)
"""


def test_the_owner_removes_what_dead_writers_left(tmp_path):
    subprocess.run([sys.executable, "-c", LEAVE_PARTS, tmp_path])
    (dead,) = names(tmp_path)
    elsewhere = tmp_path / ".part-00000000-1-0123abcd"
    elsewhere.touch()
    old = tmp_path / ".part-00000000-2-0123abcd"
    old.touch()
    foreign = tmp_path / ".part-of my thesis"
    foreign.touch()
    for file in (old, foreign):
        os.utime(file, (1, 1))
    with atomic_file(tmp_path / "file"), owned(tmp_path):  # our own is alive
        pass
    assert dead.startswith(".part-")
    assert names(tmp_path) == sorted([".lock", elsewhere.name, foreign.name, "file"])


def test_results_set_aside_and_folders_that_cannot_be_made(tmp_path):
    path = tmp_path / "summary.json"
    for content in ("1", "2"):
        path.write_text(content)
        assert set_aside(path).read_text() == content
        assert names(tmp_path) == ["summary.before.json"]
    set_aside(path)
    assert names(tmp_path) == ["summary.before.json"]
    (tmp_path / "file").touch()
    assert make_folder(tmp_path / "a" / "b").is_dir()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with refused("--workdir", str(path)):
            make_folder(path)


def test_a_second_owner_is_refused_until_the_first_leaves(tmp_path):
    with owned(tmp_path / "run") as folder:
        with refused("another live run owns", str(folder)):
            owned(tmp_path / "run").__enter__()
        with owned(tmp_path / "other"):
            pass
    with owned(tmp_path / "run"):
        pass


def test_a_killed_owner_leaves_no_lock(tmp_path):
    hold = (
        "import sys; from jaxdd.storage.lock import owned\n"
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


def refusing(number):
    def flock(*args):
        raise OSError(number, os.strerror(number))

    return flock


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_without_locks_is_no_other_run(tmp_path, monkeypatch, number):
    monkeypatch.setattr("jaxdd.storage.lock.fcntl.flock", refusing(number))
    with pytest.warns(UserWarning, match=os.strerror(number)) as warned:
        owned(tmp_path).__enter__()
    assert "start no second run" in str(warned[0].message)


@pytest.mark.parametrize("number", [errno.EWOULDBLOCK, errno.EAGAIN])
def test_a_held_lock_is_another_run(tmp_path, monkeypatch, number):
    monkeypatch.setattr("jaxdd.storage.lock.fcntl.flock", refusing(number))
    with pytest.raises(UserError, match="another live run owns"):
        owned(tmp_path).__enter__()


def test_locks_that_cannot_be_opened_and_other_names(tmp_path):
    other = ".evaluation.lock"
    with (
        owned(tmp_path),
        owned(tmp_path, other),
        pytest.raises(UserError, match="another live run"),
    ):
        owned(tmp_path, other).__enter__()
    (tmp_path / "other" / ".lock").mkdir(parents=True)
    with pytest.raises(UserError, match=r"cannot open .*\.lock"):
        owned(tmp_path / "other").__enter__()


WITHOUT_FCNTL = """
import sys, warnings
sys.modules["fcntl"] = None  # as on Windows: importing it fails
import jaxdd
from jaxdd.storage.lock import owned
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    with owned(sys.argv[1]) as folder:
        print(folder, told[0].message)
"""


def test_without_fcntl_the_library_can_be_imported(tmp_path):
    told = subprocess.run(
        [sys.executable, "-c", WITHOUT_FCNTL, tmp_path], capture_output=True, text=True
    )
    assert told.returncode == 0, told.stderr
    assert "this system has none" in told.stdout


CONFIG = {"method": "dsa", "ipc": 1, "weights": (1, 2), "steps": 5, "workdir": "a"}


def test_the_record_survives_and_what_may_change(tmp_path):
    record = Record(tmp_path, CONFIG)
    record.resumed_at.append(3)
    record.save()
    assert Record(tmp_path, CONFIG).resumed_at == [3]
    Record(tmp_path, CONFIG)
    for name in FREE:
        Record(tmp_path, {**CONFIG, name: "changed"}).save()
    same = lambda values: {k: v for k, v in values.items() if k != "ipc"}
    Record(tmp_path, {**CONFIG, "ipc": 7}, identity=same)


def test_a_known_run_is_not_rewritten_before_it_is_accepted(tmp_path):
    Record(tmp_path, CONFIG)
    before = (tmp_path / "run.json").read_bytes()
    record = Record(tmp_path, {**CONFIG, "steps": 1})
    assert record.known == {**CONFIG, "weights": [1, 2]}
    assert (tmp_path / "run.json").read_bytes() == before
    record.save()
    assert Record(tmp_path, CONFIG).known["steps"] == 1


@pytest.mark.parametrize("there", ["folder:x", "folder:x/", "/elsewhere/x"])
def test_data_is_known_by_its_fingerprint(tmp_path, there):
    data = {"dataset": "folder:x", "fingerprint": "ab"}
    Record(tmp_path, {**CONFIG, **data})
    Record(tmp_path, {**CONFIG, **data, "dataset": there})
    with pytest.raises(UserError, match="fingerprint is 'ab' there and 'cd' now"):
        Record(tmp_path, {**CONFIG, **data, "fingerprint": "cd"})


def test_code_counts_where_it_is_known(tmp_path):
    known = {**CONFIG, "objective_code": "ab"}
    for first, second in ((CONFIG, known), (known, CONFIG), (known, known)):
        (tmp_path / "run.json").unlink(missing_ok=True)
        Record(tmp_path, first)
        Record(tmp_path, second)
    with pytest.raises(UserError, match="objective_code is 'ab' there and 'cd' now"):
        Record(tmp_path, {**known, "objective_code": "cd"})


def test_what_others_follow_from_is_named_first(tmp_path):
    """And the data by their names, where these differ too."""
    whole = {**CONFIG, "dataset": "folder:x", "fingerprint": "ab", "method": "dm"}
    Record(tmp_path, {**whole, "mask": 0.5})
    many = {f"a{i}": i for i in range(9)}
    other = {**whole, "dataset": "digits", "fingerprint": "cd", "method": "pad", **many}
    with pytest.raises(UserError) as error:
        Record(tmp_path, other)
    differences = str(error.value).partition("(")[2].partition(")")[0].split("; ")
    assert differences[:3] == [
        "method is 'dm' there and 'pad' now",
        "dataset is 'folder:x' there and 'digits' now",
        "mask is 0.5 there and None now",
    ]
    assert differences[-1] == "and 6 more"


def test_another_configuration_is_refused_naming_the_differences(tmp_path):
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


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        '{"config": {}}',
        "\xff",
        "[" * 10_000,
        '{"config": 3, "resumed_at": []}',
        '{"config": {"steps": NaN}, "resumed_at": []}',
        '{"config": {}, "resumed_at": [], "timings": {"seconds": "x"}}',
    ],
)
def test_a_damaged_record_is_named(tmp_path, content):
    path = tmp_path / "run.json"
    path.write_text(content, encoding="latin-1")
    with refused(None, str(path)):
        Record(tmp_path, CONFIG)


def line(step):
    return {"step": step, "loss": 0.1 * step, "seconds": 1.5 * step}


def text(*steps):
    return "".join(json.dumps(line(s)) + "\n" for s in steps)


@pytest.mark.parametrize(
    ("tail", "unreadable"),
    [
        ("", 0),
        (text(8, 10), 0),
        (json.dumps(line(6))[:-1], 0),
        ('{"step', 0),
        ("\n3\n\xff\nnull\n{}\n[]\n", 5),
        ('{"step": 6, "seconds": 1, "loss": NaN}\n', 1),
        ('{"step": "x", "seconds": 1}\n{"step": 5}\n' + "[" * 10_000 + "\n", 3),
    ],
)
def test_lines_beyond_the_checkpoint_and_half_lines_are_dropped(
    tmp_path, tail, unreadable
):
    """Damaged lines are counted; a half-written last one is what a kill leaves."""
    path = tmp_path / "metrics.jsonl"
    path.write_text(text(0, 2, 4, 6) + tail, encoding="latin-1")
    metrics = Metrics(tmp_path, 6)
    assert metrics.unreadable == unreadable
    if unreadable:
        assert f"{unreadable} of the lines of {path} cannot be read" in metrics.damage
    else:
        assert metrics.damage is None
    assert metrics.lines == [line(s) for s in (0, 2, 4, 6)]
    assert metrics.seconds == 9.0
    assert path.read_text() == text(0, 2, 4, 6)
    Metrics(tmp_path, 5).write(line(6))
    assert path.read_text() == text(0, 2, 4, 6)


def test_numbers_that_are_not_finite_become_null(tmp_path):
    metrics = Metrics(tmp_path, 0)
    odd = {"loss": math.nan, "sdc": -math.inf, "match": 1.5}
    metrics.write({"step": 0, "seconds": 0.5, **odd})
    expected = {"step": 0, "seconds": 0.5, "loss": None, "sdc": None, "match": 1.5}
    assert metrics.lines == Metrics(tmp_path, 0).lines == [expected]
    write_lines(tmp_path / "all.jsonl", [{"step": 1, "loss": math.inf}])
    assert json.loads((tmp_path / "all.jsonl").read_text())["loss"] is None
    assert json.loads(to_json({"a": [math.nan, {"b": (math.inf, 1.0)}]})) == {
        "a": [None, {"b": [None, 1.0]}]
    }


def test_what_is_no_regular_file_is_named(tmp_path):
    os.mkfifo(tmp_path / "metrics.jsonl")
    with pytest.raises(UserError, match="not a regular file"):
        Metrics(tmp_path, 0)


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
    for module in ("jaxdd.storage.metrics", "jaxdd.storage.files"):
        monkeypatch.setattr(f"{module}.open", full_disk, raising=False)
    with refused("No space left on device", str(metrics.path)):
        metrics.write(line(2))
    with pytest.raises(UserError, match="No space left on device"):
        Metrics(tmp_path, 0)
    assert metrics.path.read_text() == text(0)


def test_a_state_without_its_record_is_of_no_known_run(tmp_path):
    (tmp_path / "checkpoints" / "12").mkdir(parents=True)
    with pytest.raises(UserError, match="but not its run"):
        Record(tmp_path, {"seed": 1})
    assert names(tmp_path) == ["checkpoints"]
